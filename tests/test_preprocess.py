"""Library size, normalisation against scanpy, gene selection, and the held-out split."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from course_lib import preprocess

FORMS = {
    "dense": np.array,
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
}
few = settings(max_examples=25, deadline=None, derandomize=True)


def make(n_cells=30, n_genes=12, form="csr_matrix", seed=0, mean=1.0) -> ad.AnnData:
    x = np.random.default_rng(seed).poisson(mean, (n_cells, n_genes)).astype(np.float32)
    x[:, 0] += 1
    x[0] += 1  # no cell and no gene is empty
    obs = pd.DataFrame({"depth": 2.0 * x.sum(1) + 1}, index=[f"c{i}" for i in range(n_cells)])
    return ad.AnnData(FORMS[form](x), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))


def dense(x) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


class TestLibrarySize:
    @pytest.mark.parametrize("form", FORMS)
    def test_is_the_sum_of_a_cells_counts(self, form):
        adata = make(form=form)
        library = preprocess.library_size(adata)
        assert library.shape == (30,) and library.dtype == np.float64
        np.testing.assert_array_equal(library, dense(adata.X).sum(1))

    def test_sums_a_layer_where_asked(self):
        adata = make()
        adata.layers["twice"] = adata.X * 2
        np.testing.assert_array_equal(preprocess.library_size(adata, layer="twice"), 2 * dense(adata.X).sum(1))

    @pytest.mark.parametrize("kind", [float, "float32", int, str, "category"])
    def test_takes_the_column_of_obs_where_asked(self, kind):
        adata = make()
        adata.obs["total"] = adata.obs["depth"].astype(kind)
        np.testing.assert_array_equal(preprocess.library_size(adata, library_key="total"), make().obs["depth"])

    @pytest.mark.parametrize("bad", [0.0, -3.0, np.nan, np.inf])
    def test_a_column_with_a_value_that_is_no_depth_is_refused(self, bad):
        adata = make()
        adata.obs.loc["c3", "depth"] = bad
        with pytest.raises(ValueError, match=r"obs\['depth'\].*finite numbers above 0"):
            preprocess.library_size(adata, library_key="depth")

    def test_a_column_of_names_is_refused(self):
        adata = make()
        adata.obs["cluster"] = pd.Categorical(["A"] * 30)
        with pytest.raises(ValueError, match=r"obs\['cluster'\].*finite numbers above 0"):
            preprocess.library_size(adata, library_key="cluster")

    def test_unknown_names_are_answered_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"no column 'total' .columns: 'depth'"):
            preprocess.library_size(make(), library_key="total")
        with pytest.raises(ValueError, match="no layer 'raw'"):
            preprocess.library_size(make(), layer="raw")


class TestNormalize:
    @pytest.mark.parametrize("form", ["dense", "csr_matrix"])
    @pytest.mark.parametrize("target_sum", [1.0, 1e4, 123.5])
    def test_matches_scanpy(self, form, target_sum):
        import scanpy

        adata, theirs = make(form=form), make(form=form)
        scanpy.pp.normalize_total(theirs, target_sum=target_sum)
        np.testing.assert_allclose(dense(preprocess.normalize(adata, target_sum)), dense(theirs.X), rtol=1e-5)
        scanpy.pp.log1p(theirs)
        np.testing.assert_allclose(dense(preprocess.log_normalize(adata, target_sum)), dense(theirs.X), rtol=1e-5)

    @given(
        n_cells=st.integers(1, 12),
        n_genes=st.integers(1, 9),
        mean=st.floats(0.05, 1e4),
        target_sum=st.floats(1e-3, 1e8),
        seed=st.integers(0, 99),
    )
    @few
    def test_every_cell_sums_to_the_target(self, n_cells, n_genes, mean, target_sum, seed):
        adata = make(n_cells, n_genes, mean=mean, seed=seed)
        sums = dense(preprocess.normalize(adata, target_sum)).sum(1, dtype=np.float64)
        np.testing.assert_allclose(sums, target_sum, rtol=1e-5)

    @given(scale=st.integers(2, 1000), seed=st.integers(0, 99))
    @few
    def test_does_not_depend_on_sequencing_depth(self, scale, seed):
        shallow, deep = make(seed=seed), make(seed=seed)
        deep.X = deep.X * scale
        np.testing.assert_allclose(dense(preprocess.normalize(shallow)), dense(preprocess.normalize(deep)), rtol=1e-5)

    @pytest.mark.parametrize("function", [preprocess.normalize, preprocess.log_normalize])
    @pytest.mark.parametrize("form", FORMS)
    def test_dense_and_sparse_give_the_same_and_keep_their_form(self, function, form):
        adata = make(form=form)
        result = function(adata)
        assert sparse.issparse(result) == (form != "dense") and result.dtype == np.float32
        np.testing.assert_allclose(dense(result), dense(function(make(form="dense"))), rtol=1e-6)

    @pytest.mark.parametrize("function", [preprocess.normalize, preprocess.log_normalize])
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("dtype", ["float32", "int64", "uint16"])
    def test_x_stays_counts_and_the_layer_is_what_is_returned(self, function, form, dtype):
        adata = make(form=form)
        adata.X = adata.X.astype(dtype)
        before = dense(adata.X).copy()
        result = function(adata)
        np.testing.assert_array_equal(dense(adata.X), before)
        assert adata.X.dtype == dtype
        name = "normalized" if function is preprocess.normalize else "log_normalized"
        assert list(adata.layers) == [name]
        np.testing.assert_array_equal(dense(adata.layers[name]), dense(result))

    def test_library_key_replaces_the_row_sum(self):
        adata = make()
        result = dense(preprocess.normalize(adata, 1e4, library_key="depth"))
        np.testing.assert_allclose(result * adata.obs["depth"].to_numpy()[:, None], 1e4 * dense(adata.X), rtol=1e-5)

    def test_log_is_natural_and_of_one_plus(self):
        adata = make()
        np.testing.assert_allclose(
            np.expm1(dense(preprocess.log_normalize(adata))), dense(preprocess.normalize(adata)), rtol=1e-5
        )
        assert (dense(adata.layers["log_normalized"])[dense(adata.X) == 0] == 0).all()

    def test_a_view_is_normalised_and_its_parent_left_alone(self):
        adata = make()
        with pytest.warns(ad.ImplicitModificationWarning):
            view = adata[:5]
            preprocess.normalize(view)
        assert "normalized" not in adata.layers and view.layers["normalized"].shape == (5, 12)

    @pytest.mark.parametrize("function", [preprocess.normalize, preprocess.log_normalize])
    @pytest.mark.parametrize("target_sum", [0, -1.0, float("nan"), float("inf"), None, "1e4"])
    def test_a_target_sum_that_is_no_positive_number_is_refused(self, function, target_sum):
        adata = make()
        with pytest.raises(ValueError, match="target_sum"):
            function(adata, target_sum)
        assert not adata.layers

    @pytest.mark.parametrize("function", [preprocess.normalize, preprocess.log_normalize])
    def test_data_that_are_not_counts_are_refused(self, function):
        adata = make()
        adata.X = function(make())
        with pytest.raises(ValueError, match="not whole numbers"):
            function(adata)

    @pytest.mark.parametrize("function", [preprocess.normalize, preprocess.log_normalize])
    def test_an_empty_cell_is_refused_by_name_instead_of_divided_by_zero(self, function):
        adata = make(form="dense")
        adata.X[3] = 0
        with pytest.raises(ValueError, match="c3"):
            function(adata)

    def test_a_library_column_with_a_zero_is_refused(self):
        adata = make()
        adata.obs["depth"] = 0.0
        with pytest.raises(ValueError, match="above 0"):
            preprocess.normalize(adata, library_key="depth")


class TestCenter:
    @pytest.mark.parametrize("form", FORMS)
    def test_every_gene_has_mean_zero_and_the_same_spread(self, form):
        adata = make(form=form)
        logs = dense(preprocess.log_normalize(adata)).copy()
        centred = preprocess.center(adata)
        assert isinstance(centred, np.ndarray) and centred.dtype == np.float32
        np.testing.assert_allclose(centred.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(np.diff(centred, axis=0), np.diff(logs, axis=0), atol=1e-5)
        np.testing.assert_array_equal(dense(adata.layers["log_normalized"]), logs)
        assert adata.layers["centered"] is centred or np.array_equal(adata.layers["centered"], centred)

    def test_held_out_cells_are_centred_by_the_training_cells(self):
        adata = make(200)
        preprocess.log_normalize(adata)
        training, held_out = preprocess.split(adata, 0.2)
        mean = dense(training.layers["log_normalized"]).mean(0)
        np.testing.assert_allclose(
            preprocess.center(held_out, training), dense(held_out.layers["log_normalized"]) - mean, atol=1e-5
        )

    def test_another_layer_can_be_centred(self):
        adata = make()
        preprocess.normalize(adata)
        np.testing.assert_allclose(preprocess.center(adata, layer="normalized").mean(0), 0, atol=0.05)

    def test_other_genes_in_the_reference_are_refused(self):
        adata, other = make(), make(n_genes=11)
        for data in (adata, other):
            preprocess.log_normalize(data)
        with pytest.raises(ValueError, match="same genes in the same order"):
            preprocess.center(adata, other)

    def test_a_missing_layer_is_answered_with_what_writes_it(self):
        with pytest.raises(ValueError, match="log_normalize"):
            preprocess.center(make())


class TestSelectGenes:
    @pytest.mark.parametrize("form", ["dense", "csr_matrix"])
    def test_keeps_the_genes_with_the_largest_variance_in_their_order(self, form):
        adata = make(200, 6, form=form)
        values = np.random.default_rng(1).normal(5.0, [1, 9, 2, 8, 3, 7], (200, 6)).astype(np.float32)
        adata.layers["values"] = FORMS[form](values)
        chosen = preprocess.select_genes(adata, 3, layer="values")
        assert list(chosen.var_names) == ["g1", "g3", "g5"] and chosen.shape == (200, 3) and adata.shape == (200, 6)
        np.testing.assert_array_equal(dense(chosen.X), dense(adata.X)[:, [1, 3, 5]])

    def test_default_layer_is_the_log_normalised_one(self):
        adata = make(100)
        preprocess.log_normalize(adata)
        variance = dense(adata.layers["log_normalized"]).var(0)
        kept = preprocess.select_genes(adata, 4)
        assert set(kept.var_names) == set(adata.var_names[np.argsort(variance)[-4:]])

    def test_all_genes_can_be_kept(self):
        adata = make()
        preprocess.log_normalize(adata)
        assert list(preprocess.select_genes(adata, adata.n_vars).var_names) == list(adata.var_names)

    @pytest.mark.parametrize("n_top", [0, -1, 13, 2.5, float("nan")])
    def test_a_number_out_of_range_is_refused(self, n_top):
        adata = make()
        preprocess.log_normalize(adata)
        with pytest.raises(ValueError, match=r"n_top.*from 1 to 12"):
            preprocess.select_genes(adata, n_top)

    def test_a_missing_layer_is_answered_with_what_writes_it(self):
        with pytest.raises(ValueError, match="log_normalize"):
            preprocess.select_genes(make(), 3)


class TestSplit:
    @given(n_cells=st.integers(2, 60), test=st.floats(0.001, 0.999), seed=st.integers(0, 99))
    @few
    def test_every_cell_is_on_one_side_and_neither_side_is_empty(self, n_cells, test, seed):
        adata = make(n_cells, 3)
        training, held_out = preprocess.split(adata, test, seed)
        assert sorted([*training.obs_names, *held_out.obs_names]) == sorted(adata.obs_names)
        assert training.n_obs >= 1 and held_out.n_obs >= 1
        assert abs(held_out.n_obs - test * n_cells) <= 1

    def test_counts_stay_with_their_cells(self):
        adata = make()
        for part in preprocess.split(adata, 0.3):
            np.testing.assert_array_equal(dense(part.X), dense(adata[part.obs_names].X))
            np.testing.assert_array_equal(part.obs["depth"], adata.obs.loc[part.obs_names, "depth"])

    def test_parts_are_copies(self):
        adata = make()
        for part in preprocess.split(adata):
            part.X.data[:] = 99
            assert adata.X.data.max() < 99 and not part.is_view

    def test_seed_decides_the_split(self):
        adata = make()
        first, again, other = (list(preprocess.split(adata, 0.3, seed)[1].obs_names) for seed in (1, 1, 2))
        assert first == again != other

    def test_each_cell_is_held_out_as_often_as_any_other(self):
        adata = make(20, 3)
        times = sum(
            pd.Series(1, preprocess.split(adata, 0.25, seed)[1].obs_names).reindex(adata.obs_names).fillna(0)
            for seed in range(200)
        )
        assert np.abs(times - 50).max() < 4.5 * np.sqrt(200 * 0.25 * 0.75)

    @pytest.mark.parametrize("test", [0, 1, 1.5, -0.1, float("nan")])
    def test_a_fraction_out_of_range_is_refused(self, test):
        with pytest.raises(ValueError, match="fraction of cells held out"):
            preprocess.split(make(), test)

    def test_one_cell_cannot_be_split(self):
        with pytest.raises(ValueError, match="at least 2"):
            preprocess.split(make(1))
