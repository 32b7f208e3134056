"""The site builds without a warning, needs no other host, and fails where a chapter failed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from tools.execute import METADATA

ROOT = Path(__file__).parent.parent


def build(source: Path, output: Path) -> subprocess.CompletedProcess:
    """Build a book strictly: every warning and every unresolved reference is an error."""
    command = Path(sys.executable).parent / "jupyter-book"
    return subprocess.run(
        [command, "build", "-W", "-n", "--keep-going", "--path-output", str(output), str(source)],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("site")
    done = build(ROOT, output)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return output / "_build" / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, BeautifulSoup]:
    return {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in site.rglob("chapters/**/*.html")
    }


def test_every_page_of_the_contents_is_built(site):
    for source in [*ROOT.glob("chapters/*.ipynb"), *ROOT.glob("chapters/**/*.md")]:
        assert (site / source.relative_to(ROOT)).with_suffix(".html").exists(), f"{source.name} is missing in _toc.yml"


def test_no_page_asks_another_host_for_anything(pages):
    for path, page in pages.items():
        wanted = [tag.get("src") or tag.get("href") for tag in page.select("script[src], img[src], iframe[src]")]
        wanted += [tag["href"] for tag in page.select("link[href]") if "canonical" not in (tag.get("rel") or [])]
        assert [url for url in wanted if urlsplit(url).netloc] == [], path.name


def test_every_link_inside_the_site_leads_somewhere(site, pages):
    for path, page in pages.items():
        for tag in page.select("a[href], img[src], script[src], link[href]"):
            url = urlsplit(tag.get("href") or tag.get("src"))
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            assert target.exists(), f"{path.name}: {url.path}"
            if url.fragment and target in pages:
                assert pages[target].find(id=unquote(url.fragment)), f"{path.name}: #{url.fragment}"


def test_every_picture_has_an_alternative_text(pages):
    for path, page in pages.items():
        for image in page.select("article img"):
            assert len(image.get("alt", "")) >= 60, f"{path.name}: {image['src']}"


def test_call_outs_are_marked_for_the_style_sheet(pages):
    for path, page in pages.items():
        for quote in page.select("article blockquote"):
            first = quote.find("p")
            if first and first.find("strong"):
                word = first.find("strong").get_text().rstrip(".").lower()
                assert "callout" in quote["class"] and f"callout-{word}" in first["class"], f"{path.name}: {word}"


def test_solutions_are_folded_and_rendered_as_code(pages):
    for path, page in pages.items():
        for details in page.select("article details:not(.hide)"):
            assert details.find("summary").get_text().startswith("Solution"), path.name
            assert details.select("div.highlight pre"), f"{path.name}: a solution without rendered code"
            assert "```" not in details.get_text(), f"{path.name}: a solution shows raw Markdown"


def test_mathematics_is_set_by_a_script_that_lies_beside_the_pages(site, pages):
    scripts = [tag["src"] for tag in pages[site / "chapters" / "01_autoencoder.html"].select("script[src]")]
    assert any(source.endswith("mathjax/tex-chtml.js") for source in scripts)
    assert not any("thebe" in source for source in scripts)
    assert list((site / "_static" / "mathjax").rglob("*.woff")), "MathJax has no fonts"


def small_book(folder: Path, text: str = "", error: bool = False) -> Path:
    for name in ("_config.yml", "_ext", "_static"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / "chapters").mkdir()
    shutil.copy2(ROOT / "chapters" / "references.bib", folder / "chapters")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: chapters/one\n")
    cell = nbformat.v4.new_code_cell("1 / 0", id="divide", execution_count=1)
    if error:
        cell.outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero")]
    heading = nbformat.v4.new_markdown_cell(f"# One\n\n{text}", id="heading")
    notebook = nbformat.v4.new_notebook(cells=[heading, cell], metadata=METADATA)
    nbformat.write(notebook, folder / "chapters" / "one.ipynb")
    return folder


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"error": True}, "ZeroDivisionError"),
        ({"text": "[nowhere](missing.md)"}, "missing.md"),
    ],
    ids=["a failed cell", "a broken link"],
)
def test_a_faulty_chapter_fails_the_strict_build(tmp_path, fault, told):
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    good = build(small_book(tmp_path / "good"), tmp_path / "good")
    assert good.returncode == 0, good.stdout[-2000:] + good.stderr[-2000:]
    bad = build(small_book(tmp_path / "bad", **fault), tmp_path / "bad")
    assert bad.returncode != 0
    assert told in bad.stdout + bad.stderr
