"""The site builds without a warning, needs no other host, is whole offline, and fails where a chapter failed."""

import re
import shutil
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from _ext import delivery
from tests.sites import ROOT, build, small_book
from tools.chapters import find


@pytest.fixture(scope="module", params=["served", "offline"])
def site(request) -> Path:
    """The site, and the offline copy of it: whatever holds for one holds for the other."""
    return request.getfixturevalue({"served": "built_site", "offline": "offline_copy"}[request.param])


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, BeautifulSoup]:
    return {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in [*site.glob("*.html"), *site.rglob("chapters/**/*.html")]
    }


def test_every_page_of_the_contents_is_built(site):
    for source in [*find(ROOT), *ROOT.glob("chapters/**/*.md")]:
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
            base = site if path.name == "404.html" else path.parent  # that page finds the site's folder by itself
            target = (base / unquote(url.path)).resolve() if url.path else path
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
    assert any(source.endswith("mathjax/startup.js") for source in scripts)
    assert not any("thebe" in source for source in scripts)
    assert list((site / "_static" / "mathjax").rglob("*.woff")), "MathJax has no fonts"


def test_every_page_says_its_language_its_title_and_what_is_on_it(pages):
    titles, descriptions = [], []
    for path, page in pages.items():
        assert page.html["lang"] == "en" and page.title.get_text().strip(), path.name
        if path.name == "404.html" or page.select("meta[http-equiv=refresh]"):
            continue
        [description] = page.select("meta[name=description]")
        assert 20 <= len(description["content"]) <= 160 and "\\" not in description["content"], path.name
        titles.append(page.title.get_text())
        descriptions.append(description["content"])
        assert "From autoencoders to scVI" in titles[-1] and titles[-1].count("From autoencoders") == 1
    assert len(set(titles)) == len(titles) and len(set(descriptions)) == len(descriptions)


def test_a_chapters_download_is_the_committed_notebook(site, pages):
    notebooks = 0
    for path, page in pages.items():
        for link in page.select("a.btn-download-source-button"):
            source = (path.parent / link["href"]).resolve()
            committed = ROOT / source.relative_to(site.resolve() / "_sources")
            assert source.read_bytes() == committed.read_bytes(), path.name
            notebooks += source.suffix == ".ipynb"
    assert notebooks == len(find(ROOT))


def test_the_search_knows_words_of_chapter_1(site):
    index = (site / "searchindex.js").read_text("utf-8")
    assert '"bottleneck"' in index or "bottleneck:" in index


def test_no_file_lies_there_that_nothing_loads(site):
    static = site / "_static"
    assert not (static / "scripts" / "fontawesome.js").exists()
    assert [path.name for path in static.rglob("*") if path.suffix in (".map", ".ttf", ".woff2")] == []


def test_every_file_that_a_style_sheet_names_is_there(site):
    for sheet in site.rglob("*.css"):
        for url in re.findall(r"url\(\s*[\"']?([^)\"']+)", sheet.read_text("utf-8")):
            if not url.startswith(("data:", "#")):
                assert (sheet.parent / urlsplit(url).path).exists(), f"{sheet.name}: {url}"


class TestOfflineCopy:
    def test_it_holds_the_pages_that_are_served_and_no_copy_of_itself(self, built_site, offline_copy):
        [archive] = built_site.glob("*.zip")
        served = {path.relative_to(built_site) for path in built_site.rglob("*") if path.is_file()}
        held = {path.relative_to(offline_copy) for path in offline_copy.rglob("*") if path.is_file()}
        assert {path.name for path in served - held} == {"404.html", ".buildinfo", "objects.inv", archive.name}
        differ = {path for path in held if (built_site / path).read_bytes() != (offline_copy / path).read_bytes()}
        assert held <= served and differ == {Path("chapters/index.html")}

    def test_the_first_page_links_to_it_and_says_its_size(self, built_site, offline_copy):
        [archive] = built_site.glob("*.zip")
        first = BeautifulSoup((built_site / "chapters" / "index.html").read_text("utf-8"), "html.parser")
        [link] = first.select("main a[href$='.zip']")
        assert (built_site / "chapters" / link["href"]).resolve() == archive.resolve()
        assert f"({archive.stat().st_size / 1e6:.1f} MB)" in link.parent.get_text()
        assert ".zip" not in (offline_copy / "chapters" / "index.html").read_text("utf-8")

    def test_the_same_pages_make_the_same_file(self, built_site, tmp_path):
        """Also a second time, over a site that holds a copy and a link already, with other times and rights."""
        copy = shutil.copytree(built_site, tmp_path / "html", copy_function=shutil.copyfile)
        delivery.pack(copy, "chapters/index.html")
        [first], [second] = built_site.glob("*.zip"), copy.glob("*.zip")
        assert first.read_bytes() == second.read_bytes()
        assert (copy / "chapters/index.html").read_bytes() == (built_site / "chapters/index.html").read_bytes()

    def test_it_unpacks_into_one_folder(self, built_site):
        [archive] = built_site.glob("*.zip")
        with zipfile.ZipFile(archive) as file:
            assert {name.split("/")[0] for name in file.namelist()} == {archive.stem}


class TestPageForWrongAddresses:
    def test_it_needs_no_other_file(self, built_site):
        page = BeautifulSoup((built_site / "404.html").read_text("utf-8"), "html.parser")
        assert page.select("link[rel=stylesheet], script[src], img") == []

    def test_it_lists_every_page_in_the_order_of_the_book(self, built_site):
        page = BeautifulSoup((built_site / "404.html").read_text("utf-8"), "html.parser")
        listed = [link["href"] for link in page.select("nav a")]
        start = BeautifulSoup((built_site / "chapters" / "index.html").read_text("utf-8"), "html.parser")
        sidebar = [f"chapters/{link['href']}" for link in start.select("nav.bd-docs-nav a.reference.internal")]
        assert listed == ["chapters/index.html", *sidebar] and len(sidebar) >= 2
        assert page.select_one("form[role=search]")["action"] == "search.html"

    @pytest.mark.parametrize(
        ("settings", "folder"),
        [
            ({}, "/"),
            ({"repository": "https://github.com/someone/book"}, "/book/"),
            ({"repository": "https://github.com/someone/book.git/"}, "/book/"),
            ({"repository": "https://github.com/someone/someone.github.io"}, "/"),
            ({"repository": "https://github.com/someone/book", "url": "https://example.org"}, "/"),
            ({"url": "https://example.org/courses/book/"}, "/courses/book/"),
        ],
    )
    def test_without_scripts_its_links_start_where_github_pages_shows_the_book(self, settings, folder):
        class Config:
            html_baseurl = settings.get("url", "")
            html_theme_options = {"repository_url": settings.get("repository", "")}  # noqa: RUF012

        assert delivery.base(Config) == folder


FAILED = nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"outputs": [FAILED]}, "ZeroDivisionError"),
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
