"""The project's own files agree: versions and floors, what is locked, what the wheel holds, what is installed."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import course_lib

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
LINES = [line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if not line.startswith("#")]
LOCK = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}
[PIP] = [part["pip"] for part in ENVIRONMENT["dependencies"] if isinstance(part, dict)]
CONDA = [part.partition("=") for part in ENVIRONMENT["dependencies"] if isinstance(part, str)]
RUNTIME = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
EXTRAS = {
    f"{extra}-{canonicalize_name(r.name)}": r
    for extra, texts in PROJECT["optional-dependencies"].items()
    for r in map(Requirement, texts)
}

HIGHEST_FLOORS = {
    "torch": "2.4",
    "numpy": "1.26",
    "scipy": "1.11",
    "pandas": "2.1",
    "matplotlib": "3.8",
    "scikit-learn": "1.3",
    "anndata": "0.10",
    "ipywidgets": "7.7.1",
}
COLAB = {  # what a notebook there finds installed
    "torch": "2.11.0",
    **dict(line.split("==") for line in (ROOT / "tests" / "colab.txt").read_text("utf-8").splitlines() if "==" in line),
}


class TestLock:
    def test_each_line_is_one_package_at_one_public_version(self):
        """No range, no option, no address, no marker, no local version such as +cpu."""
        assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==\d[\w.]*", line)] == []
        assert [version for version in LOCK.values() if str(Version(version)) != version] == []

    def test_lines_are_sorted_by_name_and_no_package_comes_twice(self):
        names = [line.partition("==")[0].lower() for line in LINES]
        assert names == sorted(names) and len(LOCK) == len(LINES) > 50

    def test_comments_hold_no_option(self):
        text = (ROOT / "requirements.lock").read_text("utf-8")
        assert not re.search(r"^\s*(-|--)\w|index-url|find-links", text, flags=re.M)

    @pytest.mark.parametrize("requirement", [*RUNTIME.values(), *EXTRAS.values()], ids=[*RUNTIME, *EXTRAS])
    def test_what_the_project_asks_for_is_locked_inside_its_range(self, requirement):
        version = LOCK[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} does not admit {version}"


class TestFloors:
    @pytest.mark.parametrize("name", RUNTIME)
    def test_a_runtime_dependency_has_a_floor_and_nothing_else(self, name):
        assert [s.operator for s in RUNTIME[name].specifier] == [">="] and RUNTIME[name].marker is None

    @pytest.mark.parametrize("name", HIGHEST_FLOORS)
    def test_it_is_no_higher_than_promised(self, name):
        assert RUNTIME[name].specifier.contains(HIGHEST_FLOORS[name])

    @pytest.mark.parametrize("name", [name for name in COLAB if name in RUNTIME])
    def test_it_admits_what_colab_has(self, name):
        assert RUNTIME[name].specifier.contains(COLAB[name])

    def test_colab_has_most_of_what_the_library_needs(self):
        assert set(RUNTIME) - set(COLAB) == {"anndata"}

    def test_the_python_of_colab_and_of_the_lock_are_admitted(self):
        assert {"3.11", "3.13"} <= set(SpecifierSet(PROJECT["requires-python"]).filter(["3.10", "3.11", "3.13"]))

    @pytest.mark.parametrize("name", RUNTIME)
    def test_the_library_needs_nothing_of_the_books_machinery(self, name):
        assert not re.search(r"sphinx|jupyter|myst|docutils|nbclient|ipykernel|pytest|nbval|ruff|scanpy", name)


class TestEnvironment:
    def test_it_takes_python_and_pip_from_conda_and_nothing_else(self):
        assert {name for name, _, _ in CONDA} == {"python", "pip"}

    def test_its_python_is_one_that_the_project_admits(self):
        [python] = [version for name, _, version in CONDA if name == "python"]
        assert SpecifierSet(PROJECT["requires-python"]).contains(python)

    def test_its_versions_are_those_of_the_lock(self):
        assert "-r requirements.lock" in PIP and (ROOT / "requirements.lock").exists()

    def test_it_installs_this_project(self):
        assert any(re.search(r"-e \.$|^\.$", line) for line in PIP)

    @pytest.mark.parametrize("line", PIP)
    def test_a_line_is_one_that_pip_can_read_from_a_file(self, line):
        """Conda writes these lines into a requirements file, where pip takes one requirement or one option a line."""
        assert re.fullmatch(r"(-r|-c|-e) [\w./-]+|\.", line), f"pip refuses {line!r} in a requirements file"


class TestMetadata:
    def test_the_version_is_that_of_the_library(self):
        assert PROJECT["version"] == course_lib.__version__
        assert str(Version(PROJECT["version"])) == PROJECT["version"]

    @pytest.mark.parametrize("name", [PROJECT["readme"], *PROJECT["license-files"]])
    def test_the_files_it_names_exist(self, name):
        assert (ROOT / name).read_text("utf-8").strip()


NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "_build", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that a copy of this tree makes, open for reading."""
    [needed] = [Requirement(text) for text in PYPROJECT["build-system"]["requires"]]
    try:
        found = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{needed.name}, which builds the wheel, is not installed")
    if not needed.specifier.contains(found):
        pytest.skip(f"the wheel needs {needed}, and {found} is installed")
    folder, before = tmp_path_factory.mktemp("wheel"), sorted(ROOT.iterdir())
    shutil.copytree(ROOT, folder / "tree", ignore=NOT_COPIED)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, folder / "tree"],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    assert sorted(ROOT.iterdir()) == before
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


class TestWheel:
    def test_it_holds_every_file_of_the_library(self, wheel):
        files = (path for path in (ROOT / "course_lib").rglob("*") if path.suffix in (".py", ".npz", ".pt", ".js"))
        expected = {path.relative_to(ROOT).as_posix() for path in files}
        assert expected <= set(wheel.namelist())
        assert {"pbmc.npz", "curves_autoencoder.pt"} <= {name.split("/")[-1] for name in expected}

    def test_it_holds_nothing_but_the_library_and_its_metadata(self, wheel):
        info = f"course_lib-{course_lib.__version__}.dist-info"
        assert {name.split("/")[0] for name in wheel.namelist()} == {"course_lib", info}

    def test_it_holds_the_licences(self, wheel):
        for name in PROJECT["license-files"]:
            [path] = [path for path in wheel.namelist() if path.endswith(f".dist-info/licenses/{name}")]
            assert wheel.read(path) == (ROOT / name).read_bytes()

    def test_it_asks_for_what_the_project_asks_for(self, wheel):
        [path] = [path for path in wheel.namelist() if path.endswith(".dist-info/METADATA")]
        asked = re.findall(r"^Requires-Dist: ([^;\n]+)$", wheel.read(path).decode(), flags=re.M)
        assert {str(Requirement(text)) for text in asked} == {str(r) for r in RUNTIME.values()}


@pytest.mark.skipif(
    Path(sys.prefix).resolve() != (ROOT / ".venv").resolve(), reason="this Python is not that of the project's .venv"
)
def test_what_is_installed_is_what_is_locked():
    installed = {canonicalize_name(d.name): d.version.partition("+")[0] for d in importlib.metadata.distributions()}
    assert {name: installed.get(name) for name in LOCK} == LOCK
