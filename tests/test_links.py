"""Where a chapter is opened alone, its links to other pages lead to places that the website has."""

import re
import shutil
from urllib.parse import urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from tests.sites import ROOT
from tools import links
from tools.chapters import find

SITE = "https://owner.github.io/the.book"
TARGET = re.compile(r"\]\(([^()\s]+)\)")


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory):
    """A copy of the chapters, rewritten."""
    book = tmp_path_factory.mktemp("book")
    shutil.copytree(ROOT / "chapters", book / "chapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "ROOT", book)
        assert links.main([SITE + "/"]) == 0
    return book


def test_every_link_to_another_page_leads_to_a_place_on_the_site(rewritten, built_site):
    known, n_links = {}, 0
    for path in find(rewritten):
        for cell in nbformat.read(path, 4).cells:
            for target in TARGET.findall(cell.source) if cell.cell_type == "markdown" else ():
                assert urlsplit(target).scheme or target.startswith("#"), f"{path.name}: {target}"
                if target.startswith(SITE):
                    page, _, anchor = target.removeprefix(SITE + "/").partition("#")
                    if page not in known:
                        html = BeautifulSoup((built_site / page).read_text("utf-8"), "html.parser")
                        known[page] = {tag["id"] for tag in html.select("[id]")}
                    assert not anchor or anchor in known[page], f"{path.name}: {target}"
                    n_links += 1
    assert n_links > 100


def test_only_the_text_changes(rewritten):
    for path in find(rewritten):
        before, after = (nbformat.read(folder / path.relative_to(rewritten), 4) for folder in (ROOT, rewritten))
        for old, new in zip(before.cells, after.cells, strict=True):
            new.source = old.source if old.cell_type == "markdown" else new.source
        assert before == after


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](02_pca.ipynb)", f"[a]({SITE}/chapters/02_pca.html)"),
        ("[a](02_pca.ipynb#23-the-proof)", f"[a]({SITE}/chapters/02_pca.html#the-proof)"),
        ("[a](appendix/glossary.md#term-ARI)", f"[a]({SITE}/chapters/appendix/glossary.html#term-ARI)"),
        ("[a](../index.md) [b](#here)", f"[a]({SITE}/index.html) [b](#here)"),
        ("[a](https://host.example/x.md) `x.md`", "[a](https://host.example/x.md) `x.md`"),
    ],
)
def test_links_between_pages_change_and_others_do_not(text, expected):
    assert links.absolute(text, "chapters", SITE) == expected


@pytest.mark.parametrize("site", ["", "owner.github.io/name", "http://owner.github.io/name", "https://a b"])
def test_what_is_no_address_is_refused_and_nothing_is_read(monkeypatch, capsys, site):
    monkeypatch.setattr(links, "find", lambda root: pytest.fail("read"))
    assert links.main([site]) == 1 and repr(site) in capsys.readouterr().err
