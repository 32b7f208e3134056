"""Make the terms of the glossary targets of plain Markdown links.

Chapters hold no roles. At its first use in running text (not in a heading, a table or a list of outcomes) they link a
term as ``[depth](appendix/glossary.md#term-depth)``: the path from the chapter's folder, ``term-``, and the term with
its capitals, hyphens for spaces. Away from the site it is a relative link like any other; the text reads the same.
Sphinx gives terms such ids, and MyST looks for a page's targets among its headings only: here terms join them.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def enter_terms(app: Sphinx, doctree: nodes.document) -> None:
    """Add each term of a page's glossary to the link targets of that page, as (line, id, text)."""
    targets = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for glossary in doctree.findall(addnodes.glossary):
        for term in glossary.findall(nodes.term):
            for name in term["ids"]:
                targets[name] = (term.line or 0, name, term.astext())


def setup(app: Sphinx) -> dict:
    """Connect the above."""
    app.connect("doctree-read", enter_terms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
