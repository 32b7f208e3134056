"""Chapters as data, and the rules that each of them keeps.

A rule is a function ``problems_…(notebook, …)`` that returns one sentence for each problem and names the cell, so a
notebook that keeps the rule gives an empty list. `test_chapters.py` holds every chapter to all of them, and
`test_chapter_rules.py` shows each of them able to complain.
"""

import ast
import functools
import itertools
import re
import statistics
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat.validator import iter_validate
from pybtex.database import parse_file

from tools.chapters import find

ROOT = Path(__file__).parent.parent
CHAPTERS = find(ROOT)
REFERENCE = ROOT / "chapters" / "01_autoencoder.ipynb"
NOT_EXECUTED: frozenset[str] = frozenset()
"""File names of chapters that cannot be run in full here. They show no output, and rules about outputs pass them by."""

NUMBER = r"\d+b?"
CALL_OUTS = ("Predict", "Notice", "Careful")
MAX_BYTES = 2_000_000
VERBS = frozenset(
    "is are was were has have had does do gets get gives give returns return shows show lies lie rises rise "
    "falls fall stays stay sinks sink grows grow shrinks shrink peaks peak drops drop joins join narrows "
    "narrow widens widen forms form places place spreads spread splits split sets set meets meet crosses "
    "cross follows follow bends bend goes go explains explain reaches reach keeps keep overlaps overlap "
    "covers cover comes come separates separate makes make moves move agrees agree differs differ holds hold "
    "loses lose wins win collapses collapse matches match turns turn runs run begins begin ends end climbs "
    "climb levels vanishes vanish remains remain becomes become touches touch varies vary points point leads "
    "lead contains contain marks mark surrounds surround".split()
)
"""Finite verbs that the rule for alt text knows; add yours where a good sentence is refused."""


@functools.cache
def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook as it is: nothing is repaired, so that ids which are missing stay missing."""
    return nbformat.v4.reads(path.read_text("utf-8"))


def number(notebook) -> str:
    """Return a chapter's number, as printed in its title; "" where the title has none."""
    found = re.match(rf"# ({NUMBER}) · \S", notebook.cells[0].source if notebook.cells else "")
    return found[1] if found else ""


def name(cell) -> str:
    """Return how a message names a cell."""
    return f"cell {cell.get('id', '?')!r}"


def code_cells(notebook) -> list:
    """Return all code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown_cells(notebook) -> list:
    """Return all markdown cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def tagged(notebook, tag: str) -> list:
    """Return the code cells with this tag, in order."""
    return [cell for cell in code_cells(notebook) if tag in cell.metadata.get("tags", [])]


