"""Chapters as in Colab: alone in an empty folder, Colab's versions, no `course_lib` but what the set-up cell installs.

At every push each chapter runs as far as its first training; ``make colab`` runs each in full, in a fresh environment.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import notebooks
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from packaging.version import Version

import course_lib
from tools import colab

ROOT = Path(__file__).parent.parent
PINS = [
    line for line in (ROOT / "tests" / "colab.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")
]
CHAPTERS = [path for path in notebooks.CHAPTERS if path.name not in notebooks.NOT_EXECUTED]
ADDRESS = "https://github.com/some-one/the-book"
STAND_IN = "Metadata-Version: 2.1\nName: google-colab\nVersion: 1.0.0\n"


def unavailable(why: str) -> None:
    """Skip where a person has no network or another Python; fail where both are promised."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"Colab's versions cannot be installed: {why}")


def link(source, target) -> None:
    """Give a file a second name; copy it where that cannot be done. pip replaces files and never writes into one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def call(python, *arguments, cwd, **variables) -> subprocess.CompletedProcess:
    """Run a stranger's Python in the folder `cwd`."""
    return subprocess.run(
        [python, *arguments], cwd=cwd, env=colab.environment(variables), capture_output=True, text=True
    )


def copied(python: Path, folder: Path) -> Path:
    """Copy the virtual environment of `python` to the new `folder`."""
    shutil.copytree(python.parent.parent, folder, symlinks=True, copy_function=link)
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Path:
    """A Python with Colab's versions, this one's torch, a stand-in for google.colab, and no `course_lib`."""
    folder = tmp_path_factory.mktemp("colab")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    python = folder / "venv" / "bin" / "python"
    [site] = (folder / "venv" / "lib").glob("python*/site-packages")
    (folder / "pins.txt").write_text("\n".join(PINS))
    call(python, "-m", "pip", "uninstall", "--yes", "setuptools", cwd=folder)  # torch brings the one it asks for
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--no-compile", "--disable-pip-version-check"]
    done = call(python, "-m", "pip", "install", *options, "-r", "pins.txt", cwd=folder)
    if done.returncode:
        unavailable(done.stderr[-1000:])
    here = colab.distributions(sys.executable)
    for name in colab.needed(here, "torch") - set(colab.distributions(python)):
        for file in distribution(name).files:
            source = Path(distribution(name).locate_file(file))
            if ".." not in file.parts and source.is_file() and "__pycache__" not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                link(source, site / file)
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    (site / "google_colab-1.0.0.dist-info").mkdir()
    (site / "google_colab-1.0.0.dist-info" / "METADATA").write_text(STAND_IN)
    return python


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    """A git repository of the working tree with one commit after the tag."""
    folder = tmp_path_factory.mktemp("source") / "repository"
    colab.repository(folder)
    author = ["-c", "user.name=nobody", "-c", "user.email=", "-c", "commit.gpgsign=false"]
    later = ["git", *author, "commit", "--allow-empty", "--message", "Later"]
    subprocess.run(later, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def installed(bare, repository, tmp_path_factory):
    """A Python after the set-up cell installed `course_lib` from a git address, its packages before, what was said."""
    folder = tmp_path_factory.mktemp("installed")
    python = copied(bare, folder / "venv")
    before = colab.distributions(python)
    done = set_up(python, folder, COURSE_LIB_SOURCE=f"git+{repository.as_uri()}")
    assert done.returncode == 0, done.stderr[-2000:]
    return python, before, done


def set_up(python, folder: Path, address: str = "", **variables) -> subprocess.CompletedProcess:
    """Run the set-up cell alone, stamped with `address`, in an empty folder inside `folder`."""
    [cell] = notebooks.tagged(notebooks.read(notebooks.REFERENCE), "setup")
    source, n = re.subn(r'^REPOSITORY = ".*"$', f'REPOSITORY = "{address}"', cell.source, flags=re.M)
    assert n == 1
    (folder / "empty").mkdir()
    return call(python, "-c", source, cwd=folder / "empty", **variables)


class TestSetUpCell:
    def test_without_an_address_it_says_in_one_sentence_what_to_do(self, bare, tmp_path):
        done = set_up(bare, tmp_path)
        assert done.returncode == 1 and done.stdout == ""
        said = "ModuleNotFoundError: course_lib is missing: run `pip install .` in a copy of the book's repository"
        assert done.stderr.splitlines()[-1] == said

    def test_from_a_git_address_it_installs_the_library_and_changes_nothing_that_is_there(self, installed):
        python, before, done = installed
        after = colab.distributions(python)
        assert colab.problems_packages(before, after) == []
        assert {"course-lib", "anndata"} <= after.keys() - before.keys()
        assert "restart" not in (done.stdout + done.stderr).lower()

    def test_from_the_stamped_address_it_installs_the_tag_of_this_version(self, installed, repository, tmp_path):
        """Git is told to find the address in a folder."""
        key = f"url.{repository.as_uri()}.insteadOf"
        found = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": ADDRESS}
        told = self.check_install(installed[0], tmp_path, ADDRESS, found)
        tag = f"v{course_lib.__version__}"
        commit = subprocess.check_output(["git", "rev-parse", tag], cwd=repository, text=True).strip()
        assert told["url"] == ADDRESS
        assert told["vcs_info"] == {"vcs": "git", "requested_revision": tag, "commit_id": commit}

    def test_from_a_path_in_the_environment_which_overrides_the_stamped_address(self, installed, repository, tmp_path):
        told = self.check_install(installed[0], tmp_path, ADDRESS, {"COURSE_LIB_SOURCE": str(repository)})
        assert told["url"] == repository.as_uri()

    def check_install(self, python, folder, address, variables) -> dict:
        """Take the library away, let the set-up cell bring it back, and return what pip notes of its source."""
        python = copied(python, folder / "venv")
        before = colab.distributions(python)
        call(python, "-m", "pip", "uninstall", "--yes", "course-lib", cwd=folder)
        assert before.keys() - colab.distributions(python).keys() == {"course-lib"}
        done = set_up(python, folder, address, **variables)
        assert done.returncode == 0, done.stderr[-2000:]
        assert {name: version for name, (version, _) in colab.distributions(python).items()} == {
            name: version for name, (version, _) in before.items()
        }
        [note] = (folder / "venv" / "lib").glob("python*/site-packages/course_lib-*.dist-info/direct_url.json")
        return json.loads(note.read_text())


class TestChapters:
    @pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
    def test_it_runs_until_it_trains_and_shows_what_is_committed(self, installed, tmp_path, chapter):
        assert colab.problems_chapter(chapter, tmp_path / "empty", installed[0], {}, until_training=True) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
    def test_it_runs_in_full_where_nothing_was_installed(self, bare, repository, tmp_path, chapter):
        python, source = copied(bare, tmp_path / "venv"), {"COURSE_LIB_SOURCE": f"git+{repository.as_uri()}"}
        assert colab.problems_chapter(chapter, tmp_path / "empty", python, source) == []

    @pytest.mark.slow
    def test_the_command_for_colabs_image_runs_in_a_python_that_has_no_more_than_colab(self, bare, tmp_path):
        python = copied(bare, tmp_path / "venv")
        done = call(python, "-m", "tools.colab", "--until-training", notebooks.REFERENCE, cwd=ROOT)
        assert done.returncode == 0 and done.stdout.startswith(f"{notebooks.REFERENCE.name}: "), done
        assert "course-lib" not in colab.distributions(python)

    def test_the_versions_are_those_of_colab(self, installed):
        there = colab.distributions(installed[0])
        pins = {colab.canonical(name): version for name, _, version in (line.partition("==") for line in PINS)}
        assert {name: there[name][0] for name in pins} == pins
        assert pins["ipywidgets"] == "7.7.1" and there["torch"][0] == distribution("torch").version

    def test_a_cell_that_fails_or_shows_something_else_is_told(self, installed, tmp_path):
        shown = [new_output("stream", text="as in Colab\n")]
        cells = [new_code_cell("import google.colab, os\nprint(*os.listdir())", id="one", outputs=shown)]
        nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
        [problem] = colab.problems_chapter(tmp_path / "a.ipynb", tmp_path / "one", installed[0], {})
        assert "cell 'one' shows\na.ipynb\n" in problem and "as in Colab" in problem
        nbformat.write(new_notebook(cells=[new_code_cell("1 / 0", id="two")]), tmp_path / "a.ipynb")
        [problem] = colab.problems_chapter(tmp_path / "a.ipynb", tmp_path / "two", installed[0], {})
        assert "ZeroDivisionError" in problem


def test_pins_are_exact_sorted_and_have_no_torch():
    assert [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==\d[\w.]*", line)] == []
    names = [line.partition("==")[0].lower() for line in PINS]
    assert names == sorted(names) and len(set(names)) == len(names) > 50 and "torch" not in names
    assert all(str(Version(version)) == version for _, _, version in (line.partition("==") for line in PINS))


class TestRules:
    def test_cells_until_training_end_before_the_first_that_trains(self):
        cells = [new_markdown_cell("`training.fit(` trains"), new_code_cell("PCA(2).fit(x)"), new_code_cell("1")]
        for source in ("history = training.fit(model, x)", "loss.loss.backward()"):
            notebook = new_notebook(cells=[*cells, new_code_cell(source), new_code_cell("2")])
            assert colab.cells_until_training(notebook) == cells
        assert colab.cells_until_training(new_notebook(cells=cells)) == cells

    def test_text_is_what_is_printed_and_tables_and_values(self):
        outputs = [
            new_output("stream", name="stdout", text="printed "),
            new_output("stream", name="stderr", text="a warning"),
            new_output("display_data", data={colab.WIDGET: {}, "text/plain": "fit: 0%"}),
            new_output("display_data", data={"image/png": "", "text/plain": "<Figure>"}),
            new_output("display_data", data={colab.WIDGET: {}, "text/html": "<input>", "text/plain": "slider "}),
            new_output("execute_result", data={"text/html": "<table></table>", "text/plain": "table "}),
        ]
        assert colab.text(new_code_cell("", outputs=outputs)) == "printed slider table <table></table>"

    def test_another_text_and_a_word_of_a_restart_are_told(self):
        def notebook(text, name="stdout"):
            return new_notebook(cells=[new_code_cell("", id="a", outputs=[new_output("stream", name=name, text=text)])])

        assert colab.problems_outputs(notebook("1"), notebook("1")) == []
        assert "'a' shows\n1" in colab.problems_outputs(notebook("1"), notebook("2"))[0]
        asked = notebook("Please Restart the runtime", "stderr")
        assert colab.problems_outputs(asked, notebook("")) == ["cell 'a' asks for a restart."]

    def test_packages_that_changed_went_or_came_for_no_reason_are_told(self):
        before = {"numpy": ("2.1", []), "pandas": ("2.2", []), "gone": ("1", [])}
        after = {
            "numpy": ("2.2", []),
            "pandas": ("2.2", []),
            "course-lib": ("0.1.0", ["anndata>=0.10", 'sphinx; extra == "book"', 'never; python_version < "3"']),
            "anndata": ("0.12", ["zarr[remote]", "Numpy"]),
            "zarr": ("3", ['aiohttp; extra == "remote"']),
            "aiohttp": ("3", []),
            "sphinx": ("7", []),
            "never": ("1", []),
        }
        assert colab.problems_packages(before, before) == []
        assert colab.problems_packages(before, after) == [
            "numpy was 2.1 and is 2.2.",
            "gone was 1 and is gone.",
            "never was installed, and course_lib does not need it.",
            "sphinx was installed, and course_lib does not need it.",
        ]

    def test_a_strangers_shell_has_none_of_our_variables(self, monkeypatch):
        for name in ("COURSE_LIB_STATIC", "PYTHONPATH", "TQDM_DISABLE", "OMP_NUM_THREADS"):
            monkeypatch.setenv(name, "8")
        variables = colab.environment({"COURSE_LIB_SOURCE": "there"})
        assert {"COURSE_LIB_STATIC", "PYTHONPATH", "TQDM_DISABLE"}.isdisjoint(variables) and "PATH" in variables
        assert variables["OMP_NUM_THREADS"] == "1" and variables["COURSE_LIB_SOURCE"] == "there"

    def test_the_repository_has_what_the_library_needs_and_its_tag(self, repository):
        files = subprocess.check_output(["git", "ls-files", "course_lib"], cwd=repository, text=True).split()
        ours = {path for path in (ROOT / "course_lib").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert set(files) == {path.relative_to(ROOT).as_posix() for path in ours}
        tags = subprocess.check_output(["git", "tag"], cwd=repository, text=True).split()
        assert tags == [f"v{course_lib.__version__}"]

    def test_a_python_that_has_the_library_is_left_alone(self, monkeypatch, capsys):
        monkeypatch.setattr(colab, "distributions", lambda python: {"course-lib": ("0.1.0", [])})
        monkeypatch.setattr(colab, "repository", lambda folder: pytest.fail("it went on"))
        assert colab.main([]) == 1 and "course_lib" in capsys.readouterr().err

    def test_all_chapters_that_were_executed_are_run(self):
        assert colab.chapters() == CHAPTERS
