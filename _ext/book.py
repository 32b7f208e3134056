"""The book's own Sphinx extension: call-outs, mathematics without a network, and a lighter page.

Chapters are plain notebooks, so that they read the same in Colab and on GitHub. What the site adds, it adds here.
"""

import json
import shutil
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset

logger = logging.getLogger(__name__)
CALLOUTS = ("Predict", "Notice", "Careful")
MATHJAX = "mathjax"
MATHJAX_PARTS = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts")


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


def drop_unused_scripts(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Leave out the live-code scripts (thebe), which no page uses and which declare the same name twice."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script.filename} {script.attributes.get('body', '')}".lower()
    ]


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax beside the pages: the part that sets TeX, taken from a package instead of another host."""
    if error is not None or app.builder.format != "html":
        return
    package = distribution("sphinx-mathjax-offline")
    entry = next(file for file in package.files if file.name == "tex-chtml.js")
    source, target = Path(package.locate_file(entry)).parent, Path(app.outdir) / "_static" / MATHJAX
    for part in MATHJAX_PARTS:
        if (source / part).is_dir():
            copy_asset(str(source / part), str(target / part))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, target / part)


def setup(app: Sphinx) -> dict:
    """Connect the parts above."""
    app.add_post_transform(Callouts)
    app.connect("env-before-read-docs", refuse_failed_chapters)
    app.connect("config-inited", one_search_box, priority=900)
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
