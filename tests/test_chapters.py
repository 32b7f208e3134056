"""Every chapter keeps the book's rules, its exercises can be solved, its central pieces are those of the library."""

import ast
import functools
import importlib.metadata
import importlib.util
import inspect
import re
import subprocess
from pathlib import Path

import matplotlib
import notebooks
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.decomposition import PCA
from torch import nn

import course_lib
from course_lib import channels, checks, training
from course_lib.models import RBM, GeneExprAE, Minibatch, SparseAE

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


def test_the_central_pieces_of_every_chapter_are_compared_with_the_library():
    for name, chapter in CHAPTERS.items():
        assert f"TestCentralPiecesOfChapter{notebooks.number(chapter)}" in globals(), name


def central_source(chapter) -> str:
    """The central cells that only define: one that also trains is left out."""
    cells = [cell.source for cell in notebooks.tagged(chapter, "central")]
    defining = [s for s in cells if all(isinstance(n, ast.ClassDef | ast.FunctionDef) for n in ast.parse(s).body)]
    return "\n\n".join(defining)


X = np.random.default_rng(0).normal(size=(150, 30)).astype(np.float32)


class TestCentralPiecesOfChapter1:
    SOURCE = central_source(CHAPTERS["01_autoencoder.ipynb"])

    @staticmethod
    def pieces(source: str) -> tuple:
        namespace = {"torch": torch, "nn": nn}
        exec(source, namespace)
        return namespace["MyAE"], namespace["train_loop"]

    def pair(self, source: str, dtype=torch.float32):
        """The chapter's model and the library's, with the same weights."""
        theirs = GeneExprAE(n_genes=30, n_latent=3, seed=1).to(dtype)
        mine = self.pieces(source)[0](30, 3).to(dtype)
        mine.load_state_dict(theirs.state_dict())
        return mine, theirs

    def outputs(self, source: str) -> list:
        x = torch.tensor(X)
        return [torch.cat(model(x), dim=1).detach() for model in self.pair(source)]

    def losses(self, source: str, dtype) -> list:
        """Losses per epoch of the chapter's loop and of the library's, from the same weights; 150 is not 2 · 64."""
        mine, theirs = self.trained = self.pair(source, dtype)
        arguments = {"n_epochs": 3, "batch_size": 64, "lr": 2e-3, "seed": 5}
        ours = self.pieces(source)[1](mine, torch.tensor(X).to(dtype), **arguments)
        history = training.fit(theirs, X, validation=0, device="cpu", progress=False, **arguments)
        return [np.array(ours), history.table()["train_loss"].to_numpy()]

    def test_the_model_is_that_of_the_library(self):
        mine, theirs = self.outputs(self.SOURCE)
        assert mine.shape == (150, 33)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)

    def test_its_sizes_are_those_of_the_library_unless_given(self):
        mine, theirs = (make(30).state_dict() for make in (self.pieces(self.SOURCE)[0], GeneExprAE))
        assert {key: value.shape for key, value in mine.items()} == {key: v.shape for key, v in theirs.items()}

    @pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
    def test_the_loop_gives_the_losses_of_the_library(self, dtype, rtol):
        mine, theirs = self.losses(self.SOURCE, dtype)
        assert len(mine) == 3 and mine[-1] < mine[0]
        np.testing.assert_allclose(mine, theirs, rtol=rtol)

    def test_the_loop_ends_at_the_weights_of_the_library(self):
        self.losses(self.SOURCE, torch.float64)
        mine, theirs = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in self.trained)
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)

    def test_the_loop_and_the_library_share_what_is_not_given(self):
        mine, theirs = (inspect.signature(f).parameters for f in (self.pieces(self.SOURCE)[1], training.fit))
        for name in ("batch_size", "lr", "seed"):
            assert mine[name].default == theirs[name].default

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("nn.ReLU()", "nn.Tanh()"),
            ("z = self.encoder(x)", "z = torch.relu(self.encoder(x))"),
            ("return x_hat, z", "return torch.sigmoid(x_hat), z"),
        ],
    )
    def test_a_change_of_the_model_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        mine, theirs = self.outputs(self.SOURCE.replace(old, new))
        assert not torch.allclose(mine, theirs, rtol=1e-2)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (".sum(dim=1)", ".mean(dim=1)"),
            ("manual_seed(seed)", "manual_seed(seed + 1)"),
            ("split(batch_size)", "split(batch_size + 1)"),
            ("lr=lr", "lr=1.01 * lr"),
            ("optimizer.zero_grad()", "pass"),
            ("loss.item() * len(index)", "loss.item()"),
            ("total / len(x)", "total / (len(x) - 1)"),
        ],
    )
    def test_a_change_of_the_loop_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        mine, theirs = self.losses(self.SOURCE.replace(old, new), torch.float32)
        assert not np.allclose(mine, theirs, rtol=1e-4)

    def test_a_change_of_the_librarys_model_is_noticed(self, monkeypatch):
        monkeypatch.setattr(GeneExprAE, "_activate", lambda self, raw: torch.relu(raw))
        mine, theirs = self.outputs(self.SOURCE)
        assert not torch.allclose(mine, theirs, rtol=1e-2)

    def test_a_change_of_the_librarys_loss_is_noticed(self, monkeypatch):
        real = GeneExprAE.loss

        def loss(self, minibatch, kl_weight=1.0):
            return real(self, minibatch._replace(x=minibatch.x * 1.001), kl_weight)

        monkeypatch.setattr(GeneExprAE, "loss", loss)
        mine, theirs = self.losses(self.SOURCE, torch.float32)
        assert not np.allclose(mine, theirs, rtol=1e-4)

    def test_a_change_of_the_librarys_loop_is_noticed(self, monkeypatch):
        def unweighted(losses):
            return torch.stack([torch.stack([x.loss, x.loss, x.loss]).detach() for x, _ in losses]).mean(0)

        monkeypatch.setattr(training, "_mean_terms", unweighted)
        mine, theirs = self.losses(self.SOURCE, torch.float32)
        assert not np.allclose(mine, theirs, rtol=1e-4)