def lines(cell) -> int:
    """Count the lines of a cell that are not blank."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def without_code(text: str) -> str:
    """Return markdown without its fenced blocks and code spans."""
    text = re.sub(r"^(`{3,}|~{3,}).*?^\1\s*$", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


def prose(text: str) -> str:
    """Return markdown without code and without formulas."""
    return re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$", "", without_code(text), flags=re.S)


def is_python(source: str) -> bool:
    """Whether a cell is Python that needs no IPython: no magic, no shell command."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return "get_ipython(" not in source


def images(cell) -> list[str]:
    """Return the MIME type of each image among a cell's outputs."""
    return [kind for output in cell.get("outputs", []) for kind in output.get("data", {}) if kind.startswith("image/")]


def is_figure(cell) -> bool:
    """Whether a cell shows a picture: an image, or HTML that holds one."""
    html = "".join(output.get("data", {}).get("text/html", "") for output in cell.get("outputs", []))
    return bool(images(cell)) or bool(re.search(r"<(img|svg|canvas)\b", html))


def captions(cell) -> list[str]:
    """Return the numbers of the captions in a markdown cell."""
    return re.findall(r"^\*\*Figure (\S+?)\.\*\*", cell.source, flags=re.M) if cell.cell_type == "markdown" else []


def equations(notebook) -> dict[str, str]:
    """Return each numbered equation: its number and its formula."""
    found = {}
    for cell in markdown_cells(notebook):
        for formula in re.findall(r"\$\$(.*?)\$\$", without_code(cell.source), flags=re.S):
            for tag in re.findall(r"\\tag\{([^}]*)\}", formula):
                found[tag] = formula.replace(rf"\tag{{{tag}}}", "").strip()
    return found


def out_of_order(what: str, c: str, numbers: list[str]) -> list[str]:
    """Return a sentence where `numbers` are not c.1, c.2, … without gaps."""
    expected = [f"{c}.{n}" for n in range(1, len(numbers) + 1)]
    if numbers == expected:
        return []
    return [f"{what} are numbered {', '.join(numbers)}; expected {', '.join(expected)}."]


def central_source(name: str) -> str:
    """Return the central cells of a chapter, by its file name, that only define: one that also trains is left out."""
    cells = [cell.source for cell in tagged(read(ROOT / "chapters" / name), "central")]
    only_defines = [all(isinstance(n, ast.ClassDef | ast.FunctionDef) for n in ast.parse(s).body) for s in cells]
    return "\n\n".join(itertools.compress(cells, only_defines))


def check_call(cell) -> ast.Call | None:
    """Return the ``checks.check(…)`` that a cell ends in, or None."""
    last = ast.parse(cell.source).body[-1:] if is_python(cell.source) else None
    call = last[0].value if last and isinstance(last[0], ast.Expr) else None
    return call if isinstance(call, ast.Call) and ast.unparse(call.func) == "checks.check" else None


def exercise_number(cell) -> str:
    """Return the number that an exercise cell hands to its check; "" where it hands in none."""
    call = check_call(cell)
    first = call.args[0] if call and call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def solution_of(notebook, cell):
    """Return the match (groups ``summary``, ``body``) for the solution folded into the cell after `cell`, or None."""
    following = notebook.cells[notebook.cells.index(cell) + 1 :][:1]
    if not following or following[0].cell_type != "markdown":
        return None
    form = r"<details>\n?<summary>(?P<summary>Solution [^<\n]+)</summary>\n\n(?P<body>.*?\S)\n\n</details>\s*"
    return re.fullmatch(form, following[0].source, flags=re.S)


def python_of(markdown: str) -> str:
    """Return the Python code in fenced blocks of `markdown`, one block after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", markdown, flags=re.S | re.M))


def links(text: str) -> list[str]:
    """Return the addresses of all links in `text`, in one spelling: a DOI in lower case, no slash at the end."""
    found = re.findall(r"https?://(?:[^\s()<>\[\]\"'`{}]|\([^\s()]*\))+", text)
    return [address(link) for link in found]


def address(link: str) -> str:
    """Return a link in one spelling."""
    link = unquote(link).rstrip("/.,;:")
    doi = re.fullmatch(r"https?://(?:dx\.)?doi\.org/(.+)", link)
    return f"https://doi.org/{doi[1].lower()}" if doi else link


def bibliography(path: Path) -> dict[str, set[str]]:
    """Return the addresses of each entry of a BibTeX file, by its key."""
    found = {}
    for key, entry in parse_file(path).entries.items():
        doi, url = entry.fields.get("doi"), entry.fields.get("url")
        found[key] = {address(link) for link in (doi and f"https://doi.org/{doi}", url) if link}
    return found


# Form of the file


def problems_format(notebook) -> list[str]:
    """The notebook is valid nbformat 4.5 or newer."""
    version = (notebook.get("nbformat", 0), notebook.get("nbformat_minor", 0))
    if version < (4, 5) or version[0] != 4:
        return [f"the format is {version[0]}.{version[1]}; it is 4.5 or a newer 4."]
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in iter_validate(notebook)]


def problems_ids(notebook) -> list[str]:
    """Ids are unique and made of words, so that they stay when a cell is edited."""
    found, seen = [], set()
    for cell in notebook.cells:
        parts = cell.get("id", "").split("-")
        readable = all(re.fullmatch(r"[a-z]+\d{0,2}|\d{1,3}|[a-z0-9]{1,5}", part) for part in parts)
        if not (readable and parts[0][:1].isalpha()):
            found.append(f"{name(cell)}: an id is lower-case words and digits joined by hyphens, not a random string.")
        if cell.get("id") in seen:
            found.append(f"{name(cell)}: the id is used twice.")
        seen.add(cell.get("id"))
    return found


def problems_metadata(notebook) -> list[str]:
    """The file keeps a kernel and a language and nothing else: no widget state, no times."""
    found = [
        f"the notebook's metadata hold {key!r}; kernelspec and language_info are enough."
        for key in sorted(set(notebook.metadata) - {"kernelspec", "language_info"})
    ]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the notebook's kernel is not python3.")
    for cell in code_cells(notebook):
        if "execution" in cell.metadata:
            found.append(f"{name(cell)}: its metadata hold execution times.")
        if any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in cell.outputs):
            found.append(f"{name(cell)}: its output is a widget, which is dead without a kernel.")
    return found


def problems_size(notebook) -> list[str]:
    """The file is no larger than 2 MB."""
    size = len(nbformat.v4.writes(notebook).encode())
    return [f"the notebook has {size:,} bytes; {MAX_BYTES:,} is the limit."] if size > MAX_BYTES else []


def problems_private(notebook) -> list[str]:
    """Sources and outputs name no machine and no person; packages are installed in the set-up alone."""
    patterns = {
        "a path of one machine": r"(?:^|[\s\"'(=,\[])(/[A-Za-z][\w.-]*/[\w.-]+|~/\w|file://|[A-Z]:\\Users\\)",
        "an e-mail address": r"\w[\w.+-]*@[\w-]+(\.[\w-]+)*\.[a-z]{2,}\b",
    }
    found = []
    for cell in notebook.cells:
        outputs = [output.get("text", "") for output in cell.get("outputs", [])]
        outputs += [
            text
            for output in cell.get("outputs", [])
            for kind, text in output.get("data", {}).items()
            if kind.startswith("text/")
        ]
        for what, pattern in patterns.items():
            for hit in re.finditer(pattern, "\n".join([cell.source, *outputs]), flags=re.M):
                found.append(f"{name(cell)}: {hit[0].strip()!r} looks like {what}.")
    for cell in code_cells(notebook):
        if cell not in tagged(notebook, "setup") and not is_python(cell.source):
            found.append(f"{name(cell)}: is not plain Python; only the set-up cell may call IPython or a shell.")
    return found


# Code cells


def problems_execution(notebook, runs_here: bool = True) -> list[str]:
    """Code cells were run once, in order; in a chapter that cannot be run here none was."""
    found = []
    for expected, cell in enumerate(code_cells(notebook), start=1):
        count = cell.get("execution_count")
        if runs_here and count != expected:
            found.append(f"{name(cell)}: execution count {count}, expected {expected}; run all cells in order.")
        if not runs_here and (count is not None or cell.outputs):
            found.append(f"{name(cell)}: has an output or a count in a chapter that is listed as not executed.")
    return found


def problems_errors(notebook) -> list[str]:
    """No cell shows an error, a warning or anything else on stderr."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"{name(cell)}: ends in {output.get('ename')}: {output.get('evalue')}.")
            if output.get("name") == "stderr":
                found.append(f"{name(cell)}: writes to stderr: {output.text[:80]!r}.")
    return found


def problems_code_length(notebook) -> list[str]:
    """Cells are short: median at most 8 lines, nine in ten at most 25 (without the set-up), none above 40."""
    longest = [cell for cell in code_cells(notebook) if lines(cell) > 40]
    found = [f"{name(cell)}: {lines(cell)} lines; 40 is the limit." for cell in longest]
    cells = [cell for cell in code_cells(notebook) if cell not in tagged(notebook, "setup")]
    if not cells:
        return [*found, "the chapter has no code."]
    if (median := statistics.median(map(lines, cells))) > 8:
        found.append(f"the median code cell has {median:g} lines; 8 is the limit.")
    long = [cell for cell in cells if lines(cell) > 25]
    if len(long) > 0.1 * len(cells):
        found.append(f"more than one cell in ten has over 25 lines: {', '.join(map(name, long))}.")
    return found


def problems_code_runs(notebook) -> list[str]:
    """At most three code cells follow each other without prose."""
    found, run = [], 0
    for cell in notebook.cells:
        run = run + 1 if cell.cell_type == "code" else 0
        if run == 4:
            found.append(f"{name(cell)}: the fourth code cell in a row; say something in between.")
    return found


def problems_setup(notebook, reference: str) -> list[str]:
    """The first code cell alone is the set-up, and has the text of `reference` but for the repository's address."""
    cells = tagged(notebook, "setup")
    if cells != code_cells(notebook)[:1] or not cells:
        return [f"tagged setup: {', '.join(map(name, cells)) or 'none'}; it is the first code cell alone."]
    pattern = r"^REPOSITORY = (.*)$"
    texts = [re.sub(pattern, "REPOSITORY = …", text, flags=re.M) for text in (cells[0].source, reference)]
    found = [] if texts[0] == texts[1] else [f"{name(cells[0])}: differs from the set-up cell of {REFERENCE.name}."]
    values = re.findall(pattern, cells[0].source, flags=re.M)
    if len(values) != 1 or not re.fullmatch(r'"(https://[^"\s]+)?"', values[0]):
        found.append(f'{name(cells[0])}: one line says REPOSITORY = "…", an https address or nothing.')
    return found


def problems_central(notebook) -> list[str]:
    """At least one code cell is tagged `central`."""
    return [] if tagged(notebook, "central") else ["no code cell is tagged central."]


# Exercises


def problems_exercises(notebook, known) -> list[str]:
    """Three to five exercises, numbered from c.1, each ending in its own check; every check of the chapter is used."""
    cells, c = tagged(notebook, "exercise"), number(notebook)
    found = [] if 3 <= len(cells) <= 5 else [f"{len(cells)} cells are tagged exercise; a chapter has 3 to 5."]
    for n, cell in enumerate(cells, start=1):
        given = exercise_number(cell)
        if given != f"{c}.{n}":
            found.append(f'{name(cell)}: ends in a check of {given!r}; expected checks.check("{c}.{n}", …).')
        elif given not in known:
            found.append(f"{name(cell)}: checks.EXERCISES has no {given}.")
    unused = {key for key in known if key.split(".")[0] == c} - set(map(exercise_number, cells))
    return found + [f"checks.EXERCISES has {key}, and no cell asks for it." for key in sorted(unused)]


def problems_unanswered(notebook) -> list[str]:
    """Each exercise is committed without an answer, and says so."""
    found = []
    for cell in tagged(notebook, "exercise"):
        shown = [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
        if len(shown) != 1 or not shown[0].startswith("No answer yet."):
            found.append(f'{name(cell)}: its one output begins "No answer yet."; it is {shown}.')
    return found


def problems_solutions(notebook) -> list[str]:
    """Each exercise is followed by its solution, folded away, with the blank lines that Markdown inside HTML needs."""
    found = []
    for cell in tagged(notebook, "exercise"):
        solution, expected = solution_of(notebook, cell), f"Solution {exercise_number(cell)}"
        if solution is None:
            found.append(
                f"{name(cell)}: the next cell is no <details><summary>{expected}</summary>…</details> with a blank "
                "line after the summary and one before </details>."
            )
            continue
        if solution["summary"] != expected:
            found.append(f"{name(cell)}: its solution is headed {solution['summary']!r}, not {expected!r}.")
        if not python_of(solution["body"]):
            found.append(f"{name(cell)}: its solution has no ```python block.")
    return found


# Figures


def problems_images(notebook) -> list[str]:
    """A cell shows one image at most, since alt text is per cell, and a cell that plots ends with plt.show()."""
    found = []
    for cell in code_cells(notebook):
        if len(images(cell)) > 1:
            found.append(f"{name(cell)}: {len(images(cell))} images; alt text is for one.")
        source = cell.source.rstrip()
        if (images(cell) or "plt.show(" in source) and source.splitlines()[-1] != "plt.show()":
            found.append(f"{name(cell)}: a cell with a figure ends with plt.show().")
    return found


def problems_alt_text(notebook) -> list[str]:
    """Each image has alt text that states a finding in a sentence."""
    found = []
    for cell in filter(images, code_cells(notebook)):
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if len(alt) < 60:
            found.append(f"{name(cell)}: alt text of {len(alt)} characters; what does the figure show? (at least 60)")
            continue
        if re.match(r"(an? |the )?(figure\b|(image|picture|plot|graph|chart) of\b)", alt, flags=re.I):
            found.append(f"{name(cell)}: the alt text says that it is a picture; a screen reader says so already.")
        sentences = [part for part in re.split(r"(?<=\.)\s+", alt) if part.endswith(".")]
        if not any(VERBS & set(re.findall(r"[a-z]+", sentence.lower())) for sentence in sentences):
            found.append(f"{name(cell)}: no sentence of the alt text states a finding (a verb, a full stop).")
    return found


def problems_captions(notebook) -> list[str]:
    """Each figure has a caption before the next figure; captions are numbered without gaps, one for each figure."""
    c, found = number(notebook), []
    numbers = [given for cell in notebook.cells for given in captions(cell)]
    found += out_of_order("captions", c, numbers)
    figures = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and is_figure(cell)]
    if len(figures) != len(numbers):
        found.append(f"there are {len(figures)} figures and {len(numbers)} captions.")
    for here, following in zip(figures, [*figures[1:], len(notebook.cells)], strict=True):
        if not any(map(captions, notebook.cells[here:following])):
            found.append(f"{name(notebook.cells[here])}: no **Figure {c}.n.** before the next figure.")
    return found


# Text


def problems_front(notebook) -> list[str]:
    """The first cell has the number, the outcomes, the time, what to know first, and the symbols."""
    if not notebook.cells or notebook.cells[0].cell_type != "markdown":
        return ["the first cell is not text."]
    cell = notebook.cells[0]
    parts = {
        "a title, as in '# 1 · Autoencoders'": rf"\A# {NUMBER} · \S",
        "the question, in bold": r"^\*\*[^*]+\?\*\*$",
        "a line '**Time:** … minutes … CPU … GPU …'": r"^\*\*Time:\*\* .*minutes?\b.*\bCPU\b.*\bGPU\b",
        "a line '**Know first:** …'": r"^\*\*Know first:\*\* \S",
        "a table '| symbol | meaning | in code |'": r"^\| symbol \| meaning \| in code \|\n\|[-:| ]+\|\n\|.*\|$",
    }
    found = [f"{name(cell)}: lacks {what}." for what, form in parts.items() if not re.search(form, cell.source, re.M)]
    outcomes = re.findall(r"^- .+", cell.source, flags=re.M)
    if not 3 <= len(outcomes) <= 5:
        found.append(f"{name(cell)}: {len(outcomes)} outcomes; a chapter has 3 to 5.")
    return found


def problems_end(notebook) -> list[str]:
    """The chapter closes with takeaways, something to make one's own, and its sources, in this order."""
    c, places, found = number(notebook), [], []
    text = "\n\n".join(cell.source for cell in markdown_cells(notebook))
    for what, form in {
        f"'## {c}.n Takeaways'": rf"^## {re.escape(c)}\.\d+ Takeaways$",
        "'Make it yours'": r"^(\*\*|#+ )Make it yours\b",
        "'Sources'": r"^(\*\*|#+ )Sources\b",
    }.items():
        place = re.search(form, text, flags=re.M)
        places.append(place.start() if place else -1)
        found += [] if place else [f"the chapter lacks {what}."]
    return found or ([] if places == sorted(places) else ["the order is Takeaways, Make it yours, Sources."])


def problems_markdown(notebook) -> list[str]:
    """Text reads the same everywhere: it has no directive, no role, no raw image and no LaTeX reference."""
    patterns = {
        "a MyST directive": r"^\s*>?\s*(`{3,}|~{3,}|:{3,})\s*\{|^\s*:{3,}",
        "a MyST role": r"(?<!`)\{[A-Za-z][\w:.+-]*\}`[^`\n]+`",
        "a MyST target": r"^\([\w-]+\)=\s*$",
        "a raw <img>": r"<img\b",
        "a LaTeX reference": r"\\(eq)?ref\b",
    }
    return [
        f"{name(cell)}: {hit[0].strip()!r} is {what}."
        for cell in markdown_cells(notebook)
        for what, pattern in patterns.items()
        for hit in re.finditer(pattern, cell.source, flags=re.M | re.I)
    ]


def problems_call_outs(notebook) -> list[str]:
    """Block quotes are call-outs and open with Predict, Notice or Careful in bold; call-outs are block quotes."""
    found, words = [], "|".join(CALL_OUTS)
    for cell in markdown_cells(notebook):
        text = without_code(cell.source)
        for quote in re.findall(r"(?:^>.*\n?)+", text, flags=re.M):
            if not re.match(rf"> ?\*\*({words})\.\*\*", quote):
                found.append(f"{name(cell)}: {quote.splitlines()[0]!r} opens with none of {', '.join(CALL_OUTS)}.")
        for line in re.findall(rf"^\s*\*\*(?:{words})\b.*", text, flags=re.M):
            found.append(f"{name(cell)}: {line.strip()[:40]!r} is a call-out outside a block quote.")
    return found


def problems_equations(notebook) -> list[str]:
    """Numbered equations stand in $$ … $$ and are numbered from c.1 in order."""
    c, numbers, found = number(notebook), [], []
    for cell in markdown_cells(notebook):
        text = without_code(cell.source)
        inside = re.findall(r"\\tag\{([^}]*)\}", "".join(re.findall(r"\$\$.*?\$\$", text, flags=re.S)))
        everywhere = re.findall(r"\\tag\{([^}]*)\}", text)
        if inside != everywhere:
            found.append(f"{name(cell)}: a \\tag outside $$ … $$.")
        numbers += everywhere
    return found + out_of_order("equations", c, numbers)


def problems_references(notebook, known) -> list[str]:
    """What the text refers to exists: "(c.n)" and "equation (c.n)", section c.n, exercise c.n, Figure c.n.

    `known` are the numbers of the equations of all chapters. Of other chapters only "equation (c.n)" is followed.
    """
    c = number(notebook)
    everything = "\n".join(cell.source for cell in markdown_cells(notebook))
    exists = {
        "section": set(re.findall(r"^## (\S+) ", everything, flags=re.M)),
        "exercise": set(map(exercise_number, tagged(notebook, "exercise"))),
        "figure": {given for cell in notebook.cells for given in captions(cell)},
    }
    found = []
    for cell in markdown_cells(notebook):
        text = prose(cell.source)
        cited = set(re.findall(rf"\(({re.escape(c)}\.\d+)\)", text)) if c else set()
        cited |= set(re.findall(rf"[Ee]quations? \(({NUMBER}\.\d+)\)", text))
        found += [f"{name(cell)}: there is no equation ({given})." for given in sorted(cited - set(known))]
        for kind, there in exists.items():
            for given in re.findall(rf"\b{kind} ({re.escape(c)}\.\d+)", text, flags=re.I):
                if given not in there:
                    found.append(f"{name(cell)}: there is no {kind} {given}.")
    return found


def problems_headings(notebook) -> list[str]:
    """One title; sections are numbered c.1, c.2, … without gaps."""
    text = "\n".join(without_code(cell.source) for cell in markdown_cells(notebook))
    titles = re.findall(r"^# .+", text, flags=re.M)
    found = [] if len(titles) == 1 else [f"{len(titles)} titles of the first level; a chapter has one."]
    numbers = re.findall(r"^## (\S+)", text, flags=re.M)
    return found + out_of_order("sections", number(notebook), numbers)


def problems_dois(notebook, listed) -> list[str]:
    """Every DOI that the text links to is among the addresses `listed` in the bibliography."""
    return [
        f"{name(cell)}: {link} is not in the bibliography."
        for cell in markdown_cells(notebook)
        for link in links(cell.source)
        if "://doi.org/" in link and link not in listed
    ]


def problems_uncited(listed: dict[str, set[str]], texts: list[str]) -> list[str]:
    """Every entry of the bibliography has an address, and some text links to it or cites its key."""
    linked = {link for text in texts for link in links(text)}
    roles = [keys for text in texts for keys in re.findall(r"\{cite[^}]*\}`([^`]+)`", text)]
    cited = {key.strip() for keys in roles for key in keys.split(",")}
    found = [f"{key}: has neither doi nor url." for key, addresses in listed.items() if not addresses]
    return found + [
        f"{key}: no chapter and no page cites it."
        for key, addresses in listed.items()
        if key not in cited and not addresses & linked
    ]
