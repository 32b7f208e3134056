# Each target is a command that a person could type. `make book` and `make test` are the two that matter.
PYTHON ?= python3
PIP_ARGS ?=# e.g. --extra-index-url https://download.pytorch.org/whl/cpu, for a CPU-only torch on Linux
PORT ?= 8000
COLAB_IMAGE ?= us-docker.pkg.dev/colab-images/public/cpu-runtime
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export TQDM_DISABLE := 1

.PHONY: book test lint execute colab colab-image stamp serve assets bench clean

ZIP := _build/html/from-autoencoders-to-scvi.zip

book: $(BIN)/installed ## build the site from the committed outputs, and its offline copy
	@$(BIN)/jupyter-book build --quiet .
	@echo "The book is in _build/html/index.html; 'make serve' opens it at http://localhost:$(PORT)/"
	@echo "The offline copy is $(ZIP): $$(( $$(wc -c < $(ZIP)) / 1000 )) kB"

serve: book ## build, then serve on localhost
	$(BIN)/python -m http.server $(PORT) --bind localhost --directory _build/html

test: lint ## lint, unit and structure tests, every chapter against its outputs, a strict build
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg tests chapters

lint: $(BIN)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

execute: $(BIN)/installed ## run the chapters whose cells, or whose library, changed since they were last run here
	$(BIN)/python -m tools.execute

colab: $(BIN)/installed ## every chapter in full, alone, with Colab's versions (slow)
	$(BIN)/python -m pytest -m slow tests/test_colab.py

colab-image: ## the same in Colab's own image, by Docker (several GB)
	docker run --rm --volume "$(CURDIR):/book:ro" --workdir /book --entrypoint python3 $(COLAB_IMAGE) -B -m tools.colab

stamp: ## write the repository's address everywhere: make stamp URL=https://github.com/owner/name
	$(PYTHON) -m tools.stamp $(if $(filter undefined,$(origin URL)),,--url "$(URL)") $(if $(BRANCH),--branch "$(BRANCH)")

assets: $(BIN)/installed ## make again the small data files that travel with course_lib
	$(BIN)/python -m tools.assets

bench: $(BIN)/installed ## print ratios of speed, and errors of the count likelihoods; installs scvi-tools into _build/scvi
	$(BIN)/python -m tools.bench

clean: ## remove what was built, not the environment
	rm -rf _build

$(BIN)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
