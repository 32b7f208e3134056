"""Run chapters in place and leave notebooks that differ only where their results do.

A chapter is skipped when neither its file nor the library nor the locked versions have changed since it was last run
here. Usage: ``python -m tools.execute [--all] [CHAPTER.ipynb ...]``.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"
os.environ["COURSE_LIB_STATIC"] = "1"  # flipbooks alone: no live widget in the record
os.environ.pop("MPLBACKEND", None)  # a kernel started under another backend than its own shows no figure

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools.chapters import find
from tools.stamp import SET_UP

ROOT = Path(__file__).parent.parent
STATE = ROOT / "_build" / "executed.json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(arguments: list[str] | None = None) -> int:
    """Run what changed; return 1 if a chapter failed, else 0."""
    parser = argparse.ArgumentParser(description="Run chapters in place.")
    parser.add_argument("--all", action="store_true", help="run every chapter, changed or not")
    parser.add_argument("chapters", nargs="*", type=Path, help="chapters to run (default: all that changed)")
    options = parser.parse_args(arguments)

    done = json.loads(STATE.read_text()) if STATE.exists() else {}
    failed = False
    for path in options.chapters or find(ROOT):
        path = path.resolve()
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
        if not options.all and done.get(name) == fingerprint(path):
            print(f"{name}: unchanged")
            continue
        start = time.perf_counter()
        try:
            run(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"{name}: FAILED ({type(error).__name__})\n{error}", file=sys.stderr)
            failed = True
            continue
        print(f"{name}: {time.perf_counter() - start:.0f} s")
        done[name] = fingerprint(path)
        STATE.parent.mkdir(exist_ok=True)
        STATE.write_text(json.dumps(done, indent=1))
    return int(failed)


def run(path: Path) -> None:
    """Execute one notebook and write it back, clean. Nothing is written if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    clean(notebook)
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")


def clean(notebook) -> None:
    """Drop what changes from run to run without meaning: times, widget state, kernel details, how text arrived."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = joined(cell.outputs)
        for output in cell.outputs:
            output.get("metadata", {}).pop("needs_background", None)
            data = output.get("data", {})
            if "text/html" in data:
                data.pop("application/vnd.jupyter.widget-view+json", None)


def joined(outputs: list) -> list:
    """Join pieces of one stream that follow each other: on a busy machine what a cell prints comes in several."""
    whole = []
    for output in outputs:
        if whole and output.output_type == "stream" and whole[-1].get("name") == output.name:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def fingerprint(path: Path) -> str:
    """Hash everything that a chapter's outputs depend on: the notebook, the library, the versions.

    The repository's address is left out: where the library is installed, the set-up cell does not use it.
    """
    digest = hashlib.sha256(SET_UP.sub("", path.read_text("utf-8")).encode())
    kinds = (".py", ".js", ".npz", ".pt")
    library = (file for file in (ROOT / "course_lib").rglob("*") if file.is_file() and file.suffix in kinds)
    for file in [ROOT / "requirements.lock", *sorted(library)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
