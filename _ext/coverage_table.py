"""The list of coverage: what the lecture shows, where the book teaches it, and which tests hold it.

``{coverage} FILE.yml`` renders a file of two parts: ``planned``, the chapters to come by their path below
``chapters/``, and ``rows``, each with ``id``, ``shows``, and either ``sections`` (``CHAPTER#CELL-ID``) and ``tests``
(``FILE::NAME``) or the chapter ``to_come``. A section is the last heading at or above the cell.
"""

import json
import posixpath
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def headings(notebook: Path) -> dict[str, str]:
    """Return, for each cell of a notebook, the last heading (level 1 to 3) that it or a cell above it opens."""
    found, heading = {}, ""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            heading = next(iter(re.findall(r"^#{1,3} (.+)$", "".join(cell["source"]), flags=re.M)), heading)
        found[cell["id"]] = heading
    return found


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link(section: str, read: Callable[[str], dict[str, str]], start: str) -> str:
    """Return a Markdown link from a page in the folder `start` to the section of a cell, ``CHAPTER#CELL-ID``."""
    chapter, _, cell = section.partition("#")
    heading = read(chapter)[cell]
    return f"[{heading}]({posixpath.relpath(f'chapters/{chapter}.ipynb', start)}#{slug(heading)})"


def in_words(tests: list[str]) -> str:
    """Return tests as sentences, which is what their names are, file by file."""
    by_file: dict[str, list[str]] = {}
    for test in tests:
        path, *_, name = test.split("::")
        equation = re.fullmatch(r"test_equation_(\w+?)_(\d+)", name)
        sentence = "equation ({}.{})".format(*equation.groups()) if equation else name.removeprefix("test_")
        by_file.setdefault(Path(path).name, []).append(sentence.replace("_", " "))
    return "; ".join(f"`{name}`, {', '.join(sentences)}" for name, sentences in by_file.items())


def entries(coverage: dict, chapters: Path, start: str) -> list[str]:
    """Return the lines of a Markdown list, one entry for each item of the lecture."""
    read = cache(lambda chapter: headings(chapters / f"{chapter}.ipynb"))  # each chapter once
    lines = []
    for row in coverage["rows"]:
        item = f"- **{row['id']}**: {row['shows']}."
        if "to_come" in row:
            lines.append(f"{item} *To come: {coverage['planned'][row['to_come']]}.*")
        else:
            links = dict.fromkeys(link(section, read, start) for section in row["sections"])
            lines += [item, f"  - Sections: {'; '.join(links)}", f"  - Tests: {in_words(row['tests'])}"]
    return lines


class Coverage(SphinxDirective):
    """The directive: its argument is the file, beside the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        _, path = self.env.relfn2path(self.arguments[0])
        coverage, chapters = yaml.safe_load(Path(path).read_text(encoding="utf-8")), Path(self.env.srcdir) / "chapters"
        for needed in (path, *chapters.glob("**/*.ipynb")):
            self.env.note_dependency(str(needed))
        lines = entries(coverage, chapters, posixpath.dirname(self.env.docname))
        container = nodes.container(classes=["coverage"])
        self.state.nested_parse(StringList(lines, source=path), 0, container)
        return [container]


def setup(app: Sphinx) -> dict:
    """Connect the above."""
    app.add_directive("coverage", Coverage)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
