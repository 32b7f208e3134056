"""Run chapters as a stranger would: each alone in an empty folder, and `course_lib` installed by its own set-up cell.

The Python that runs them is one without `course_lib`: Colab's own, in its public image (``make colab-image``), or one
that `tests/test_colab.py` makes with Colab's versions (``make colab``). A chapter passes if no cell fails, each prints
what is committed, no package that was there changes, and what is new is what `course_lib` needs.

Usage: ``python -m tools.colab [--until-training] [CHAPTER.ipynb …]``, in a Python that may be changed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from packaging.requirements import Requirement

from tools.chapters import find

ROOT = Path(__file__).parent.parent
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "_build", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "shared"
)
TRAINS = r"\btraining\.fit\(|\.backward\("
WIDGET = "application/vnd.jupyter.widget-view+json"
PLAIN_KERNEL = [  # in Colab's image the default kernel waits for a browser
    "--IPKernelApp.kernel_class=ipykernel.ipkernel.IPythonKernel",
    "--InteractiveShellApp.extensions=[]",
]
OURS = ("COURSE_LIB", "PYTHON", "TQDM", "VIRTUAL_ENV", "MPLBACKEND", "PYTEST")
"""How the names of variables begin that a stranger's shell does not have."""


def main(arguments: list[str] | None = None) -> int:
    """Run chapters in this Python; return 1 if one of them did not pass, else 0."""
    parser = argparse.ArgumentParser(description="Run chapters as in Colab.")
    parser.add_argument("--until-training", action="store_true", help="stop before the first cell that trains")
    parser.add_argument("chapters", nargs="*", type=Path, help="chapters to run (default: all)")
    options = parser.parse_args(arguments)
    if "course-lib" in distributions(sys.executable):
        print("This Python has course_lib; run the chapters in one that has not.", file=sys.stderr)
        return 1
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        source = {"COURSE_LIB_SOURCE": repository(Path(folder) / "repository")}
        for n, chapter in enumerate(options.chapters or chapters()):
            start = time.perf_counter()
            problems = problems_chapter(chapter, Path(folder) / str(n), sys.executable, source, options.until_training)
            failed |= bool(problems)
            print("\n".join([f"{chapter.name}: {time.perf_counter() - start:.0f} s", *problems]), flush=True)
            subprocess.check_call([sys.executable, "-P", "-m", "pip", "uninstall", "--quiet", "--yes", "course-lib"])
    return int(failed)


def chapters() -> list[Path]:
    """Return the chapters that can be run; one that cannot is committed without a number at any cell."""
    return [path for path in find(ROOT) if any(cell.get("execution_count") for cell in nbformat.read(path, 4).cells)]


def repository(folder: Path) -> str:
    """Make a git repository of the working tree, tagged with its version, and return the address that pip reads."""
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), flags=re.M)[1]
    author = ["-c", "user.name=nobody", "-c", "user.email=", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    for command in (["init"], ["add", "--all"], ["commit", "--message", "The working tree"], ["tag", f"v{version}"]):
        subprocess.run(["git", *author, *command], cwd=folder, check=True, capture_output=True)
    return f"git+{folder.resolve().as_uri()}"


def problems_chapter(chapter: Path, folder: Path, python, variables: dict, until_training: bool = False) -> list[str]:
    """Run a chapter alone in the new `folder` and return one sentence for each thing that is not as it should be."""
    committed = nbformat.read(chapter, as_version=4)
    before = distributions(python)
    try:
        ran = run(chapter, folder, python, variables, until_training)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return [f"{type(error).__name__}: {error}"]
    return problems_outputs(ran, committed) + problems_packages(before, distributions(python))


def run(chapter: Path, folder: Path, python, variables: dict, until_training: bool = False) -> nbformat.NotebookNode:
    """Copy a chapter into the new `folder`, run it there in a kernel of `python`, and return it as it is then."""
    folder.mkdir()
    notebook = nbformat.read(shutil.copy(chapter, folder), as_version=4)
    if until_training:
        notebook.cells = cells_until_training(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    with tempfile.TemporaryDirectory() as specs:
        spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}", *PLAIN_KERNEL]}
        (Path(specs) / "colab").mkdir()
        (Path(specs) / "colab" / "kernel.json").write_text(
            json.dumps(spec | {"display_name": "Colab", "language": "python"})
        )
        manager = KernelManager(kernel_name="colab", kernel_spec_manager=KernelSpecManager(kernel_dirs=[specs]))
        client = NotebookClient(notebook, timeout=900, km=manager, resources={"metadata": {"path": str(folder)}})
        try:
            client.execute(env=environment(variables))
        finally:
            if manager.has_kernel:
                manager.shutdown_kernel(now=True)
    return notebook


def environment(variables: dict) -> dict[str, str]:
    """Return the environment of a stranger's shell, with one thread and with `variables`."""
    return {k: v for k, v in os.environ.items() if not k.startswith(OURS)} | {"OMP_NUM_THREADS": "1"} | variables


def cells_until_training(notebook) -> list:
    """Return the cells before the first that trains a network."""
    trains = [bool(re.search(TRAINS, cell.source)) and cell.cell_type == "code" for cell in notebook.cells]
    return notebook.cells[: [*trains, True].index(True)]


def text(cell) -> str:
    """Return what a cell prints and shows as text or table; progress bars, warnings and pictures are passed by."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        html = data.get("text/html", "")
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif "image/png" not in data and (html or WIDGET not in data):
            parts += [data.get("text/plain", ""), html if "<table" in html else ""]
    return "".join(parts)


def problems_outputs(ran, committed) -> list[str]:
    """Each code cell that ran shows the committed text, and nothing asks for a restart."""
    expected = {cell.id: cell for cell in committed.cells}
    found = []
    for cell in (cell for cell in ran.cells if cell.cell_type == "code"):
        if text(cell) != text(expected[cell.id]):
            found.append(f"cell {cell.id!r} shows\n{text(cell)}\nand the committed one\n{text(expected[cell.id])}")
        if re.search(r"restart", json.dumps(cell.outputs), flags=re.I):
            found.append(f"cell {cell.id!r} asks for a restart.")
    return found


def distributions(python) -> dict[str, tuple[str, list[str]]]:
    """Return what is installed beside `python`: the version and the requirements of each name."""
    script = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps([[d.name, d.version, d.requires or []] for d in m.distributions() if d.name]))"
    )
    listed = subprocess.run(
        [python, "-P", "-c", script], env=environment({}), check=True, capture_output=True, text=True
    )
    return {canonical(name): (version, asked) for name, version, asked in reversed(json.loads(listed.stdout))}


def canonical(name: str) -> str:
    """Return a distribution's name in one spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(installed: dict, name: str = "course-lib") -> set[str]:
    """Return `name`, what it requires, and what that requires."""
    found, waiting = set(), [(name, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found or name not in installed:
            continue
        found.add((name, extra))
        for requirement in map(Requirement, installed[name][1]):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonical(requirement.name), part) for part in ("", *requirement.extras)]
    return {name for name, _ in found}


def problems_packages(before: dict, after: dict) -> list[str]:
    """Nothing that was there has changed or gone, and what is new is `course_lib` and what it needs."""
    found = [
        f"{name} was {version} and is {after[name][0] if name in after else 'gone'}."
        for name, (version, _) in before.items()
        if after.get(name, ("",))[0] != version
    ]
    new = after.keys() - before.keys()
    return found + [f"{name} was installed, and course_lib does not need it." for name in sorted(new - needed(after))]


if __name__ == "__main__":
    sys.exit(main())
