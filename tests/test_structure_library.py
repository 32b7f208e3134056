"""The library's own rules: the order of its modules, their size, their docstrings, and no global side effects."""

import ast
import importlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import course_lib

ROOT = Path(course_lib.__file__).parent
ORDER = [
    "arguments",
    "draws",
    "simulate",
    "datasets",
    "counts",
    "preprocess",
    "likelihoods",
    "dispersion",
    "models",
    "minibatches",
    "training",
    "scores",
    "latent",
    "channels",
    "dictionaries",
    "differential",
    "drawings",
    "plotting",
    "controls",
    "widgets",
    "distributions",
    "density_plot",
    "closed_form",
    "checks",
]
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path.relative_to(ROOT).with_suffix("").as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}
NAMES = [name for name in TREES if name != "__init__"]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def place(module: str) -> int:
    """Position in the order, of a module or of a file in a package."""
    return ORDER.index(module.split("/")[0].split(".")[0])


def imports(tree: ast.AST) -> list[str]:
    """Dotted names below ``course_lib`` that a file imports, wherever it does so."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrows"
            if node.module == "course_lib":
                found += [alias.name for alias in node.names]
            elif node.module and node.module.startswith("course_lib."):
                found.append(node.module.removeprefix("course_lib."))
        elif isinstance(node, ast.Import):
            found += [a.name.removeprefix("course_lib.") for a in node.names if a.name.startswith("course_lib.")]
    return found


def public(tree: ast.Module):
    """Yield name and node of every public function, class and method, and of ``__init__``."""
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, FUNCTIONS) and not part.name.startswith("_"):
                        yield f"{node.name}.{part.name}", part


class Raising:
    """Which functions can raise a ValueError of the library's own, by themselves or through what they call."""

    def __init__(self):
        self.nodes, self.names = {}, {}
        for module, tree in TREES.items():
            for node in tree.body:
                if isinstance(node, FUNCTIONS):
                    self.nodes[module, node.name] = node
                elif isinstance(node, ast.ClassDef):
                    for part in node.body:
                        if isinstance(part, FUNCTIONS):
                            self.nodes[module, f"{node.name}.{part.name}"] = part
            self.names[module] = dict(self.imported(tree))
        self.raising = {key for key, node in self.nodes.items() if self.raises(node)}
        while more := {
            key for key, node in self.nodes.items() if key not in self.raising and self.calls(key, node) & self.raising
        }:
            self.raising |= more

    @staticmethod
    def imported(tree):
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_lib"):
                for alias in node.names:
                    module = f"{node.module}.{alias.name}".split(".")[1:]
                    if "/".join(module) in TREES or "/".join([*module, "__init__"]) in TREES:
                        yield alias.asname or alias.name, ("/".join(module), None)
                    else:
                        yield alias.asname or alias.name, ("/".join(module[:-1]), alias.name)

    @staticmethod
    def raises(node) -> bool:
        return any(
            isinstance(part, ast.Raise)
            and isinstance(part.exc, ast.Call)
            and getattr(part.exc.func, "id", "") == "ValueError"
            for part in ast.walk(node)
        )

    def find(self, module: str, name: str) -> set:
        """Resolve a name in a module to a function, a class's ``__init__``, or what was imported under it."""
        if name in self.names.get(module, {}):
            module, target = self.names[module][name]
            return self.find(module, target) if target else set()
        return {key for key in ((module, name), (module, f"{name}.__init__")) if key in self.nodes}

    def calls(self, key, node) -> set:
        module, owner = key[0], key[1].split(".")[0]
        found = set()
        for part in ast.walk(node):
            if not isinstance(part, ast.Call):
                continue
            function = part.func
            if isinstance(function, ast.Name):
                found |= self.find(module, function.id)
            elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                base = function.value.id
                if base == "self":
                    found |= {(module, f"{owner}.{function.attr}")} & set(self.nodes)
                elif self.names[module].get(base, ("", "x"))[1] is None:
                    found |= self.find(self.names[module][base][0], function.attr)
        return found


RAISING = Raising()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_its_place_in_the_order(name):
    assert name.split("/")[0] in ORDER


@pytest.mark.parametrize("name", NAMES)
def test_nothing_imports_a_module_further_down(name):
    for imported in imports(TREES[name]):
        if imported.split(".")[0] == name.split("/")[0]:  # files of one package
            continue
        assert place(imported) < place(name), f"{name} imports {imported}"


def test_a_file_of_a_package_imports_base_and_no_other_file_of_it_in_a_circle():
    for name, tree in TREES.items():
        package, _, file = name.partition("/")
        if file and file != "__init__":
            assert package not in imports(tree), f"{name} imports the package that imports it"
    for package in ("checks", "drawings", "models", "plotting"):
        assert not [i for i in imports(TREES[f"{package}/base"]) if i.startswith(package)]


@pytest.mark.parametrize("name", [name for name in NAMES if name.split("/")[0] == "likelihoods"])
def test_likelihoods_know_torch_and_mathematics_alone(name):
    roots = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(TREES[name])
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert roots <= {"torch", "math", "collections", "course_lib"}
    assert all(imported.startswith("likelihoods.") for imported in imports(TREES[name]))


