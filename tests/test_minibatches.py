"""Cells as tensors: dense, sparse and AnnData give the same minibatches; sparse data stay sparse."""

from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from course_lib import latent
from course_lib.minibatches import CHUNK, Cells, pick_device
from course_lib.models import GeneExprAE

X = np.random.default_rng(0).poisson(0.7, (40, 9)).astype(np.float32)
X[3] = 0  # a cell without counts
SPARSE = (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.csr_array, sparse.csc_array)


def annotated(x=X, **layers) -> ad.AnnData:
    obs = pd.DataFrame(
        {
            "depth": np.arange(1.0, len(X) + 1),
            "plate": pd.Categorical(np.where(np.arange(len(X)) % 3 == 0, "late", "early"), ["late", "early"]),
        },
        index=[f"c{i}" for i in range(len(X))],
    )
    return ad.AnnData(x, obs=obs, layers=layers)


def no_densifying(monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise AssertionError("a sparse matrix was made dense as a whole")

    for kind in SPARSE:
        for name in ("toarray", "todense", "__array__"):
            monkeypatch.setattr(kind, name, refuse, raising=False)


@contextmanager
def at_most_more_memory(n_bytes: int):
    """Let every allocation fail that would take more than `n_bytes` beside what this process holds already."""
    resource = pytest.importorskip("resource")
    held = Path("/proc/self/statm")
    if not held.exists():
        pytest.skip("the limit is set through /proc, which this system lacks")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(held.read_text().split()[0]) * resource.getpagesize() + n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class TestPickDevice:
    @pytest.mark.parametrize(("available", "kind"), [(True, "cuda"), (False, "cpu")])
    def test_auto_takes_cuda_where_there_is_one(self, monkeypatch, available, kind):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
        assert pick_device("auto").type == pick_device().type == kind

    @pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
    def test_takes_what_is_named(self, device):
        assert pick_device(device) == torch.device("cpu")

    @pytest.mark.parametrize("device", ["gpu", "", "CUDA", None, 1.5])
    def test_a_name_that_torch_does_not_know_is_answered_with_those_to_choose(self, device):
        with pytest.raises(ValueError, match='choose "auto", "cpu", "cuda"'):
            pick_device(device)

    @pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
    def test_cuda_where_there_is_none_is_refused_with_what_to_do(self, monkeypatch, device):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ValueError, match=r"no CUDA device.*Colab"):
            pick_device(device)


class TestMinibatch:
    @pytest.mark.parametrize("make", SPARSE)
    @given(index=st.lists(st.integers(0, 39), min_size=1, max_size=50))
    @settings(max_examples=20, deadline=None, derandomize=True)
    def test_sparse_rows_are_the_dense_rows_in_any_order_and_number(self, make, index):
        cells = Cells(make(X))
        minibatch = cells.minibatch(torch.tensor(index))
        np.testing.assert_array_equal(minibatch.x, X[index])
        np.testing.assert_array_equal(cells._rows_at_once(torch.tensor(index)), X[index])  # what a GPU does
        np.testing.assert_array_equal(minibatch.library, X[index].sum(1, keepdims=True))

    @pytest.mark.parametrize(
        "data",
        [X, X.tolist(), pd.DataFrame(X), torch.tensor(X), torch.tensor(X).double(), annotated(), sparse.csr_matrix(X)],
        ids=["array", "list", "frame", "tensor", "float64 tensor", "AnnData", "sparse"],
    )
    def test_every_door_gives_the_same_cells(self, data):
        cells = Cells(data)
        assert len(cells) == 40 and cells.shape == (40, 9)
        index = torch.tensor([5, 0, 39])
        x, library, batch_index = cells.minibatch(index)
        assert x.dtype == library.dtype == torch.float32 and batch_index.dtype == torch.int64
        assert x.shape == (3, 9) and library.shape == (3, 1) and batch_index.shape == (3,)
        np.testing.assert_array_equal(x, X[[5, 0, 39]])
        np.testing.assert_array_equal(library, X[[5, 0, 39]].sum(1, keepdims=True))
        assert batch_index.tolist() == [0, 0, 0]

    @pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "uint16", "uint32", "float32", "float64", "bool"])
    @pytest.mark.parametrize("make", [np.array, sparse.csr_matrix])
    def test_any_numeric_type_arrives_as_float32(self, make, dtype):
        x = Cells(make(X.astype(dtype))).minibatch(torch.arange(40)).x
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(x, X.astype(dtype).astype(np.float32))

    def test_row_sums_of_real_numbers_are_those_of_numpy(self):
        x = sparse.random(
            300, 50, 0.1, format="csr", random_state=0, data_rvs=lambda size: np.random.default_rng(0).normal(size=size)
        )
        sums = x.toarray().sum(1, keepdims=True)
        np.testing.assert_allclose(Cells(x).library, sums, atol=1e-6)
        np.testing.assert_allclose(Cells(x.toarray()).library, sums, atol=1e-5)

    def test_entries_stored_twice_are_added_and_the_users_matrix_keeps_them(self):
        twice = sparse.csr_matrix((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 3))
        cells = Cells(twice)
        assert cells.minibatch(torch.arange(2)).x.tolist() == [[0, 3, 0], [4, 0, 0]]
        assert cells.library.flatten().tolist() == [3, 4] and twice.nnz == 3

    def test_unsorted_and_explicit_zero_entries_do_no_harm(self):
        odd = sparse.csr_matrix((np.array([2.0, 0.0, 4.0]), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3))
        assert Cells(odd).minibatch(torch.tensor([1, 0])).x.tolist() == [[0, 4, 0], [0, 0, 2]]

    @pytest.mark.parametrize("make", [np.array, sparse.csr_matrix])
    def test_a_model_that_changes_its_minibatch_changes_no_data(self, make):
        data = make(X)
        cells = Cells(data)
        cells.minibatch(torch.arange(40)).x.zero_()
        np.testing.assert_array_equal(cells.minibatch(torch.arange(40)).x, X)
        np.testing.assert_array_equal(data.toarray() if sparse.issparse(data) else data, X)

    def test_a_tensor_with_a_gradient_is_detached(self):
        assert not Cells(torch.tensor(X, requires_grad=True)).minibatch(torch.arange(3)).x.requires_grad

    @pytest.mark.parametrize("size", [1, 7, 40, 4096])
    def test_chunks_walk_through_all_cells_in_order(self, size):
        parts = [part.x for part in Cells(sparse.csr_matrix(X)).chunks(size)]
        assert {len(part) for part in parts[:-1]} <= {size}
        np.testing.assert_array_equal(torch.cat(parts), X)


