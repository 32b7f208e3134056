"""Every chapter keeps the book's rules, its exercises can be solved, its central pieces are those of the library."""

import ast
import functools
import importlib.metadata
import importlib.util
import re
import subprocess
from pathlib import Path

import matplotlib
import notebooks
import pytest
from matplotlib import pyplot as plt

import course_lib
from course_lib import checks

CHAPTERS = {path.name: notebooks.read(path) for path in notebooks.CHAPTERS}
EXECUTED = [name for name in CHAPTERS if name not in notebooks.NOT_EXECUTED]
SETUP = "\n".join(cell.source for cell in notebooks.tagged(notebooks.read(notebooks.REFERENCE), "setup"))
EQUATIONS = {number for chapter in CHAPTERS.values() for number in notebooks.equations(chapter)}
PAGES = [path.read_text("utf-8") for path in sorted((notebooks.ROOT / "chapters").rglob("*.md"))]
LISTED = notebooks.bibliography(notebooks.ROOT / "chapters" / "references.bib")
EXERCISES = [
    pytest.param(name, cell, id=notebooks.exercise_number(cell) or f"{name}-{cell.id}")
    for name, chapter in CHAPTERS.items()
    for cell in notebooks.tagged(chapter, "exercise")
]


def assert_none(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


@pytest.fixture(params=CHAPTERS)
def chapter(request):
    return CHAPTERS[request.param]


@pytest.fixture(params=EXECUTED)
def executed(request):
    return CHAPTERS[request.param]


class TestFile:
    @pytest.mark.parametrize("name", CHAPTERS)
    def test_the_file_name_begins_with_the_number_in_the_title(self, name):
        number = notebooks.number(CHAPTERS[name])
        assert number and name.split("_")[0].removeprefix("0") == number

    def test_every_chapter_that_is_listed_as_not_executed_exists(self):
        assert set(CHAPTERS) >= notebooks.NOT_EXECUTED and EXECUTED

    def test_it_is_a_valid_notebook_of_format_4_5_or_newer(self, chapter):
        assert_none(notebooks.problems_format(chapter))

    def test_ids_are_unique_and_can_be_read(self, chapter):
        assert_none(notebooks.problems_ids(chapter))

    def test_metadata_hold_kernel_and_language_and_no_widget(self, chapter):
        assert_none(notebooks.problems_metadata(chapter))

    def test_it_is_no_larger_than_2_mb(self, chapter):
        assert_none(notebooks.problems_size(chapter))

    def test_it_names_no_machine_and_no_person_and_calls_no_shell(self, chapter):
        assert_none(notebooks.problems_private(chapter))


class TestCode:
    @pytest.mark.parametrize("name", CHAPTERS)
    def test_all_cells_were_run_once_and_in_order(self, name):
        assert_none(notebooks.problems_execution(CHAPTERS[name], name in EXECUTED))

    def test_no_cell_shows_an_error_or_writes_to_stderr(self, chapter):
        assert_none(notebooks.problems_errors(chapter))

    def test_cells_are_short(self, chapter):
        assert_none(notebooks.problems_code_length(chapter))

    def test_at_most_three_cells_follow_each_other_without_prose(self, chapter):
        assert_none(notebooks.problems_code_runs(chapter))

    def test_the_set_up_cell_is_the_first_and_the_same_everywhere(self, chapter):
        assert_none(notebooks.problems_setup(chapter, SETUP))

    def test_a_central_piece_is_tagged(self, chapter):
        assert_none(notebooks.problems_central(chapter))


class TestExercises:
    def test_there_are_three_to_five_and_each_calls_its_check(self, chapter):
        assert_none(notebooks.problems_exercises(chapter, checks.EXERCISES))

    def test_they_are_committed_without_an_answer(self, executed):
        assert_none(notebooks.problems_unanswered(executed))

    def test_each_is_followed_by_its_solution_folded_away(self, chapter):
        assert_none(notebooks.problems_solutions(chapter))


class TestFigures:
    def test_a_cell_shows_one_image_and_ends_with_plt_show(self, chapter):
        assert_none(notebooks.problems_images(chapter))

    def test_alt_text_states_a_finding(self, chapter):
        assert_none(notebooks.problems_alt_text(chapter))

    def test_each_figure_has_a_caption_and_captions_are_numbered(self, executed):
        assert_none(notebooks.problems_captions(executed))


class TestText:
    def test_it_opens_with_question_outcomes_time_requirements_and_symbols(self, chapter):
        assert_none(notebooks.problems_front(chapter))

    def test_it_closes_with_takeaways_make_it_yours_and_sources(self, chapter):
        assert_none(notebooks.problems_end(chapter))

    def test_there_is_one_title_and_sections_are_numbered(self, chapter):
        assert_none(notebooks.problems_headings(chapter))

    def test_markdown_reads_the_same_everywhere(self, chapter):
        assert_none(notebooks.problems_markdown(chapter))

    def test_call_outs_are_block_quotes_that_open_with_their_word(self, chapter):
        assert_none(notebooks.problems_call_outs(chapter))

    def test_equations_are_numbered_in_order(self, chapter):
        assert_none(notebooks.problems_equations(chapter))

    def test_what_the_text_refers_to_exists(self, chapter):
        assert_none(notebooks.problems_references(chapter, EQUATIONS))


class TestSources:
    def test_every_doi_is_in_the_bibliography(self, chapter):
        assert_none(notebooks.problems_dois(chapter, set().union(*LISTED.values())))

    def test_every_entry_of_the_bibliography_is_cited(self):
        texts = [cell.source for chapter in CHAPTERS.values() for cell in notebooks.markdown_cells(chapter)]
        assert_none(notebooks.problems_uncited(LISTED, PAGES + texts))


def run(source: str, namespace: dict, what: str) -> None:
    exec(compile(source, f"<{what}>", "exec"), namespace)


@pytest.fixture
def own_figures():
    """Give back matplotlib's settings and close what was drawn."""
    with matplotlib.rc_context():
        yield
    plt.close("all")


@functools.cache
def begun(name: str) -> dict:
    """What a reader's session holds after the set-up cell and the imports of a chapter."""
    namespace = {"__name__": "__main__"}
    imports = [cell for cell in notebooks.code_cells(CHAPTERS[name]) if cell.id == "imports"]
    assert len(imports) == 1, f"{name} has no code cell with the id 'imports'"
    for cell in (*notebooks.tagged(CHAPTERS[name], "setup"), *imports):
        run(cell.source, namespace, f"{name}: {cell.id}")
    return namespace


@pytest.mark.usefixtures("own_figures")
class TestSolutions:
    @pytest.mark.parametrize(("name", "cell"), EXERCISES)
    def test_without_an_answer_the_check_says_so_and_the_solution_is_right(self, name, cell):
        namespace, number = dict(begun(name)), notebooks.exercise_number(cell)
        handing_in = ast.unparse(notebooks.check_call(cell))
        run(cell.source, namespace, cell.id)
        unanswered = eval(handing_in, namespace)
        assert unanswered.right is None and repr(unanswered) == repr(checks.check(number))
        run(notebooks.python_of(notebooks.solution_of(CHAPTERS[name], cell)["body"]), namespace, f"solution {number}")
        verdict = eval(handing_in, namespace)  # as a reader does: the solution, then the check again
        assert verdict, repr(verdict)


@pytest.mark.usefixtures("own_figures")
class TestSetUp:
    """What the set-up cell does where the library is missing; where it is there, every solution above has run it."""

    @pytest.fixture(autouse=True)
    def without_library(self, monkeypatch):
        real = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "course_lib" else real(name))
        monkeypatch.delenv("COURSE_LIB_SOURCE", raising=False)
        self.calls = []

        def install(command):
            [constraint] = [i for i, part in enumerate(command) if part in ("-c", "--constraint")]
            self.calls.append((command, Path(command[constraint + 1]).read_text("utf-8")))

        monkeypatch.setattr(subprocess, "check_call", install)

    @staticmethod
    def with_address(address: str) -> str:
        return re.sub(r'REPOSITORY = ".*"', f'REPOSITORY = "{address}"', SETUP)

    def test_without_a_source_it_says_in_a_sentence_what_to_do(self):
        with pytest.raises(ModuleNotFoundError, match="pip install"):
            run(self.with_address(""), {}, "setup")
        assert not self.calls

    def test_a_source_is_installed_and_no_package_that_is_there_changes(self, monkeypatch):
        monkeypatch.setenv("COURSE_LIB_SOURCE", "a/folder")
        run(self.with_address("https://host.example/book"), {}, "setup")
        [(command, present)] = self.calls
        assert command[1:4] == ["-m", "pip", "install"] and command[-1] == "a/folder"
        for package in ("torch", "numpy"):
            assert f"{package}=={importlib.metadata.version(package)}\n" in present

    def test_an_address_is_installed_at_the_tag_of_this_version(self):
        run(self.with_address("https://host.example/book"), {}, "setup")
        [(command, _)] = self.calls
        assert command[-1] == f"git+https://host.example/book@v{course_lib.__version__}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_central_pieces_are_compared_with_the_library(name):
    tests = (notebooks.ROOT / "tests" / f"test_central_{name.split('_')[0]}.py").read_text("utf-8")
    assert f'central_source("{name}")' in tests and "def test_" in tests
