"""Point the links between pages at the website, in notebooks that are opened where there are no other pages.

In Colab a chapter is alone: ``[code](appendix/glossary.md#term-code)`` leads nowhere there. Usage, in a copy of the
book that only Colab will open: ``python -m tools.links https://owner.github.io/name``.
"""

import argparse
import posixpath
import re
import sys
from pathlib import Path

import nbformat
from docutils.nodes import make_id

from tools.chapters import find

ROOT = Path(__file__).parent.parent
SITE = re.compile(r"https://[\w.-]+(/[\w.-]+)*", flags=re.A)
LINK = re.compile(r"(?<=\]\()(?P<page>[\w./-]+)\.(?:ipynb|md)(?:#(?P<anchor>[\w-]+))?(?=\))")


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the chapters of this tree in place; return 1 if the address is none, else 0."""
    parser = argparse.ArgumentParser(description="Point links between pages at the website.")
    parser.add_argument("site", help="address of the website, such as https://owner.github.io/name")
    site = parser.parse_args(arguments).site.rstrip("/")
    if not SITE.fullmatch(site):
        print(f"The address is one of a website, such as https://owner.github.io/name; got {site!r}.", file=sys.stderr)
        return 1
    for path in find(ROOT):
        notebook = nbformat.read(path, as_version=4)
        folder = path.parent.relative_to(ROOT).as_posix()
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = absolute(cell.source, folder, site)
        path.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")
    return 0


def absolute(text: str, folder: str, site: str) -> str:
    """Return Markdown of a page in `folder`, a path below the book, with its links to other pages leading to `site`."""

    def address(link: re.Match) -> str:
        page = posixpath.normpath(posixpath.join(folder, link["page"]))
        anchor = link["anchor"] or ""
        if not anchor.startswith("term-"):  # the glossary's own; headings have docutils' ids on the site
            anchor = make_id(anchor)
        return f"{site}/{page}.html" + (f"#{anchor}" if anchor else "")

    return LINK.sub(address, text)


if __name__ == "__main__":
    sys.exit(main())