class TestAnnData:
    def test_layer_replaces_x_while_library_stays_the_sum_of_counts(self):
        cells = Cells(annotated(sparse.csr_matrix(X), logs=np.log1p(X)), layer="logs")
        minibatch = cells.minibatch(torch.arange(40))
        np.testing.assert_array_equal(minibatch.x, np.log1p(X))
        np.testing.assert_array_equal(minibatch.library[:, 0], X.sum(1))

    def test_library_key_replaces_the_sum_of_counts(self):
        library = Cells(annotated(), library_key="depth").library
        assert library.shape == (40, 1) and library.flatten().tolist() == list(range(1, 41))

    def test_batch_key_gives_codes_in_the_order_of_the_categories(self):
        cells = Cells(annotated(), batch_key="plate")
        assert cells.batch_names == ["late", "early"]
        assert cells.minibatch(torch.arange(4)).batch_index.tolist() == [0, 1, 1, 0]

    def test_batches_named_by_strings_or_numbers_are_coded_too(self):
        adata = annotated()
        adata.obs["day"] = [7, 3] * 20
        cells = Cells(adata, batch_key="day")
        assert cells.batch_names == [3, 7] and cells.batch_index[:2].tolist() == [1, 0]

    def test_a_view_of_some_cells_gives_those_cells(self):
        adata = annotated(sparse.csr_matrix(X))
        np.testing.assert_array_equal(Cells(adata[5:8, 2:]).minibatch(torch.arange(3)).x, X[5:8, 2:])

    def test_x_and_obs_are_left_as_they_were(self):
        adata = annotated(sparse.csr_matrix(X))
        Cells(adata, library_key="depth", batch_key="plate")
        np.testing.assert_array_equal(adata.X.toarray(), X)
        assert list(adata.obs.columns) == ["depth", "plate"] and not adata.layers

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"layer": "logs"}, "no layer 'logs'"),
            ({"library_key": "size"}, r"no column 'size' .columns: 'depth', 'plate'"),
            ({"batch_key": "donor"}, "no column 'donor'"),
            ({"library_key": "plate"}, r"obs\['plate'\].*finite numbers above 0"),
        ],
    )
    def test_unknown_names_and_useless_columns_are_named(self, arguments, words):
        with pytest.raises(ValueError, match=words):
            Cells(annotated(), **arguments)

    def test_a_library_column_with_zeros_is_refused(self):
        adata = annotated()
        adata.obs["depth"] = np.zeros(40)
        with pytest.raises(ValueError, match="above 0"):
            Cells(adata, library_key="depth")

    def test_a_cell_without_a_batch_is_refused(self):
        adata = annotated()
        adata.obs["plate"] = ["a", None] * 20
        with pytest.raises(ValueError, match="missing values"):
            Cells(adata, batch_key="plate")

    def test_an_anndata_without_x_is_refused_with_what_to_do(self):
        adata = annotated()
        empty = ad.AnnData(obs=adata.obs, var=adata.var, layers={"counts": X})
        with pytest.raises(ValueError, match="put the raw counts there"):
            Cells(empty, layer="counts")

    def test_strings_in_x_are_refused(self):
        with pytest.raises(ValueError, match="dtype <U"):
            Cells(annotated(X.astype(str)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (X[0], r"shape \(9,\).*\(n_cells, n_genes\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (torch.zeros(2, 3, 4), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\).*at least one of each"),
        (sparse.csr_matrix((3, 0)), r"shape \(3, 0\)"),
        (np.where(X == 0, np.nan, X), "NaN or infinite"),
        (sparse.csr_matrix(np.where(X == 1, np.inf, X)), "NaN or infinite"),
        (torch.full((2, 2), float("nan")), "4 NaN or infinite"),
        (X.astype(str), "dtype <U.*numbers"),
        (X.astype(object), "dtype object"),
        (None, "dtype object"),
        ("counts.h5ad", "dtype <U"),
        (torch.tensor(X).to_sparse(), "sparse torch tensor.*scipy"),
    ],
)
def test_data_that_no_model_can_take_are_named(data, words):
    with pytest.raises(ValueError, match=words):
        Cells(data)


