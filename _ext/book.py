"""The book's own Sphinx extension: call-outs, tables and descriptions, and a lighter page.

Chapters are plain notebooks, so that they read the same in Colab and on GitHub. What the site adds to a page, it adds
here; what it adds beside the pages, in ``delivery``.
"""

import json
import textwrap
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)
CALLOUTS = ("Predict", "Notice", "Careful")


class Callouts(SphinxPostTransform):
    """Give a block quote that opens with a bold Predict, Notice or Careful a class of that name."""

    default_priority = 300

    def run(self, **kwargs) -> None:
        for quote in self.document.findall(nodes.block_quote):
            for paragraph in quote.children:
                word = opening_word(paragraph)
                if word in CALLOUTS:
                    paragraph["classes"].append(f"callout-{word.lower()}")
                    quote["classes"].append("callout")


class EmptyTableHeads(SphinxPostTransform):
    """Make the empty corner of a pandas table a plain cell: a head without a text is announced as one."""

    default_priority = 900  # once an output's kind is chosen

    def run(self, **kwargs) -> None:
        for raw in self.document.findall(nodes.raw):
            if "<th></th>" in raw.astext():
                raw.children = [nodes.Text(raw.astext().replace("<th></th>", "<td></td>"))]


def opening_word(paragraph: nodes.Node) -> str:
    """Return the bold text that a paragraph opens with, without its full stop, or nothing."""
    first = next((child for child in paragraph.children if child.astext()), None)
    return first.astext().rstrip(".") if isinstance(first, nodes.strong) else ""


def refuse_failed_chapters(app: Sphinx, env, docnames: list[str]) -> None:
    """Warn of chapters whose saved outputs hold an error; `make test` turns warnings into failures."""
    for name in docnames:
        path = Path(env.doc2path(name))
        if path.suffix != ".ipynb":
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    logger.warning(f"cell {cell.get('id')} failed: {output['ename']}", location=name)


def one_search_box(app: Sphinx, config) -> None:
    """The theme shows its search button twice; html_theme_options would replace Jupyter Book's own, so add to them."""
    config.html_theme_options["navbar_persistent"] = []


def drop_live_code(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Leave out the live-code parts (thebe), which no page uses and which declare the same name twice."""
    for kind in ("script_files", "css_files"):
        context[kind] = [
            file
            for file in context.get(kind, [])
            if "thebe" not in f"{file.filename} {file.attributes.get('body', '')}".lower()
        ]


def describe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Give a page its description for search engines: its first paragraph of words, unless the page brings its own."""
    if 'name="description"' in context.get("metatags", ""):
        return
    text = f"Search in {app.config.html_title}." if doctree is None else first_words(doctree)
    context["metatags"] = f'{context.get("metatags", "")}<meta name="description" content="{escape(text)}" />\n'


def name_roles(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Call the entries of a bibliography items of its list; docutils gives them a role that ARIA has withdrawn."""
    context["body"] = context.get("body", "").replace('role="doc-biblioentry"', 'role="listitem"')


def first_words(doctree: nodes.document) -> str:
    """Return the first paragraph that is text alone (no formula), at most 160 characters of it; else the title."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) >= 40 and not list(paragraph.findall(nodes.math)):
            return textwrap.shorten(text, 160, placeholder=" …")
    return next(doctree.findall(nodes.title)).astext()


def setup(app: Sphinx) -> dict:
    """Connect the parts above."""
    app.add_post_transform(Callouts)
    app.add_post_transform(EmptyTableHeads)
    app.connect("env-before-read-docs", refuse_failed_chapters)
    app.connect("config-inited", one_search_box, priority=900)
    app.connect("html-page-context", drop_live_code, priority=900)
    app.connect("html-page-context", describe, priority=900)
    app.connect("html-page-context", name_roles, priority=900)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
