"""Notation, glossary and landing page agree with the chapters: symbols, terms, sections, titles, questions, code."""

import functools
import re
import unicodedata
from pathlib import Path

import anndata as ad
import notebooks
import numpy as np
import pytest
import yaml

from _ext.coverage_table import headings, slug

CHAPTERS = notebooks.ROOT / "chapters"
PAGES = {path.name: path.read_text("utf-8") for path in (CHAPTERS / "index.md", *(CHAPTERS / "appendix").glob("*.md"))}
NOTEBOOKS = {path: notebooks.read(path) for path in notebooks.CHAPTERS}


# Notation


def rows(markdown: str, head: str) -> list[list[str]]:
    """The rows of the table whose first line begins with `head`, as cells."""
    [table] = re.findall(rf"^{re.escape(head)}.*\n\|[-:| ]+\|\n((?:\|.*\n?)+)", markdown, flags=re.M)
    return [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in table.strip().splitlines()]


def symbols(cell: str) -> list[str]:
    return re.findall(r"\$([^$]+)\$", cell)


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def notation(page: str, chapter: str = "") -> dict[str, tuple[list[str], set[str]]]:
    """For each symbol of the book, and of one chapter alone: what its meaning has in bold, and its names in code."""
    found = {}
    own = [row for number, *row in rows(page, "| chapter |") if number == chapter] if chapter else []
    for symbol, meaning, code, *_ in rows(page, "| symbol |") + own:
        [symbol] = symbols(symbol)
        assert symbol not in found, f"{symbol} has two rows"
        found[symbol] = re.findall(r"\*\*(.+?)\*\*", meaning), names(code)
        assert found[symbol][0], f"{symbol}: no word of its meaning is in bold"
    return found


NOTATION = notation(PAGES["notation.md"])
WITH_OWN = [row[0] for row in rows(PAGES["notation.md"], "| chapter |")]


def disagreements(title: str, known: dict = NOTATION) -> list[str]:
    """Where a chapter's table of symbols, in its first cell, says something else than the notation page."""
    found = []
    for cell, meaning, code in rows(title, "| symbol | meaning | in code |"):
        allowed = set()
        for symbol in symbols(cell):
            if symbol not in known:
                found.append(f"${symbol}$ is not on the notation page")
                continue
            words, own = known[symbol]
            allowed |= own
            found += [
                f"${symbol}$ is a {word} in the notation" for word in words if word.casefold() not in meaning.casefold()
            ]
            if own and not own & names(code):
                found.append(f"${symbol}$ is {' or '.join(sorted(own))} in code")
        found += [f"`{name}` is no name for {cell}" for name in sorted(names(code) - allowed)]
    return found


class TestNotation:
    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_a_chapters_symbols_agree_with_the_page(self, path):
        known = notation(PAGES["notation.md"], notebooks.number(NOTEBOOKS[path]))
        assert disagreements(NOTEBOOKS[path].cells[0].source, known) == []

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_a_chapters_own_symbols_are_in_its_table(self, path):
        title = rows(NOTEBOOKS[path].cells[0].source, "| symbol | meaning | in code |")
        own = notation(PAGES["notation.md"], notebooks.number(NOTEBOOKS[path])).keys() - NOTATION.keys()
        assert own <= {symbol for cell, *_ in title for symbol in symbols(cell)}

    @pytest.mark.parametrize("chapter", dict.fromkeys(WITH_OWN))
    def test_no_chapter_takes_a_symbol_of_the_whole_book_for_itself(self, chapter):
        known = notation(PAGES["notation.md"], chapter)
        assert len(known) == len(NOTATION) + WITH_OWN.count(chapter)

    def test_a_chapters_own_symbol_is_unknown_in_the_others(self):
        title = "| symbol | meaning | in code |\n|---|---|---|\n| $b$ | bits | `n_bits` |\n"
        found = {chapter: disagreements(title, notation(PAGES["notation.md"], chapter)) for chapter in ("1", "2", "3")}
        assert found["1"] == ["$b$ is not on the notation page", "`n_bits` is no name for $b$"]
        assert "$b$ is a biases in the notation" in found["2"] and found["3"] == []

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            (r"| $\omega$ | an angle | – |", r"$\omega$ is not on the notation page"),
            (r"| $z$ | the noise | `z` |", "$z$ is a code"),
            (r"| $z$ | the code | `latent` |", "$z$ is z in code"),
            (r"| $z$ | the code | – |", "$z$ is z in code"),
            (r"| $z$ | the code | `z`, `latent` |", "`latent` is no name for $z$"),
            (r"| $n$, $N$ | a cell and their number | – |", "$N$ is n_cells in code"),
            (r"| $\hat{x}$ | the reconstruction | `x_hat`, `x` |", "`x` is no name"),
        ],
    )
    def test_a_row_that_drifts_is_named(self, row, said):
        assert said in "; ".join(disagreements(f"| symbol | meaning | in code |\n|---|---|---|\n{row}\n"))

    def test_a_symbol_with_two_meanings_on_the_page_is_refused(self):
        double = "| symbol | meaning |\n|---|---|\n| $z$ | **code** | `z` |\n| $z$ | **height** | `z` |\n"
        with pytest.raises(AssertionError, match="two rows"):
            notation(double)
        again = "| symbol | meaning |\n|---|---|\n| $z$ | **code** | `z` |\n\n"
        again += "| chapter | symbol |\n|---|---|\n| 2 | $z$ | **height** | `z` |\n"
        assert notation(again) and notation(again, "3")
        with pytest.raises(AssertionError, match="two rows"):
            notation(again, "2")


