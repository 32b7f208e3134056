"""What lies beside the pages: mathematics and icons without a network, a page for wrong addresses, an offline copy."""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset

logger = logging.getLogger(__name__)
NAME = "from-autoencoders-to-scvi"

MATHJAX_PARTS = (  # no menu: it is as large as the rest of the script, and makes each formula a stop of the Tab key
    "startup.js",
    "core.js",
    "input/tex.js",
    "input/tex/extensions",
    "output/chtml.js",
    "output/chtml/fonts",
    "a11y/assistive-mml.js",
)
UNUSED = ("*.map", "scripts/fontawesome.js", "sphinx-thebe.*", "*webpack-macros.html")
NOT_OFFLINE = {"404.html", ".buildinfo", "objects.inv", f"{NAME}.zip"}
NOTE = re.compile("<!--offline-->.*<!--/offline-->", re.DOTALL)


def copy_mathjax(static: Path) -> None:
    """Take from a package, not from another host, the part of MathJax that sets TeX and tells it to screen readers."""
    package = distribution("sphinx-mathjax-offline")
    entry = next(file for file in package.files if file.name == "startup.js")
    source, target = Path(package.locate_file(entry)).parent, static / "mathjax"
    for part in MATHJAX_PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            copy_asset(str(source / part), str(target / part))
        else:
            shutil.copy2(source / part, target / part)


def keep_used_icons(site: Path) -> None:
    """Cut the theme's icon fonts down to the icons that the pages and the theme's style sheets and scripts name."""
    static = site / "_static"
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    style = sheet.read_text("utf-8")
    named = set()
    for path in [*site.rglob("*.html"), *static.rglob("*.js")]:
        if "mathjax" not in path.parts:
            named |= set(re.findall(r"\bfa-[a-z0-9-]+", path.read_text("utf-8")))
    codes = {int(code, 16) for code in re.findall(r'--pst-icon-[\w-]+:"\\([0-9a-f]+)"', style)}
    for heads, code in re.findall(r'([^{}]+)\{content:"\\([0-9a-f]+)"', style):
        if named & set(re.findall(r"\.(fa-[\w-]+)", heads)):
            codes.add(int(code, 16))
    for path in (static / "vendor" / "fontawesome" / "webfonts").glob("*.ttf"):
        font = TTFont(path, recalcTimestamp=False)
        subsetter = Subsetter(Options(flavor="woff", notdef_outline=True))
        subsetter.populate(unicodes=codes)
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(path.with_suffix(".woff"))
        path.unlink()
        path.with_suffix(".woff2").unlink()
    style = re.sub(r',url\([^)]*\.ttf\) format\("truetype"\)', "", style)
    sheet.write_text(style.replace('.woff2) format("woff2")', '.woff) format("woff")'), "utf-8")


def pages_beside(app: Sphinx):
    """Yield the page for wrong addresses and, for a first page that lies in a folder, the site's own index.html."""
    env, root = app.env, app.config.root_doc
    order = [root]
    for document in order:
        at = order.index(document) + 1
        order[at:at] = [child for child in env.toctree_includes.get(document, []) if child not in order]
    contents = [(document, env.titles[document].astext()) for document in order]
    yield "404", {"contents": contents, "base": base(app.config)}, "404.html"
    if root != "index":
        yield "index", {}, "redirect.html"


def base(config) -> str:
    """Return the folder of its host in which GitHub Pages shows the repository; "/" while no address is set."""
    if config.html_baseurl:
        return urlsplit(config.html_baseurl).path.rstrip("/") + "/"
    name = config.html_theme_options.get("repository_url", "").rstrip("/").rpartition("/")[2].removesuffix(".git")
    return f"/{name}/" if name and not name.endswith(".github.io") else "/"


def pack(site: Path, start: str) -> int:
    """Write the offline copy beside the pages, name it on the first page, and return its size in bytes.

    The same pages make the same file: names are sorted, times and rights are constant.
    """
    first, archive = site / start, site / f"{NAME}.zip"
    page = first.read_text("utf-8")
    with ZipFile(archive, "w", ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(path for path in site.rglob("*") if path.is_file() and path.name not in NOT_OFFLINE):
            info = ZipInfo(f"{NAME}/{path.relative_to(site).as_posix()}")
            info.compress_type, info.external_attr = ZIP_DEFLATED, 0o644 << 16
            file.writestr(info, NOTE.sub("", page) if path == first else path.read_bytes())
    size = archive.stat().st_size
    link = f'<a href="{"../" * start.count("/")}{archive.name}">the whole book as one zip file</a>'
    note = f"<p>Without a network: {link} ({size / 1e6:.1f} MB). Unpack it and open its <code>index.html</code>.</p>"
    first.write_text(NOTE.sub(f"<!--offline-->{note}<!--/offline-->", page), "utf-8")
    return size


def finish(app: Sphinx, error: Exception | None) -> None:
    """Complete a site that has been built without an error."""
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    copy_mathjax(site / "_static")
    for pattern in UNUSED:
        for path in (site / "_static").rglob(pattern):
            path.unlink()
    keep_used_icons(site)
    size = pack(site, app.builder.get_target_uri(app.config.root_doc))
    logger.info(f"The offline copy, {NAME}.zip, has {size / 1e6:.1f} MB")


def setup(app: Sphinx) -> dict:
    """Connect the parts above."""
    app.connect("html-collect-pages", pages_beside)
    app.connect("build-finished", finish, priority=900)  # the theme still writes a style sheet then
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
