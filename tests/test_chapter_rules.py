"""Each rule for chapters accepts a good notebook and complains about a bad one, naming the cell."""

import inspect
from pathlib import Path

import nbformat
import notebooks
import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

SETUP = 'import os\n\nREPOSITORY = ""\nSEED = 0'
KNOWN = ("9.1", "9.2", "9.3", "8.1")
LISTED = {"https://doi.org/10.1000/good"}
ALT = "Two lines over five epochs: both fall steeply at first, and are flat at about 530 from the second epoch on."
FRONT = """# 9 · Tests

**Does each rule work?**

After this chapter you can

- say one thing;
- say another;
- say a third.

**Time:** about 4 minutes on a CPU, 2 minutes on a GPU.
**Know first:** Python.

| symbol | meaning | in code |
|---|---|---|
| $x$ | one input | `x` |"""
TEXT = """## 9.1 An equation

$$
a = b . \\tag{9.1}
$$

By (9.1), shown in Figure 9.1 and again in section 9.2 and exercise 9.3, see [a source](https://doi.org/10.1000/Good).

$$
b = c \\tag{9.2}
$$

> **Predict.** What is $c$?

> **Careful.** It is not `{ref}` that is refused, nor 3 > 2."""
END = """## 9.2 Takeaways

- One.

**Make it yours.** Change it.

**Sources.** See above."""
SOLUTION = """<details>
<summary>Solution {number}</summary>

Because.

```python
answer = 1
```

</details>"""


def image(**more):
    return new_output(
        "display_data", data={"image/png": "aGk=", "text/plain": "<Figure size 600x370 with 1 Axes>", **more}
    )


def text(*parts):
    return [new_output("stream", name="stdout", text=part) for part in parts]


def good():
    """A chapter that keeps every rule."""
    cells = [
        new_markdown_cell(FRONT, id="title"),
        new_code_cell(SETUP, id="setup", metadata={"tags": ["setup"]}),
        new_markdown_cell(TEXT, id="equation"),
        new_code_cell("def f():\n    return 1", id="piece", metadata={"tags": ["central"]}),
        new_code_cell(
            "draw()\nplt.show()", id="drawing", metadata={"mystnb": {"image": {"alt": ALT}}}, outputs=[image()]
        ),
        new_markdown_cell("**Figure 9.1.** A figure.", id="caption"),
        new_code_cell(
            "draw()\nplt.show()", id="drawing-2", metadata={"mystnb": {"image": {"alt": ALT}}}, outputs=[image()]
        ),
        new_markdown_cell("Some text.\n\n**Figure 9.2.** Another.", id="caption-2"),
    ]
    for n in (1, 2, 3):
        answer = new_output("execute_result", data={"text/plain": "No answer yet. Give one."}, execution_count=1)
        source = f'answer = None\nchecks.check("9.{n}", answer)'
        cells.append(new_code_cell(source, id=f"exercise-9-{n}", metadata={"tags": ["exercise"]}, outputs=[answer]))
        cells.append(new_markdown_cell(SOLUTION.format(number=f"9.{n}"), id=f"solution-9-{n}"))
    cells.append(new_markdown_cell(END, id="end"))
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for count, cell in enumerate(notebooks.code_cells(notebook), start=1):
        cell.execution_count = count
    return notebook


ARGUMENTS = {
    "setup": (SETUP,),
    "exercises": (KNOWN,),
    "references": ({"9.1", "9.2", "4.1"},),
    "dois": (LISTED,),
}
RULES = {
    key.removeprefix("problems_"): rule
    for key, rule in vars(notebooks).items()
    if key.startswith("problems_") and next(iter(inspect.signature(rule).parameters)) == "notebook"
}


def cell(notebook, id: str):
    return next(cell for cell in notebook.cells if cell.id == id)


def edit(id: str, old: str, new: str):
    """Replace a piece of a cell's source."""

    def spoil(notebook):
        assert old in cell(notebook, id).source
        cell(notebook, id).source = cell(notebook, id).source.replace(old, new)

    return spoil


def put(id: str, /, **fields):
    """Replace fields of a cell, such as its outputs."""
    return lambda notebook: cell(notebook, id).update(fields)


def drop(*ids: str):
    """Take cells out."""

    def spoil(notebook):
        notebook.cells = [cell for cell in notebook.cells if cell.id not in ids]

    return spoil


def add(after: str, *cells):
    """Put cells in after another."""

    def spoil(notebook):
        place = notebook.cells.index(cell(notebook, after)) + 1
        notebook.cells[place:place] = cells

    return spoil


