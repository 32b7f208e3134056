"""The repository's address stands in one place, and `tools.stamp` writes it to all others, and takes it out again."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from tests.sites import build, small_book
from tools import execute, stamp
from tools.chapters import find

ROOT = Path(__file__).parent.parent
FILES = ("_config.yml", "README.md", "CITATION.cff", "pyproject.toml", "Makefile", "chapters", "tools")
ADDRESS = "https://github.com/some-one/the.book_2"
COLAB = "https://colab.research.google.com"


def copied(names, folder: Path) -> Path:
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def book(tmp_path, monkeypatch) -> Path:
    """A copy of the book without an address, in which `stamp.main` works."""
    monkeypatch.setattr(stamp, "ROOT", copied(FILES, tmp_path))
    assert stamp.main(["--url", "", "--branch", "main"]) == 0
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def found(folder: Path) -> dict[str, list[str]]:
    """Return the addresses in each place, read as the programs that use them read them."""
    places = {}
    for path in find(folder):
        [cell] = [c for c in nbformat.read(path, as_version=4).cells if "setup" in c.metadata.get("tags", [])]
        places[path.name] = re.findall(r'^REPOSITORY = "(.*)"$', cell.source, flags=re.M)
    settings = yaml.safe_load((folder / "_config.yml").read_text("utf-8"))
    places["the site's repository"] = [settings["repository"]["url"]]
    places["the citation"] = [yaml.safe_load((folder / "CITATION.cff").read_text()).get("repository-code", "")]
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    places["the metadata"] = list(project.get("urls", {"": ""}).values())
    readme = (folder / "README.md").read_text("utf-8")
    opened = re.findall(rf"\({re.escape(COLAB)}/github/([^/]+/[^/]+)/blob/([^/]+)/([^)]+)\)", readme)
    places["the README"] = [f"https://github.com/{name}" for name, _, _ in opened] or [""]
    for _, branch, path in opened:
        assert branch == settings["repository"]["branch"] and (folder / path).exists(), path
    if opened:
        assert {path for _, _, path in opened} == {p.relative_to(folder).as_posix() for p in find(folder)}
    return places


def shown(folder: Path) -> list:
    settings = yaml.safe_load((folder / "_config.yml").read_text("utf-8"))
    buttons = [settings["html"][f"use_{name}_button"] for name in ("repository", "issues")]
    return [*buttons, settings["launch_buttons"]["colab_url"]]


class TestAgreement:
    def test_every_place_has_the_address_of_the_configuration(self):
        [url] = found(ROOT)["the site's repository"]
        assert {place: set(urls) for place, urls in found(ROOT).items()} == {place: {url} for place in found(ROOT)}
        assert shown(ROOT) == ([True, True, COLAB] if url else [False, False, ""])

    def test_stamping_this_tree_with_its_own_address_would_change_nothing(self):
        texts = stamp.stamped(ROOT)
        assert {path.name for path in texts} >= {"README.md", *(path.name for path in find(ROOT))}
        assert [path.name for path, text in texts.items() if path.read_bytes().decode() != text] == []

    @pytest.mark.parametrize("url", [ADDRESS, ""])
    def test_every_place_has_the_address_that_is_stamped(self, book, url):
        """Also after a stamp with another address."""
        assert stamp.main(["--url", "https://github.com/another/name"]) == 0
        assert stamp.main(["--url", url]) == 0
        assert {place: set(urls) for place, urls in found(book).items()} == {place: {url} for place in found(book)}
        assert shown(book) == ([True, True, COLAB] if url else [False, False, ""])

    def test_no_badge_is_shown_without_an_address(self, book):
        assert COLAB not in (book / "README.md").read_text("utf-8")
        assert stamp.main(["--url", ADDRESS]) == 0
        assert f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]" in (book / "README.md").read_text("utf-8")


class TestStamping:
    def test_it_changes_the_places_and_nothing_else(self, book, capsys):
        capsys.readouterr()
        before = contents(book)
        assert stamp.main(["--url", ADDRESS]) == 0
        after = contents(book)
        changed = {name for name in after if after[name] != before[name]}
        notebooks = {path.relative_to(book).as_posix() for path in find(book)}
        assert set(before) == set(after) and changed == set(capsys.readouterr().out.split())
        assert changed == notebooks | {"_config.yml", "README.md", "CITATION.cff", "pyproject.toml"}
        for name in notebooks:
            empty, line = (rb'    "REPOSITORY = \"' + url.encode() + rb'\"\n"' for url in ("", ADDRESS))
            assert before[name].count(empty) == 1 and after[name] == before[name].replace(empty, line)

    def test_a_second_time_it_changes_nothing(self, book, capsys):
        assert stamp.main(["--url", ADDRESS]) == 0
        before = contents(book)
        capsys.readouterr()
        assert stamp.main(["--url", ADDRESS]) == stamp.main([]) == 0
        assert contents(book) == before and capsys.readouterr().out == "Nothing to change.\n" * 2

    def test_an_empty_address_takes_it_out_again_to_the_byte(self, book):
        before = contents(book)
        assert stamp.main(["--url", ADDRESS, "--branch", "colab"]) == 0
        assert stamp.main(["--url", "", "--branch", "main"]) == 0
        assert contents(book) == before

    def test_without_an_address_the_one_there_is_written_to_what_is_new(self, book):
        assert stamp.main(["--url", ADDRESS]) == 0
        [chapter, *_] = find(book)
        new = chapter.read_bytes().replace(ADDRESS.encode(), b"")
        (book / "chapters" / "99_new.ipynb").write_bytes(new)
        assert stamp.main([]) == 0
        assert found(book)["99_new.ipynb"] == [ADDRESS] and "[99](" in (book / "README.md").read_text("utf-8")

    @pytest.mark.parametrize(
        "url",
        [
            "http://github.com/a/b",
            "https://gitlab.com/a/b",
            "git@github.com:a/b",
            "https://github.com/a",
            "https://github.com/a/b/",
            "https://github.com/a/b/c",
            "https://github.com/a/b.git",
            "https://github.com/a/..",
            "https://github.com/-a/b",
            "https://github.com/ä/b",
            'https://github.com/a/b"',
            " https://github.com/a/b",
        ],
    )
    def test_what_is_no_address_is_refused_and_changes_nothing(self, book, capsys, url):
        before = contents(book)
        assert stamp.main(["--url", url]) == 1
        assert "https://github.com/owner/name" in (error := capsys.readouterr().err) and repr(url) in error
        assert contents(book) == before

    def test_a_branch_that_would_break_a_link_is_refused(self, book, capsys):
        assert stamp.main(["--url", ADDRESS, "--branch", "a b"]) == 1
        assert "'a b'" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["README.md", "CITATION.cff", "pyproject.toml", "_config.yml", "chapter"])
    def test_a_file_without_a_place_for_it_is_named_and_nothing_is_written(self, book, capsys, name):
        path = find(book)[0] if name == "chapter" else book / name
        path.write_text("nothing: here\n")
        before = contents(book)
        assert stamp.main(["--url", ADDRESS]) == 1
        assert path.name in capsys.readouterr().err and contents(book) == before

    def test_make_stamp_is_the_command(self, book):
        def make(*arguments):
            command = ["make", "--silent", "stamp", f"PYTHON={sys.executable}", *arguments]
            done = subprocess.run(command, cwd=book, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return set(found(book)["the README"])

        assert make(f"URL={ADDRESS}", "BRANCH=colab") == {ADDRESS}
        assert make() == {ADDRESS}
        assert make("URL=") == {""}


def test_a_stamped_chapter_counts_as_run(book, monkeypatch):
    """Its outputs do not depend on the address, so that `make execute` leaves it as it is."""
    [chapter, *_] = find(book)
    monkeypatch.setattr(execute, "ROOT", copied(["requirements.lock", "course_lib"], book))
    before = execute.fingerprint(chapter)
    assert stamp.main(["--url", ADDRESS]) == 0
    assert execute.fingerprint(chapter) == before
    chapter.write_bytes(chapter.read_bytes().replace(b"importlib", b"important", 1))
    assert execute.fingerprint(chapter) != before


class TestSite:
    """Built from a book of one chapter, `chapters/one.ipynb`."""

    def links(self, folder: Path, *arguments: str) -> list[str]:
        small_book(folder)
        (folder / "_config.yml").write_text(
            stamp.config((folder / "_config.yml").read_text("utf-8"), *arguments), encoding="utf-8"
        )
        done = build(folder, folder)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        page = BeautifulSoup((folder / "_build/html/chapters/one.html").read_text("utf-8"), "html.parser")
        wanted = [tag.get("src") or tag.get("href") for tag in page.select("img[src], script[src], link[href]")]
        assert [address for address in wanted if urlsplit(address).netloc] == []
        assert all(image.has_attr("alt") for image in page.select("img"))
        return [tag["href"] for tag in page.select("a[href]") if urlsplit(tag["href"]).netloc]

    def test_its_buttons_lead_to_the_repository_and_open_this_page_in_colab(self, tmp_path):
        links = self.links(tmp_path, ADDRESS, "a-branch")
        colab = [link for link in links if link.startswith(COLAB)]
        assert set(colab) == {f"{COLAB}/github/some-one/the.book_2/blob/a-branch/chapters/one.ipynb"}
        assert ADDRESS in links
        [issue] = {link for link in links if link.startswith(f"{ADDRESS}/issues/new")}
        assert "chapters/one" in parse_qs(urlsplit(issue).query)["title"][0]

    def test_without_an_address_there_is_no_button_that_leads_anywhere(self, tmp_path):
        assert [link for link in self.links(tmp_path, "", "main") if "github" in link or "colab" in link] == []
