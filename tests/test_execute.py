"""`tools.execute`: it runs what changed, its outputs repeat themselves, and a chapter that fails stays as it was."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import execute

ROOT = Path(__file__).parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def notebook(*sources: str):
    cells = [new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)]
    return new_notebook(cells=[new_markdown_cell("# 9 · Tiny", id="title"), *cells])


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one chapter, with a library, a lock file and a place for the state."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "course_lib" / "data").mkdir(parents=True)
    (tmp_path / "course_lib" / "one.py").write_text("A = 1\n")
    (tmp_path / "course_lib" / "data" / "some.npz").write_bytes(b"1")
    (tmp_path / "requirements.lock").write_text("one==1\n")
    nbformat.write(notebook("1 + 1"), tmp_path / "chapters" / "09_tiny.ipynb")
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "STATE", tmp_path / "_build" / "executed.json")
    return tmp_path


@pytest.fixture
def chapter(book):
    return book / "chapters" / "09_tiny.ipynb"


@pytest.fixture
def ran(monkeypatch):
    """Names of the chapters that would be run; no kernel is started."""
    names = []
    monkeypatch.setattr(execute, "run", lambda path: names.append(path.name))
    return names


class TestRunning:
    def test_outputs_are_written_and_repeat_themselves_to_the_byte(self, chapter, capsys):
        nbformat.write(
            notebook(
                "import os\nprint(os.environ['TQDM_DISABLE'])",
                "2 + 3",
                "import torch\nfrom IPython.display import HTML\nfrom course_lib import models, training\n"
                "model = models.LinearAE(4, 2)\n"
                "training.fit(model, torch.ones(9, 4), n_epochs=2, progress=True).records[0].keys()",
                "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
            ),
            chapter,
        )
        assert execute.main([]) == 0
        assert "chapters/09_tiny.ipynb: " in capsys.readouterr().out
        first = chapter.read_bytes()
        written = nbformat.v4.reads(first.decode())
        nbformat.validate(written)
        variable, five, trained, drawn = (cell.outputs for cell in written.cells[1:])
        assert [output.get("text") for output in variable] == ["1\n"]
        assert [output.data for output in five] == [{"text/plain": "5"}]
        assert len(trained) == 1 and "train_loss" in trained[0].data["text/plain"], "a progress bar stayed"
        assert "image/png" in drawn[0].data and drawn[0].metadata == {}
        assert [cell.execution_count for cell in written.cells[1:]] == [1, 2, 3, 4]
        assert written.metadata == execute.METADATA and all(cell.metadata == {} for cell in written.cells)
        assert execute.main([]) == 0
        assert capsys.readouterr().out == "chapters/09_tiny.ipynb: unchanged\n"
        assert execute.main(["--all"]) == 0
        assert chapter.read_bytes() == first and first.endswith(b"}\n")

    def test_a_failing_chapter_is_reported_and_left_as_it_was_and_the_others_run(self, book, chapter, capsys):
        nbformat.write(notebook("print('before')", "1 / 0"), chapter)
        nbformat.write(notebook("'fine'"), book / "chapters" / "10_next.ipynb")
        before = chapter.read_bytes()
        assert execute.main([]) == 1
        said = capsys.readouterr()
        assert "chapters/09_tiny.ipynb: FAILED" in said.err and "ZeroDivisionError" in said.err
        assert "chapters/10_next.ipynb: " in said.out and "09_tiny" not in said.out
        assert chapter.read_bytes() == before
        assert list(json.loads(execute.STATE.read_text())) == ["chapters/10_next.ipynb"]

    @pytest.mark.parametrize(
        ("source", "said"),
        [("import os\nos._exit(1)", "DeadKernelError"), ("import time\ntime.sleep(60)", "CellTimeoutError")],
        ids=["dead kernel", "timeout"],
    )
    def test_a_kernel_that_dies_or_hangs_counts_as_a_failure(self, chapter, capsys, monkeypatch, source, said):
        client = execute.NotebookClient
        monkeypatch.setattr(execute, "NotebookClient", lambda *a, **k: client(*a, **(k | {"timeout": 1})))
        nbformat.write(notebook(source), chapter)
        before = chapter.read_bytes()
        assert execute.main([]) == 1
        assert "FAILED" in (error := capsys.readouterr().err) and said in error
        assert chapter.read_bytes() == before

    def test_kernels_inherit_one_thread_no_progress_bars_and_no_backend_for_figures(self):
        """Whatever stands in the environment that the command is started from."""
        show = "from tools import execute; print([os.environ.get(name) for name in names])"
        script = f"import os; names = ['OMP_NUM_THREADS', 'TQDM_DISABLE', 'MPLBACKEND']; {show}"
        environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        environment |= {"TQDM_DISABLE": "0", "MPLBACKEND": "agg"}
        printed = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, env=environment, text=True)
        assert printed == "['1', '1', None]\n"


class TestWhatCounts:
    @pytest.fixture(autouse=True)
    def run_once(self, book, ran):
        assert execute.main([]) == 0
        assert ran == ["09_tiny.ipynb"]
        ran.clear()

    def test_nothing_runs_where_nothing_changed(self, ran):
        assert execute.main([]) == 0 and ran == []

    def test_a_changed_cell_runs_its_chapter(self, ran, chapter):
        nbformat.write(notebook("1 + 2"), chapter)
        assert execute.main([]) == 0 and ran == ["09_tiny.ipynb"]

    def test_a_changed_output_runs_its_chapter(self, ran, chapter):
        changed = notebook("1 + 1")
        changed.cells[1].outputs = [new_output("stream", text="3")]
        nbformat.write(changed, chapter)
        assert execute.main([]) == 0 and ran == ["09_tiny.ipynb"]

    @pytest.mark.parametrize("name", ["course_lib/one.py", "course_lib/data/some.npz", "requirements.lock"])
    def test_a_changed_library_or_lock_file_runs_every_chapter(self, ran, book, name):
        (book / name).write_text("2")
        assert execute.main([]) == 0 and ran == ["09_tiny.ipynb"]

    def test_a_new_library_file_runs_every_chapter_and_a_compiled_one_does_not(self, ran, book):
        (book / "course_lib" / "one.pyc").write_bytes(b"2")
        assert execute.main([]) == 0 and ran == []
        (book / "course_lib" / "two.py").write_text("B = 2\n")
        assert execute.main([]) == 0 and ran == ["09_tiny.ipynb"]

    def test_a_new_chapter_runs_alone_in_folders_too(self, ran, book):
        (book / "chapters" / "projects").mkdir()
        nbformat.write(notebook("1"), book / "chapters" / "projects" / "guide.ipynb")
        assert execute.main([]) == 0 and ran == ["guide.ipynb"]

    def test_a_chapter_that_is_named_runs_alone_and_only_if_it_changed(self, ran, book, chapter):
        nbformat.write(notebook("1"), book / "chapters" / "10_next.ipynb")
        assert execute.main([str(chapter)]) == 0 and ran == []
        assert execute.main(["--all", str(chapter)]) == 0 and ran == ["09_tiny.ipynb"]

    def test_a_chapter_that_fails_is_tried_again(self, ran, chapter, monkeypatch):
        def fail(path):
            ran.append(path.name)
            raise execute.CellExecutionError("a traceback", "ValueError", "bad")

        monkeypatch.setattr(execute, "run", fail)
        nbformat.write(notebook("1 + 2"), chapter)
        assert (execute.main([]), execute.main([])) == (1, 1)
        assert ran == ["09_tiny.ipynb"] * 2

    def test_what_a_chapter_was_is_remembered_as_it_is_after_the_run(self, ran, chapter, monkeypatch):
        monkeypatch.setattr(execute, "run", lambda path: nbformat.write(notebook("1 + 2", "written"), path))
        assert execute.main(["--all"]) == 0
        assert json.loads(execute.STATE.read_text())["chapters/09_tiny.ipynb"] == execute.fingerprint(chapter)


class TestClean:
    @pytest.fixture
    def cleaned(self):
        dirty = notebook("1", "2", "3")
        dirty.metadata = nbformat.from_dict(
            {
                "kernelspec": {"name": "conda-env-mine", "display_name": "mine", "language": "python"},
                "language_info": {"name": "python", "version": "3.11.4"},
                "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
            }
        )
        for cell in dirty.cells:
            cell.metadata = nbformat.from_dict({"execution": {"iopub.execute_input": "2026"}, "tags": ["kept"]})
        view = {WIDGET: {"model_id": "1"}, "text/plain": "IntSlider()"}
        dirty.cells[1].outputs = [new_output("display_data", data=view | {"text/html": "<input type='range'>"})]
        dirty.cells[2].outputs = [new_output("display_data", data=view)]
        dirty.cells[3].outputs = [
            new_output("display_data", data={"image/png": "aGk="}, metadata={"needs_background": "light", "a": 1}),
            new_output("stream", text="kept"),
        ]
        execute.clean(dirty)
        nbformat.validate(dirty)
        return dirty

    def test_the_notebooks_metadata_name_the_kernel_and_the_language_alone(self, cleaned):
        assert cleaned.metadata == execute.METADATA and set(cleaned.metadata) == {"kernelspec", "language_info"}

    def test_execution_times_go_and_tags_stay(self, cleaned):
        assert [cell.metadata for cell in cleaned.cells] == [{"tags": ["kept"]}] * 4

    def test_a_widget_goes_where_html_stands_beside_it_and_only_there(self, cleaned):
        assert set(cleaned.cells[1].outputs[0].data) == {"text/html", "text/plain"}
        assert WIDGET in cleaned.cells[2].outputs[0].data

    def test_what_a_cell_prints_is_one_output_however_it_arrived(self):
        def printed(name, text):
            return nbformat.v4.new_output("stream", name=name, text=text)

        picture = nbformat.v4.new_output("display_data", {"text/plain": "picture"})
        pieces = [
            printed("stdout", "a\n"),
            printed("stdout", "b"),
            picture,
            printed("stdout", "c"),
            printed("stderr", "d"),
        ]
        joined = execute.joined(copy.deepcopy(pieces))
        assert joined == [printed("stdout", "a\nb"), picture, *pieces[3:]]
        dirty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=pieces)])
        execute.clean(dirty)
        assert dirty.cells[0].outputs == joined

    def test_other_outputs_stay(self, cleaned):
        picture, stream = cleaned.cells[3].outputs
        assert picture.data == {"image/png": "aGk="} and picture.metadata == {"a": 1} and stream.text == "kept"