def code(id: str, n_lines: int = 1, **fields):
    return new_code_cell("\n\n".join(["a = 1"] * n_lines), id=id, **fields)


def answered(*values: str):
    return put("exercise-9-1", outputs=[new_output("execute_result", data={"text/plain": value}) for value in values])


def alt(value: str):
    return put("drawing", metadata={"mystnb": {"image": {"alt": value}}})


SLIDER = {"text/html": "<input type='range'><img src='data:'>"}
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "IntSlider()"}

# rule, words of its complaint, how the good notebook is spoilt
CASES = [
    ("format", "the format is 4.4", lambda notebook: notebook.update(nbformat_minor=4)),
    ("format", "the format is 3.0", lambda notebook: notebook.update(nbformat=3, nbformat_minor=0)),
    ("format", "'id' is a required property", lambda notebook: notebook.cells[1].pop("id")),
    ("format", "source", put("piece", source=3)),
    ("ids", "cell 'piece': the id is used twice", put("caption", id="piece")),
    *(
        ("ids", f"cell '{bad}': an id is lower-case words", put("piece", id=bad))
        for bad in ("3f9a01bc", "gJr9dXGpJ05", "Piece", "the_piece", "9-piece", "piece-", "1b9d6bcd-bbfd-4b2d-9b5d", "")
    ),
    ("metadata", "metadata hold 'widgets'", lambda notebook: notebook.metadata.update(widgets={})),
    ("metadata", "kernel is not python3", lambda notebook: notebook.metadata.pop("kernelspec")),
    ("metadata", "cell 'piece': its metadata hold execution times", put("piece", metadata={"execution": {}})),
    (
        "metadata",
        "cell 'piece': its output is a widget",
        put("piece", outputs=[new_output("display_data", data=WIDGET)]),
    ),
    ("size", "2,000,000 is the limit", edit("end", "One.", "One." * 500_000)),
    ("private", "cell 'end': '/srv/someone", edit("end", "One.", "In /srv/someone/book is")),
    ("private", "cell 'piece': '\"/srv/someone", edit("piece", "1", 'open("/srv/someone/data.csv")')),
    ("private", "cell 'piece': '/srv/someone", put("piece", outputs=text("read /srv/someone/data.csv"))),
    (
        "private",
        "cell 'piece': '/srv/someone",
        put("piece", outputs=[new_output("display_data", data={"text/html": "<b>\n/srv/someone/x</b>"})]),
    ),
    ("private", "cell 'piece': '~/d' looks like a path", edit("piece", "1", "1  # ~/data")),
    ("private", "looks like an e-mail address", edit("end", "One.", "Write to someone.else@host.example now.")),
    ("private", "cell 'piece': is not plain Python", edit("piece", "def", "%pip install numpy\ndef")),
    ("private", "cell 'piece': is not plain Python", edit("piece", "def", "!ls\ndef")),
    ("private", "cell 'piece': is not plain Python", edit("piece", "1", "get_ipython().run_line_magic('ls', '')")),
    ("execution", "cell 'piece': execution count None, expected 2", put("piece", execution_count=None)),
    ("execution", "cell 'piece': execution count 7, expected 2", put("piece", execution_count=7)),
    ("execution", "cell 'drawing': execution count 3, expected 2", drop("piece")),
    (
        "errors",
        "cell 'piece': ends in ValueError: bad",
        put("piece", outputs=[new_output("error", ename="ValueError", evalue="bad", traceback=[])]),
    ),
    (
        "errors",
        "cell 'piece': writes to stderr: 'a warning'",
        put("piece", outputs=[new_output("stream", name="stderr", text="a warning")]),
    ),
    ("code_length", "cell 'long': 41 lines; 40 is the limit", add("title", code("long", 41))),
    ("code_length", "cell 'setup': 41 lines", put("setup", source="a = 1\n" * 41)),
    ("code_length", "the median code cell has 9 lines", add("title", *(code(f"long-{n}", 9) for n in range(7)))),
    ("code_length", "over 25 lines: cell 'long'", add("title", code("long", 26))),
    (
        "code_length",
        "the chapter has no code",
        lambda notebook: notebook.update(cells=[cell(notebook, "title"), cell(notebook, "setup")]),
    ),
    (
        "code_runs",
        "cell 'more-3': the fourth code cell",
        add("piece", *(code(f"more-{n}") for n in (1, 2, 3)), code("x")),
    ),
    ("setup", "tagged setup: none", put("setup", metadata={})),
    ("setup", "tagged setup: cell 'setup'; it is the first", add("title", code("earlier"))),
    ("setup", "cell 'setup', cell 'piece'; it is the first", put("piece", metadata={"tags": ["setup"]})),
    ("setup", "cell 'setup': differs", edit("setup", "SEED = 0", "SEED = 1")),
    ("setup", "cell 'setup': one line says REPOSITORY", edit("setup", '""', '"git@host"')),
    ("setup", "cell 'setup': one line says REPOSITORY", edit("setup", '""', 'os.environ["ADDRESS"]')),
    ("central", "no code cell is tagged central", put("piece", metadata={})),
    ("exercises", "2 cells are tagged exercise", drop("exercise-9-3")),
    ("exercises", "checks.EXERCISES has 9.3, and no cell asks for it", drop("exercise-9-3")),
    (
        "exercises",
        "6 cells are tagged exercise",
        add("end", *(code(f"exercise-{n}", metadata={"tags": ["exercise"]}) for n in (1, 2, 3))),
    ),
    ("exercises", "cell 'exercise-9-2': ends in a check of '8.1'", edit("exercise-9-2", "9.2", "8.1")),
    ("exercises", "cell 'exercise-9-2': ends in a check of ''", edit("exercise-9-2", "checks.check(", "print(")),
    ("exercises", "cell 'exercise-9-2': ends in a check of ''", edit("exercise-9-2", '"9.2"', "9.2")),
    ("exercises", "cell 'exercise-9-2': ends in a check of ''", edit("exercise-9-2", '"9.2", answer', "")),
    ("exercises", "cell 'exercise-9-2': ends in a check of ''", edit("exercise-9-2", "answer)", "answer)\nprint()")),
    ("exercises", "cell 'exercise-9-2': ends in a check of ''", put("exercise-9-2", source="")),
    (
        "exercises",
        "cell 'exercise-9-4': checks.EXERCISES has no 9.4",
        add("end", new_code_cell('checks.check("9.4")', id="exercise-9-4", metadata={"tags": ["exercise"]})),
    ),
    ("unanswered", "cell 'exercise-9-1': its one output", answered("Right. It is.")),
    ("unanswered", "cell 'exercise-9-1': its one output", answered()),
    ("unanswered", "cell 'exercise-9-1': its one output", answered("No answer yet.", "No answer yet.")),
    ("solutions", "cell 'exercise-9-2': the next cell is no", drop("solution-9-2")),
    ("solutions", "cell 'exercise-9-2': the next cell is no", add("exercise-9-2", new_markdown_cell("Hm.", id="hm"))),
    ("solutions", "cell 'exercise-9-3': the next cell is no", drop("solution-9-3", "end")),
    ("solutions", "cell 'exercise-9-2': the next cell is no", edit("solution-9-2", "</summary>\n", "</summary>")),
    ("solutions", "cell 'exercise-9-2': the next cell is no", edit("solution-9-2", "\n\n</details>", "\n</details>")),
    ("solutions", "cell 'exercise-9-2': the next cell is no", edit("solution-9-2", "Solution", "Answer")),
    ("solutions", "'Solution 9.1', not 'Solution 9.2'", edit("solution-9-2", "9.2", "9.1")),
    ("solutions", "cell 'exercise-9-2': its solution has no ```python", edit("solution-9-2", "```python", "```")),
    ("images", "cell 'drawing': 2 images", put("drawing", outputs=[image(), image()])),
    ("images", "cell 'drawing': 2 images", put("drawing", outputs=[image(**{"image/svg+xml": "<svg/>"})])),
    ("images", "cell 'drawing': a cell with a figure ends", edit("drawing", "\nplt.show()", ";")),
    ("images", "cell 'piece': a cell with a figure ends", edit("piece", "1", "plt.show()\n\nf()")),
    ("alt_text", "cell 'drawing': alt text of 0 characters", put("drawing", metadata={})),
    ("alt_text", "cell 'drawing': alt text of 20 characters", alt("The loss falls here.")),
    ("alt_text", "cell 'drawing': the alt text says", alt("Figure that shows: " + ALT)),
    ("alt_text", "cell 'drawing': the alt text says", alt("Image of lines. " + ALT)),
    ("alt_text", "cell 'drawing': the alt text says", alt("A plot of two lines. " + ALT)),
    ("alt_text", "cell 'drawing': no sentence", alt(ALT.removesuffix("."))),
    (
        "alt_text",
        "cell 'drawing': no sentence",
        alt("Two lines over five epochs, one for training and one for held-out cells."),
    ),
    ("captions", "numbered 9.1, 9.3; expected 9.1, 9.2", edit("caption-2", "9.2", "9.3")),
    (
        "captions",
        "numbered 9.2, 9.1; expected 9.1, 9.2",
        lambda notebook: notebook.cells.insert(4, notebook.cells.pop(7)),
    ),
    ("captions", "there are 2 figures and 1 captions", drop("caption-2")),
    ("captions", "cell 'drawing': no **Figure 9.n.**", drop("caption")),
    (
        "captions",
        "cell 'drawing': no **Figure 9.n.**",
        lambda notebook: notebook.cells.insert(7, notebook.cells.pop(5)),
    ),
    ("captions", "there are 3 figures", put("piece", outputs=[new_output("display_data", data=SLIDER)])),
    ("front", "the first cell is not text", drop("title")),
    ("front", "cell 'title': lacks a title", edit("title", "# 9 · ", "# ")),
    ("front", "cell 'title': lacks the question", edit("title", "work?", "work.")),
    ("front", "cell 'title': lacks a line '**Time:**", edit("title", "minutes on a CPU", "hours on a CPU")),
    ("front", "cell 'title': lacks a line '**Time:**", edit("title", "GPU", "fast machine")),
    ("front", "cell 'title': lacks a line '**Know first:**", edit("title", "**Know first:** Python.", "")),
    ("front", "cell 'title': lacks a table", edit("title", "| in code", "| name")),
    ("front", "cell 'title': 2 outcomes", edit("title", "- say another;\n", "")),
    ("end", "lacks '## 9.n Takeaways'", edit("end", "Takeaways", "Summary")),
    ("end", "lacks 'Make it yours'", edit("end", "Make it yours", "More")),
    ("end", "lacks 'Sources'", edit("end", "Sources", "References")),
    ("end", "the order is Takeaways", edit("title", "**Know", "**Sources.** See below.\n**Know")),
    ("headings", "2 titles of the first level", edit("end", "- One.", "# One")),
    ("headings", "numbered 9.1, 9.3; expected 9.1, 9.2", edit("end", "9.2", "9.3")),
    ("markdown", "cell 'end': '```{' is a MyST directive", edit("end", "- One.", "```{note}\nOne.\n```")),
    ("markdown", "cell 'end': ':::' is a MyST directive", edit("end", "- One.", ":::\nOne.\n:::")),
    ("markdown", "cell 'end': '::::{' is a MyST directive", edit("end", "- One.", "::::{note}\nOne.\n::::")),
    ("markdown", "cell 'end': '{ref}`one`' is a MyST role", edit("end", "One.", "{ref}`one`")),
    ("markdown", "cell 'end': '{cite:t}`one`' is a MyST role", edit("end", "One.", "{cite:t}`one`")),
    ("markdown", "cell 'end': '(one)=' is a MyST target", edit("end", "- One.", "(one)=\n- One.")),
    ("markdown", "cell 'end': '<img' is a raw <img>", edit("end", "One.", '<img src="a.png">')),
    ("markdown", "cell 'end': '\\\\eqref' is a LaTeX reference", edit("end", "One.", "\\eqref{one}")),
    ("markdown", "cell 'end': '\\\\ref' is a LaTeX reference", edit("end", "One.", "\\ref{one}")),
    ("call_outs", "cell 'equation': '> **Hint.** What", edit("equation", "Predict", "Hint")),
    ("call_outs", "cell 'equation': '> Predict. What", edit("equation", "**Predict.**", "Predict.")),
    ("call_outs", "'**Predict.** What is $c$?' is a call-out outside", edit("equation", "> **Predict", "**Predict")),
    ("equations", "numbered 9.1, 9.3; expected 9.1, 9.2", edit("equation", "tag{9.2}", "tag{9.3}")),
    ("equations", "numbered 9.1, 9.1; expected 9.1, 9.2", edit("equation", "tag{9.2}", "tag{9.1}")),
    ("equations", "cell 'end': a \\tag outside", edit("end", "One.", "\\tag{9.3}")),
    ("references", "cell 'equation': there is no equation (9.3)", edit("equation", "By (9.1)", "By (9.3)")),
    ("references", "cell 'equation': there is no equation (4.2)", edit("equation", "By (9.1)", "By equation (4.2)")),
    ("references", "cell 'equation': there is no section 9.7", edit("equation", "section 9.2", "section 9.7")),
    ("references", "cell 'equation': there is no exercise 9.7", edit("equation", "exercise 9.3", "exercise 9.7")),
    ("references", "cell 'equation': there is no figure 9.7", edit("equation", "Figure 9.1", "Figure 9.7")),
    ("dois", "cell 'equation': https://doi.org/10.1000/other", edit("equation", "1000/Good", "1000/Other")),
    ("dois", "cell 'equation': https://doi.org/10.1000/a(1)2 is", edit("equation", "1000/Good", "1000/a(1)2")),
]