@pytest.mark.parametrize("name", ["layer", "library_key", "batch_key"])
def test_what_is_for_anndata_alone_is_refused_beside_an_array(name):
    with pytest.raises(ValueError, match=rf"{name} needs an AnnData; data is ndarray"):
        Cells(X, **{name: "counts"})


class TestCheckFor:
    def test_the_right_number_of_genes_passes(self):
        Cells(X).check_for(GeneExprAE(9, 2, (4,)))

    def test_a_wrong_number_of_genes_is_refused_with_both_numbers(self):
        with pytest.raises(ValueError, match=r"9 genes, the model was made for 11.*n_genes=9"):
            Cells(X).check_for(GeneExprAE(11, 2, (4,)))

    def test_a_bad_cell_in_the_last_chunk_is_found(self):
        x = sparse.csr_matrix((np.ones(CHUNK + 1), (np.arange(CHUNK + 1), np.zeros(CHUNK + 1))), shape=(CHUNK + 1, 2))
        Cells(x).check_for(GeneExprAE(2, 1, (2,), output="composition"))
        x.data[-1] = 0.5
        with pytest.raises(ValueError, match="sum to 1"):
            Cells(x).check_for(GeneExprAE(2, 1, (2,), output="composition"))


class TestSparseStaysSparse:
    def test_no_call_makes_the_whole_matrix_dense(self, monkeypatch):
        adata = annotated(sparse.csr_matrix(X), half=sparse.csc_matrix(X / 2))
        no_densifying(monkeypatch)
        with pytest.raises(AssertionError, match="made dense"):
            adata.X.toarray()
        for data in (*(make(X) for make in SPARSE), adata):
            cells = Cells(data)
            cells.check_for(GeneExprAE(9, 2, (4,), output="real"))
            cells.minibatch(torch.arange(5))
        Cells(adata, layer="half", library_key="depth")

    def test_200_000_cells_by_2_000_genes_pass_within_half_the_memory_of_the_dense_matrix(self):
        n_cells, n_genes, per_cell = 200_000, 2_000, 5
        rng = np.random.default_rng(0)
        indices = np.sort(rng.integers(0, n_genes // per_cell, (n_cells, per_cell)) + np.arange(per_cell) * 400, axis=1)
        x = sparse.csr_matrix(
            (np.ones(n_cells * per_cell, np.float32), indices.ravel(), np.arange(n_cells + 1) * per_cell),
            shape=(n_cells, n_genes),
        )
        model = GeneExprAE(n_genes, 2, (4,))
        with at_most_more_memory(800_000_000):
            with pytest.raises(RuntimeError, match="memory"):
                torch.zeros(n_cells, n_genes)  # 1.6 GB: the limit holds
            cells = Cells(x)
            cells.check_for(model)
            minibatch = cells.minibatch(torch.tensor([0, 199_999, 77]))
            assert latent.embed(model, x).shape == (n_cells, 2)
        np.testing.assert_array_equal(minibatch.x, x[[0, 199_999, 77]].toarray())
        assert cells.library.unique().tolist() == [per_cell]