# Glossary


def entries(page: str) -> list[tuple[list[str], str]]:
    """Each entry of a glossary: the names of the term, and its definition."""
    [block] = re.findall(r"^```\{glossary\}\n(.*?)^```", page, flags=re.S | re.M)
    parts = (part.splitlines() for part in block.strip().split("\n\n"))
    return [
        (
            [line for line in lines if not line.startswith(" ")],
            "\n".join(line for line in lines if line.startswith(" ")),
        )
        for lines in parts
    ]


GLOSSARY = entries(PAGES["glossary.md"])
TERMS = [term for terms, _ in GLOSSARY for term in terms]
TEXTS = " ".join(cell.source for notebook in NOTEBOOKS.values() for cell in notebook.cells)
ENDINGS = r"(?:e?s|d|ed|ing)?"


@functools.cache
def words(text: str) -> str:
    """A text in lower case, its hyphens as spaces, without the addresses of its links."""
    return re.sub(r"[\s-]+", " ", re.sub(r"\]\([^)]*\)", "]", text)).casefold()


def used(terms: list[str], text: str = TEXTS) -> bool:
    """Whether a text uses a term under one of its names, as it stands or inflected."""
    stems = [words(term) if " " in term else words(term).removesuffix("ing") for term in terms]
    return any(re.search(rf"\b{re.escape(stem)}{ENDINGS}(?!\w)", words(text)) for stem in stems)


def anchor(term: str) -> str:
    """The id that Sphinx gives to a term."""
    plain = unicodedata.normalize("NFKD", term).encode("ascii", "ignore").decode()
    return f"term-{re.sub(r'[^a-zA-Z0-9._]+', '-', plain)}"


class TestGlossary:
    def test_terms_are_in_alphabetical_order_and_none_comes_twice(self):
        first = [terms[0].casefold() for terms, _ in GLOSSARY]
        assert first == sorted(first)
        assert len({term.casefold() for term in TERMS}) == len(TERMS) >= 40

    @pytest.mark.parametrize(("terms", "definition"), GLOSSARY, ids=[terms[0] for terms, _ in GLOSSARY])
    def test_a_term_is_used_in_a_chapter_and_links_to_where_it_is_taught(self, terms, definition):
        assert used(terms)
        assert re.search(r"\[(Section|Exercise) [\d.]+\]\(\S+\.ipynb#\S+\)\.$", definition)

    def test_a_term_that_no_chapter_uses_is_noticed(self):
        assert not used(["reparameterization of the weather"]) and not used(["posterior collapses"], "a posterior")
        assert used(["normalising"], "is normalised") and used(["R²", "score"], "two scores")
        assert not used(["nat"], "a natural one")

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_what_chapters_link_to_is_a_term(self, path):
        for cell in notebooks.markdown_cells(NOTEBOOKS[path]):
            for found in re.findall(r"glossary\.md#([^)\s]+)", cell.source):
                assert found in {anchor(term) for term in TERMS}, f"{cell.id}: {found}"


# Links to sections


def links_to_sections(page: str) -> list[tuple[str, str, str]]:
    """Each link to a section of a chapter: its text, the chapter's file name, and the anchor."""
    return re.findall(r"\[([^\]]+)\]\((?:\.\./)?(\w+\.ipynb)#([^)]+)\)", page)