def problems(rule: str, notebook) -> list[str]:
    return RULES[rule](notebook, *ARGUMENTS.get(rule, ()))


@pytest.mark.parametrize("rule", RULES)
def test_a_good_notebook_keeps_the_rule(rule):
    assert problems(rule, good()) == []


@pytest.mark.parametrize(("rule", "words", "spoil"), CASES)
def test_the_rule_complains_about_a_bad_one(rule, words, spoil):
    notebook = good()
    spoil(notebook)
    assert words in "\n".join(problems(rule, notebook))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_case_and_is_held_against_the_chapters(rule):
    assert rule in {rule for rule, *_ in CASES}
    assert f"notebooks.problems_{rule}(" in Path(__file__).with_name("test_chapters.py").read_text("utf-8")


class TestNotExecuted:
    """A chapter that cannot be run here shows nothing, and is accepted as such."""

    def test_without_counts_and_outputs_it_is_accepted(self):
        notebook = good()
        for cell in notebooks.code_cells(notebook):
            cell.update(execution_count=None, outputs=[])
        assert notebooks.problems_execution(notebook, runs_here=False) == []

    def test_with_a_count_or_an_output_it_is_not(self):
        found = notebooks.problems_execution(good(), runs_here=False)
        assert len(found) == len(notebooks.code_cells(good())) and "cell 'drawing'" in found[2]


