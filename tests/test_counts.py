"""The checks on raw counts: what is wrong is named, what is right passes unchanged."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from course_lib import counts, preprocess

RNG = np.random.default_rng(0)
GOOD = RNG.poisson(3, (12, 7)) + 1.0
FORMS = {
    "dense": np.array,
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
}


def put(row: int, column: int, value: float) -> np.ndarray:
    x = GOOD.copy()
    x[row, column] = value
    return x


def without(cells=(), genes=()) -> np.ndarray:
    x = GOOD.copy()
    x[list(cells)] = 0
    x[:, list(genes)] = 0
    return x


def z_scored() -> np.ndarray:
    return (GOOD - GOOD.mean(0)) / GOOD.std(0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint16"])
def test_good_counts_come_back_as_the_same_object_unchanged(form, dtype):
    adata = ad.AnnData(FORMS[form](GOOD.astype(dtype)))
    before = adata.X.copy()
    assert preprocess.check_counts(adata) is adata
    assert np.array_equal(counts.sum_over(before, 0), counts.sum_over(adata.X, 0)) and adata.X.dtype == before.dtype


@pytest.mark.parametrize("form", ["dense", "csr_matrix"])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (put(2, 3, -1), "negative values .the least is -1.*≥ 0"),
        (put(2, 3, 0.5), "not whole numbers .such as 0.5"),
        (put(2, 3, np.nan), "1 NaN or infinite"),
        (put(2, 3, np.inf), "1 NaN or infinite"),
        (np.log1p(GOOD), "looks log-normalised.*raw"),
        (GOOD * 1e4 / GOOD.sum(1, keepdims=True), "looks normalised.*raw"),
        (z_scored(), "negative.*z-scored.*adata.raw"),
        (without(cells=[4]), "1 cell.s. without a single count .4.*drop_empty"),
        (without(cells=[0, 1, 2, 3]), "4 cell.s. without a single count .0, 1, 2, …"),
        (without(genes=[6]), "1 gene.s. without a single count .6.*drop_empty"),
    ],
    ids=["negative", "fraction", "nan", "inf", "log", "scaled", "z-score", "empty cell", "empty cells", "empty gene"],
)
def test_what_is_wrong_with_counts_is_named(x, words, form):
    with pytest.raises(ValueError, match=words):
        preprocess.check_counts(ad.AnnData(FORMS[form](x)))


def test_a_layer_is_checked_in_place_of_x_and_named():
    adata = ad.AnnData(np.log1p(GOOD), layers={"counts": GOOD, "logs": np.log1p(GOOD)})
    assert preprocess.check_counts(adata, layer="counts") is adata
    with pytest.raises(ValueError, match=r"layers\['logs'\] has values that are not whole"):
        preprocess.check_counts(adata, layer="logs")


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((0, 3)), "0 cells and 3 genes"),
        (np.zeros((3, 0)), "3 cells and 0 genes"),
        (GOOD.astype(str), "dtype <U.*numbers"),
    ],
    ids=["no cells", "no genes", "strings"],
)
def test_data_that_cannot_hold_counts_are_named(x, words):
    with pytest.raises(ValueError, match=words):
        preprocess.check_counts(ad.AnnData(x))


@pytest.mark.parametrize("data", [GOOD, pd.DataFrame(GOOD), sparse.csr_matrix(GOOD), None, "data.h5ad"])
def test_what_is_no_anndata_is_refused_with_the_type_that_came(data):
    with pytest.raises(ValueError, match=f"got {type(data).__name__}"):
        preprocess.check_counts(data)


def test_missing_x_is_named():
    adata = ad.AnnData(obs=pd.DataFrame(index=list("ab")), var=pd.DataFrame(index=list("xyz")))
    with pytest.raises(ValueError, match="X is None"):
        preprocess.check_counts(adata)


class TestMatrix:
    def test_returns_x_or_the_layer_itself(self):
        adata = ad.AnnData(GOOD, layers={"twice": 2 * GOOD})
        np.testing.assert_array_equal(preprocess.matrix(adata), GOOD)
        np.testing.assert_array_equal(preprocess.matrix(adata, "twice"), 2 * GOOD)

    def test_an_unknown_layer_is_answered_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"no layer 'scaled' .layers: 'twice'"):
            preprocess.matrix(ad.AnnData(GOOD, layers={"twice": GOOD}), "scaled")
        with pytest.raises(ValueError, match="layers: none"):
            preprocess.matrix(ad.AnnData(GOOD), "scaled")

    @pytest.mark.parametrize(("layer", "maker"), [("normalized", "normalize"), ("log_normalized", "log_normalize")])
    def test_the_error_for_a_layer_of_ours_names_the_function_that_writes_it(self, layer, maker):
        adata = ad.AnnData(GOOD)
        with pytest.raises(ValueError, match=rf"preprocess\.{maker}\(adata\)"):
            preprocess.matrix(adata, layer)
        getattr(preprocess, maker)(adata)
        assert preprocess.matrix(adata, layer).shape == GOOD.shape


class TestObsColumn:
    def test_returns_the_column(self):
        adata = ad.AnnData(GOOD, obs=pd.DataFrame({"depth": np.arange(12)}, index=[f"c{i}" for i in range(12)]))
        assert list(preprocess.obs_column(adata, "depth")) == list(range(12))

    def test_an_unknown_column_is_answered_with_those_there_are(self):
        adata = ad.AnnData(GOOD, obs=pd.DataFrame({"depth": np.arange(12)}, index=[f"c{i}" for i in range(12)]))
        with pytest.raises(ValueError, match=r"no column 'batch' .columns: 'depth'"):
            preprocess.obs_column(adata, "batch")


class TestDropEmpty:
    @pytest.mark.parametrize("form", FORMS)
    def test_removes_empty_cells_and_genes_and_nothing_else(self, form):
        x = without(cells=[0, 5], genes=[2])
        adata = ad.AnnData(FORMS[form](x), obs=pd.DataFrame(index=[f"c{i}" for i in range(12)]))
        kept = preprocess.drop_empty(adata)
        assert kept.shape == (10, 6) and adata.shape == (12, 7)
        assert list(kept.obs_names) == [f"c{i}" for i in range(12) if i not in (0, 5)]
        left = kept.X.toarray() if sparse.issparse(kept.X) else kept.X
        np.testing.assert_array_equal(left, np.delete(np.delete(x, [0, 5], 0), 2, 1))
        assert preprocess.check_counts(kept) is kept

    def test_a_single_count_is_enough_to_stay(self):
        assert preprocess.drop_empty(ad.AnnData(np.diag([1.0, 0.0, 1.0]))).shape == (2, 2)

    def test_says_so_where_nothing_would_be_left(self):
        with pytest.raises(ValueError, match="nothing would be left"):
            preprocess.drop_empty(ad.AnnData(np.zeros((3, 4))))


def test_sums_are_exact_where_float32_would_lose_counts():
    x = np.full((2, 3), 2.0**24, dtype=np.float32)
    x[:, 0] = 1
    for form in FORMS.values():
        np.testing.assert_array_equal(counts.sum_over(form(x), 1), [2.0**25 + 1] * 2)