def wrong_section(text: str, name: str, target: str) -> str:
    """What is wrong with a link to a section; "" where nothing is."""
    found = [heading for heading in all_headings(CHAPTERS / name) if slug(heading) == target]
    if len(found) != 1:
        return f"{name}#{target}: {len(found)} such headings"
    number = re.search(r"\d+\.\d+", text)
    section = numbered_section(CHAPTERS / name, found[0])
    return f"{text!r} leads to {found[0]!r}" if number and number[0] not in (section, *found[0].split()) else ""


@functools.cache
def all_headings(path: Path) -> list[str]:
    text = "\n".join(notebooks.without_code(cell.source) for cell in notebooks.markdown_cells(notebooks.read(path)))
    return re.findall(r"^#{1,3} (.+)$", text, flags=re.M)


def numbered_section(path: Path, heading: str) -> str:
    """The number of the section that a heading belongs to."""
    before = all_headings(path)[: all_headings(path).index(heading) + 1]
    numbers = [found[0] for title in before if (found := re.match(r"\d+b?\.\d+", title))]
    return numbers[-1] if numbers else ""


@pytest.mark.parametrize("name", PAGES)
def test_links_to_sections_lead_to_the_section_they_name(name):
    assert [wrong for link in links_to_sections(PAGES[name]) if (wrong := wrong_section(*link))] == []


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("Section 1.2", "12-encoder-bottleneck-decoder", ""),
        ("Section 1.9", "the-missing-scale-factor", ""),
        ("Exercise 1.3", "exercise-13-check-the-least-cross-entropy", ""),
        ("Section 1.3", "12-encoder-bottleneck-decoder", "leads to"),
        ("Section 1.8", "the-missing-scale-factor", "leads to"),
        ("Exercise 1.4", "exercise-13-check-the-least-cross-entropy", "leads to"),
        ("Section 1.2", "12-nowhere", "0 such headings"),
    ],
)
def test_a_link_to_another_section_is_noticed(text, target, said):
    wrong = wrong_section(text, "01_autoencoder.ipynb", target)
    assert said in wrong and bool(said) == bool(wrong)


# Landing page


class TestLandingPage:
    PAGE = PAGES["index.md"]
    TOC = yaml.safe_load((notebooks.ROOT / "_toc.yml").read_text("utf-8"))

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_a_chapter_is_linked_with_its_title_and_its_question(self, path):
        title, question = re.match(r"# (.+)\n+\*\*(.+)\*\*\n", NOTEBOOKS[path].cells[0].source).groups()
        file = path.relative_to(CHAPTERS).as_posix()
        assert f"- [{title}]({file}): {question}\n" in self.PAGE

    def test_what_is_in_preparation_is_not_there_yet(self):
        """A chapter in the map is a link, or says, itself or by its part, that it is in preparation."""
        there, part = {notebooks.number(notebook) for notebook in NOTEBOOKS.values()}, ""
        for line in re.search(r"## The way through\n(.*?)\*\*Appendix\*\*", self.PAGE, flags=re.S)[1].splitlines():
            part = line if line.startswith("**") else part
            if number := re.match(r"- \[?(\d+b?) · ", line):
                waits = "in preparation" in line or "in preparation" in part
                assert waits != (number[1] in there), line
                assert line.startswith("- [") == (number[1] in there), line

    def test_every_page_of_the_appendix_is_in_the_contents_and_linked(self):
        listed = {chapter["file"] for part in self.TOC["parts"] for chapter in part["chapters"]}
        for path in (CHAPTERS / "appendix").glob("*.md"):
            assert path.relative_to(notebooks.ROOT).with_suffix("").as_posix() in listed
            assert f"](appendix/{path.name})" in self.PAGE

    def test_its_code_runs_on_a_file_of_counts(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        counts = np.random.default_rng(0).poisson(2, (60, 30)).astype(np.float32)
        ad.AnnData(counts).write_h5ad("mine.h5ad")
        code, namespace = notebooks.python_of(self.PAGE), {}
        exec(code.replace("n_epochs=20", "n_epochs=1"), namespace)
        assert namespace["cells"].obsm["X_ae"].shape == (60, 10)


def test_a_heading_in_a_cell_is_known_by_the_cells_below_it():
    cells = headings(notebooks.REFERENCE)
    assert cells["definition"] == cells["diagram"] == cells["smallest"] != cells["counts"]