class TestBibliography:
    @pytest.fixture
    def listed(self, tmp_path):
        (tmp_path / "some.bib").write_text(
            "@article{one, title = {A}, doi = {10.1000/AbC}}\n@book{two, title = {B}, url = {https://host.example/b/}}\n"
            "@misc{three, title = {C}}\n",
            encoding="utf-8",
        )
        return notebooks.bibliography(tmp_path / "some.bib")

    def test_addresses_come_in_one_spelling(self, listed):
        assert listed == {"one": {"https://doi.org/10.1000/abc"}, "two": {"https://host.example/b"}, "three": set()}

    def test_an_entry_that_nothing_cites_is_named(self, listed):
        del listed["three"]
        found = notebooks.problems_uncited(listed, ["[A](https://doi.org/10.1000/abc)."])
        assert found == ["two: no chapter and no page cites it."]

    def test_a_link_or_a_role_cites_an_entry(self, listed):
        texts = ["[A](https://doi.org/10.1000/ABC).", "See {cite:t}`three, two`."]
        assert notebooks.problems_uncited(listed, texts) == ["three: has neither doi nor url."]


class TestReading:
    def test_links_keep_their_parentheses(self):
        [link] = notebooks.links("([A](https://doi.org/10.1016/0893-6080(89)90014-2)).")
        assert link == "https://doi.org/10.1016/0893-6080(89)90014-2"

    def test_nothing_is_repaired_when_a_notebook_is_read(self, tmp_path):
        path = tmp_path / "some.ipynb"
        text = nbformat.writes(good()).replace('"id": "piece",', "")
        path.write_text(text, encoding="utf-8")
        assert any("'id' is a required property" in line for line in notebooks.problems_format(notebooks.read(path)))

    def test_code_and_formulas_are_no_prose(self):
        text = "a `(9.1)` b $f(9.1)$ c\n\n```python\n(9.1)\n```\n\n$$\nx (9.1)\n$$\nd"
        assert "9.1" not in notebooks.prose(text) and {"a", "b", "c", "d"} <= set(notebooks.prose(text).split())

    def test_equations_are_found_with_their_numbers(self):
        assert notebooks.equations(good()) == {"9.1": "a = b .", "9.2": "b = c"}

    def test_the_python_of_a_solution_is_all_of_its_blocks(self):
        assert notebooks.python_of(SOLUTION + "\n\n```python\nb = 2\n```\n") == "answer = 1\n\nb = 2\n"