class TestCentralPiecesOfChapter2:
    SOURCE = central_source(CHAPTERS["02_pca.ipynb"])
    FIVE = X[:, :5] * np.float32([2, 1.5, 1, 0.5, 0.3]) + 3

    @staticmethod
    def pieces(source: str) -> dict:
        namespace = {"np": np, "torch": torch}
        exec(source, namespace)
        return namespace

    def axes(self, source: str) -> tuple:
        """Axes and variances of data off the origin, by the chapter and by scikit-learn; signs as in the latter."""
        axes, variances = self.pieces(source)["principal_axes"](self.FIVE.astype(float), 2)
        pca = PCA(svd_solver="full").fit(self.FIVE.astype(float))
        theirs = pca.components_[:2].T, pca.explained_variance_ * (len(X) - 1) / len(X)  # divided by N, not N - 1
        return (axes * np.sign((axes * theirs[0]).sum(axis=0)), variances), theirs

    def fitted(self, source: str, seed=0, **settings) -> tuple:
        """Encoder and decoder by the chapter; covariance of the data, its eigenvalues and eigenvectors."""
        x = self.FIVE.astype(float) - self.FIVE.mean(axis=0, dtype=float)
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        a, b = self.pieces(source)["fit_linear"](torch.from_numpy(x), 2, seed=seed, **settings)
        return a, b, values[::-1][:2], vectors[:, ::-1][:, :2]

    def is_closed_form(self, source: str, l2: float) -> bool:
        """Equation (2.8): B Bᵀ does not depend on the rotation that is free."""
        a, b, values, vectors = self.fitted(source, l2=l2)
        squares = vectors @ np.diag(1 - l2 / values) @ vectors.T
        return np.allclose(b @ b.T, squares, atol=1e-6) and np.allclose(a, b.T, atol=1e-6)

    def gradients(self, source: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Minus the chapter's estimate and the gradient of the library's loss, from the same random state."""
        rbm, x = RBM(30, 7).double(), torch.sigmoid(torch.tensor(X, dtype=torch.float64))
        with torch.no_grad():
            for weight in rbm.parameters():
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            rbm.loss(Minibatch(x, None, None)).loss.backward()
            torch.manual_seed(4)
            with torch.no_grad():
                estimate = self.pieces(source)["contrastive_divergence"](
                    x, rbm.weight, rbm.hidden_bias, rbm.visible_bias
                )
        return -estimate, rbm.weight.grad

    def test_the_principal_axes_are_those_of_scikit_learn(self):
        ours, theirs = self.axes(self.SOURCE)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_linear_autoencoder_finds_pcas_projection(self, seed):
        a, b, _, vectors = self.fitted(self.SOURCE, seed)
        np.testing.assert_allclose(b @ a, vectors @ vectors.T, atol=1e-6)

    def test_with_tied_weights_its_decoder_is_orthonormal_and_turned(self):
        found = [self.fitted(self.SOURCE, seed, tied=True) for seed in range(2)]
        for a, b, _, vectors in found:
            np.testing.assert_array_equal(a, b.T)
            np.testing.assert_allclose(b.T @ b, np.eye(2), atol=1e-6)
            np.testing.assert_allclose(b @ a, vectors @ vectors.T, atol=1e-6)
        assert np.abs(found[0][1] - found[1][1]).max() > 0.05

    @pytest.mark.parametrize("l2", [0.05, 0.4])
    def test_with_a_penalty_it_is_that_of_the_closed_form(self, l2):
        assert self.is_closed_form(self.SOURCE, l2)

    def test_contrastive_divergence_is_minus_the_gradient_of_the_librarys_loss(self):
        ours, theirs = self.gradients(self.SOURCE)
        assert theirs.abs().max() > 0.01
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("x - x.mean(axis=0)", "x"),
            ("s**2 / len(x)", "s**2 / (len(x) - 1)"),
            ("axes[:d].T", "axes[-d:].T"),
        ],
    )
    def test_a_change_of_the_axes_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.axes(self.SOURCE.replace(old, new, 1))
        assert not all(np.allclose(a, b, rtol=1e-6) for a, b in zip(ours, theirs, strict=True))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("sum(dim=1).mean()", "sum(dim=1).sum()"),
            ("(a**2).sum() + (decoder**2).sum()", "(decoder**2).sum()"),
            ("(a**2).sum()", "a.abs().sum()"),
            ("max_iter=1000", "max_iter=3"),
        ],
    )
    def test_a_change_of_the_linear_autoencoder_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        assert not self.is_closed_form(self.SOURCE.replace(old, new), 0.4)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("torch.bernoulli(h)", "h"),
            ("x @ weight + hidden_bias", "x @ weight"),
            ("weight.T + visible_bias", "weight.T"),
            ("x.T @ h - fantasy.T @ h_fantasy", "x.T @ h - x.T @ h_fantasy"),
            (" / len(x)", ""),
        ],
    )
    def test_a_change_of_contrastive_divergence_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.gradients(self.SOURCE.replace(old, new))
        assert not torch.allclose(ours, theirs, rtol=1e-4)


class TestCentralPiecesOfChapter3:
    SOURCE = central_source(CHAPTERS["03_codes_and_sparsity.ipynb"])
    N_BITS = 3

    @staticmethod
    def pieces(source: str) -> dict:
        namespace = {"torch": torch, "nn": nn, "np": np}
        exec(source, namespace)
        return namespace

    def messages(self, source: str) -> tuple[list, list]:
        """Symbols, what is restored from them and their price, by the chapter and by the library."""
        known, new = X[:100, :4], 1.3 * X[100:, :4]  # some of the new ones lie beyond the range of the known
        pieces, quantizer = self.pieces(source), channels.uniform_quantizer(known, self.N_BITS)
        low, high = known.min(axis=0).astype(float), known.max(axis=0).astype(float)
        sent, seen = (pieces["quantize"](z, self.N_BITS, low, high) for z in (new, known))
        ours = [sent, pieces["restore"](sent, self.N_BITS, low, high), pieces["price"](sent, seen, self.N_BITS)]
        sent, seen = quantizer.encode(new), quantizer.encode(known)
        return ours, [sent, quantizer.decode(sent), channels.code_length(sent, seen, self.N_BITS)]

    def agree(self, source: str) -> bool:
        try:
            return all(np.allclose(a, b, rtol=1e-9) for a, b in zip(*self.messages(source), strict=True))
        except (IndexError, ValueError):  # symbols that no code has
            return False

    def learnt(self, source: str) -> tuple[list, list]:
        """Output, code, loss and gradients of the chapter's model and of the library's, from the same weights."""
        pieces, x = self.pieces(source), torch.tensor(X, dtype=torch.float64)
        theirs = SparseAE(30, 70, l1=0.4, seed=3).double()
        with torch.no_grad():
            for weight in theirs.parameters():
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
        mine = pieces["MySparseAE"](30, 70).double()
        mine.load_state_dict(theirs.state_dict())
        found = []
        for model in (mine, theirs):
            x_hat, z = model(x)
            minibatch = Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))
            loss = pieces["sparse_loss"](x, x_hat, z, 0.4) if model is mine else model.loss(minibatch).loss
            loss.backward()
            found.append([x_hat, z, loss, *(weight.grad for _, weight in sorted(model.named_parameters()))])
        return found[0], found[1]

    def test_the_quantiser_and_its_price_are_those_of_the_library(self):
        ours, theirs = self.messages(self.SOURCE)
        assert theirs[0].min() == 0 and theirs[0].max() == 2**self.N_BITS - 1 and theirs[2] > 1
        assert self.agree(self.SOURCE) and ours[0].shape == (50, 4)

    def test_the_sparse_autoencoder_its_loss_and_its_gradients_are_those_of_the_library(self):
        ours, theirs = self.learnt(self.SOURCE)
        assert 0.1 < (theirs[1] > 0).double().mean() < 0.9 and len(ours) == 7
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

    def test_it_starts_as_the_librarys_does(self):
        model = self.pieces(self.SOURCE)["MySparseAE"](30, 70)
        torch.testing.assert_close(model.weight.norm(dim=0), torch.ones(70))
        assert torch.equal(model.encoder.weight, model.weight.T)
        assert not model.bias.any() and not model.encoder.bias.any()

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("np.floor", "np.round"),
            ("2**n_bits - 1)", "2**n_bits)"),
            ("symbols + 0.5", "symbols"),
            ("high - low", "high"),
            ("minlength=2**n_bits) + 1", "minlength=2**n_bits) + 2"),
            ("np.log2", "np.log"),
            ("counts[sent]", "counts[seen]"),
        ],
    )
    def test_a_change_of_the_quantiser_or_the_price_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        assert not self.agree(self.SOURCE.replace(old, new))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("x - self.bias", "x"),
            ("torch.relu(", "torch.nn.functional.softplus("),
            (" / self.weight.norm(dim=0)", ""),
            ("dictionary.T + self.bias", "dictionary.T"),
            ("((x - x_hat) ** 2).sum(dim=1)", "((x - x_hat) ** 2).mean(dim=1)"),
            ("l1 * z.sum(dim=1)", "l1 * (z**2).sum(dim=1)"),
            ("(error + penalty).mean()", "(error + penalty).sum()"),
        ],
    )
    def test_a_change_of_the_sparse_autoencoder_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.learnt(self.SOURCE.replace(old, new))
        assert not torch.allclose(ours[2], theirs[2], rtol=1e-6)