@pytest.mark.parametrize("name", NAMES)
def test_every_module_can_be_imported(name):
    importlib.import_module("course_lib." + name.replace("/__init__", "").replace("/", "."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_over_250_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 250


@pytest.mark.parametrize("name", NAMES)
def test_nothing_prints(name):
    calls = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    assert not [node.lineno for node in calls if getattr(node.func, "id", "") == "print"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_asserts(name):
    assert not [node.lineno for node in ast.walk(TREES[name]) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("name", TREES)
def test_everything_public_has_a_docstring(name):
    assert ast.get_docstring(TREES[name]), "the file itself"
    for what, node in public(TREES[name]):
        text = ast.get_docstring(node)
        assert text, what
        assert text.split("\n\n")[0].rstrip().endswith((".", ":")), f"{what} does not begin with a whole sentence"


@pytest.mark.parametrize("name", TREES)
def test_docstring_sections_are_headed_as_numpy_heads_them(name):
    for what, node in public(TREES[name]):
        for head, line in re.findall(r"^([A-Z]\w+)\n(-{3,})$", ast.get_docstring(node), flags=re.M):
            assert head in ("Parameters", "Returns", "Yields", "Raises", "References", "Attributes", "Notes"), what
            assert len(line) == len(head), what


@pytest.mark.parametrize("name", TREES)
def test_what_raises_a_value_error_says_so(name):
    """In a Raises section, in a sentence, or by pointing to another docstring for errors."""
    for what, node in public(TREES[name]):
        key = (name, f"{what}.__init__") if isinstance(node, ast.ClassDef) else (name, what)
        if key in RAISING.raising:
            text = ast.get_docstring(node)
            said = re.search(r"^Raises\n-+\n|[Rr]aises? a ValueError|errors\n +As in :\w+:", text, flags=re.M)
            assert said, f"{what} can raise a ValueError and does not say so"


def test_the_search_for_what_raises_follows_calls():
    """The test above is worth something only if this holds."""
    for key in (
        ("training", "fit"),  # through a private function, a class and a function of another module
        ("latent", "embed"),  # through _through and Cells
        ("latent", "iwae"),  # through a function inside it
        ("preprocess", "log_normalize"),  # through _scaled and another module
        ("models/autoencoder", "LinearAE.__init__"),
        ("minibatches", "pick_device"),
    ):
        assert key in RAISING.raising, key
    for key in (("likelihoods/gaussian", "kl_normal"), ("training", "History.table"), ("models/base", "mean_loss")):
        assert key not in RAISING.raising, key


@pytest.mark.parametrize("name", TREES)
def test_every_argument_that_a_section_lists_exists(name):
    for what, node in public(TREES[name]):
        text = ast.get_docstring(node)
        listed = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n[A-Z]\w+\n-+\n|\Z)", text, flags=re.S | re.M)
        if not listed:
            continue
        function = node
        if isinstance(node, ast.ClassDef):
            function = next((part for part in node.body if getattr(part, "name", "") == "__init__"), None)
            if function is None:
                continue
        arguments = {a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
        heads = [line for line in listed[1].splitlines() if line and not line.startswith(" ")]
        for argument in (word for line in heads for word in line.split(", ")):
            assert argument in arguments, f"{what} lists {argument}"


def test_the_version_is_that_of_the_package():
    text = (ROOT.parent / "pyproject.toml").read_text("utf-8")
    assert f'version = "{course_lib.__version__}"' in text


def test_every_folder_of_the_library_is_in_the_package():
    text = (ROOT.parent / "pyproject.toml").read_text("utf-8")
    for folder in {path.parent for path in FILES}:
        dotted = ".".join(folder.relative_to(ROOT.parent).parts)
        assert f'"{dotted}"' in text


class TestGlobalRandomState:
    """Seeds are local: what the library does leaves the generators of torch, numpy and Python where they were."""

    @pytest.fixture(autouse=True)
    def unchanged(self):
        torch.rand(1), np.random.rand(1), random.random()  # noqa: NPY002
        before = self.states()
        yield
        assert self.states() == before

    @staticmethod
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1:3][0].tolist(), random.getstate()  # noqa: NPY002

    def test_by_simulating(self):
        from course_lib import dictionaries, simulate

        dictionaries.superposition(5, 2, 3)
        simulate.measure_again(simulate.three_clusters(5, 9, mean_count=20, zero_inflation=0.1))
        simulate.splatter(5, 9, batch_probs=(0.5, 0.5), dropout=(0, -1))

    def test_by_loading_data(self):
        from course_lib import datasets

        datasets.pbmc()
        datasets.digits()
        datasets.curves(3)

    def test_by_preprocessing(self):
        from course_lib import preprocess, simulate

        adata = simulate.three_clusters(5, 9, mean_count=20)
        preprocess.normalize(adata)
        preprocess.log_normalize(adata)
        preprocess.split(preprocess.select_genes(adata, 3))

    def test_by_making_models(self):
        from course_lib import models

        for make in (
            models.GeneExprAE,
            models.P1B1GeneExpressionAE,
            models.LinearAE,
            models.SparseAE,
            models.LinearVAE,
        ):
            make(9, 2, seed=3)
        models.GeneExprVAE(9, 2, seed=3).sample(3, seed=3)
        models.DeepAutoencoder((9, 4, 2), seed=3)
        models.unroll([models.RBM(9, 4, seed=3), models.RBM(4, 2, "gaussian", seed=3)])

    def test_by_training_embedding_and_scoring(self):
        from course_lib import latent, models, simulate, training

        adata = simulate.three_clusters(10, 9, mean_count=20)
        model = models.P1B1GeneExpressionAE(9, 2, (8,), dropout=0.5)
        training.fit(model, adata, n_epochs=1, progress=False, device="cpu")
        latent.reconstruct(model, adata)
        latent.clustering_scores(latent.embed(model, adata), adata.obs["cluster"])
        model = models.GeneExprVAE(9, 2, (8,))
        training.fit(model, adata, n_epochs=1, progress=False, device="cpu")
        latent.elbo(model, adata), latent.iwae(model, adata, 2), latent.active_units(model, adata)
