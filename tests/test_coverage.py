"""The list of coverage is complete, what it names exists, and nothing stays to come once its chapter is there."""

import ast
import functools
from pathlib import Path

import pytest
import yaml

from _ext import coverage_table

ROOT = Path(__file__).parent.parent
CHAPTERS = ROOT / "chapters"
COVERAGE = yaml.safe_load((CHAPTERS / "appendix" / "coverage.yml").read_text("utf-8"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
FILES = [chapter["file"].removeprefix("chapters/") for part in TOC["parts"] for chapter in part["chapters"]]


@functools.cache
def names_in(path: Path) -> set[str]:
    """The names of a file's tests, as pytest writes them after the file: ``test_a``, ``TestB::test_c``."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found |= {f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return {name for name in found if name.split("::")[-1].startswith("test_")}


@functools.cache
def cells_of(chapter: str) -> dict[str, str]:
    return coverage_table.headings(CHAPTERS / f"{chapter}.ipynb")


def problems(coverage: dict, files: list[str] = FILES) -> list[str]:
    """A sentence for each row that is incomplete, names what does not exist, or waits for what has come."""
    expected, ids = [f"L{n}" for n in range(1, 35)], [row["id"] for row in coverage["rows"]]
    found = [] if ids == expected else [f"the rows are {', '.join(ids)}; expected L1 to L34 in order"]
    for row in coverage["rows"]:
        waits = row.get("to_come")
        if ("to_come" in row) == bool(row.get("sections") or row.get("tests")) or not row.get("shows"):
            found.append(f"{row['id']}: says what is shown, and either where and by which tests or what is to come")
        elif waits and waits not in coverage["planned"]:
            found.append(f"{row['id']}: {waits} is not planned")
        elif waits and any(name == waits or name.startswith(f"{waits}/") for name in files):
            found.append(f"{row['id']}: {waits} is in _toc.yml: name its sections and tests")
        elif not waits and not (row.get("sections") and row.get("tests")):
            found.append(f"{row['id']}: has no section or no test")
        for section in row.get("sections", []):
            chapter, _, cell = section.partition("#")
            if chapter not in files or not cells_of(chapter).get(cell):
                found.append(f"{row['id']}: there is no section at {section}")
        for test in row.get("tests", []):
            path, _, name = test.partition("::")
            if not (ROOT / path).is_file() or name not in names_in(ROOT / path):
                found.append(f"{row['id']}: there is no test {test}")
    return found


def test_every_item_of_the_lecture_is_covered_or_names_the_chapter_to_come():
    assert problems(COVERAGE) == []


def row(n: int) -> dict:
    return next(row for row in COVERAGE["rows"] if row["id"] == f"L{n}")


def changed(n: int, **changes) -> dict:
    """The coverage with one row changed; None takes a key away."""
    new = {key: value for key, value in (row(n) | changes).items() if value is not None}
    return COVERAGE | {"rows": [new if old["id"] == f"L{n}" else old for old in COVERAGE["rows"]]}


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (COVERAGE | {"rows": COVERAGE["rows"][:-1]}, "expected L1 to L34"),
        (COVERAGE | {"rows": COVERAGE["rows"][::-1]}, "expected L1 to L34"),
        (changed(2, sections=["01_autoencoder#nowhere"]), "no section at 01_autoencoder#nowhere"),
        (changed(2, sections=["02_nowhere#model"]), "no section at 02_nowhere#model"),
        (changed(2, sections=None), "no section or no test"),
        (changed(2, tests=[]), "no section or no test"),
        (changed(2, tests=["tests/test_equations.py::test_equation_0_0"]), "no test tests/test_equations.py"),
        (changed(2, tests=["tests/test_plotting.py::test_three_ways_in_fill_three_axes"]), "no test"),
        (changed(2, tests=["tests/test_nowhere.py::test_it"]), "no test tests/test_nowhere.py"),
        (changed(2, shows=""), "says what is shown"),
        (changed(2, to_come="08_scvi"), "either where and by which tests or what is to come"),
        (changed(30, to_come=None), "either where"),
        (changed(30, to_come="10_nowhere"), "10_nowhere is not planned"),
    ],
)
def test_a_fault_is_named(coverage, said):
    assert said in "; ".join(problems(coverage))


@pytest.mark.parametrize("arrived", ["08_scvi", "projects/guide"])
def test_a_row_that_waits_for_a_chapter_that_has_come_is_named(arrived):
    assert f"{arrived.split('/')[0]} is in _toc.yml" in "; ".join(problems(COVERAGE, [*FILES, arrived]))


def test_each_entry_links_to_its_sections_and_names_its_tests():
    lines = "\n".join(coverage_table.entries(COVERAGE, CHAPTERS, "chapters/appendix"))
    assert "- **L2**: encoder" in lines and "- **L33**" in lines and "*To come: Your own project.*" in lines
    assert "[1.2 Encoder, bottleneck, decoder](../01_autoencoder.ipynb#12-encoder-bottleneck-decoder)" in lines
    assert "`test_equations.py`, equation (1.6), equation (1.8)" in lines


def test_a_section_is_the_last_heading_at_or_above_its_cell():
    cells = cells_of("01_autoencoder")
    assert cells["way-in-figure"] == cells["way-in"] == "1.1 The way in: from language models to autoencoders"
    assert cells["scale-train"] == "The missing scale factor"
