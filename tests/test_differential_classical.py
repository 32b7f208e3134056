"""The tests without a model: against SciPy and scanpy, on data with known truth, and with what does not fit."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse, stats

from course_lib import differential, preprocess, simulate
from course_lib.differential import classical, groups

CELL_TESTS = {"t-test": differential.t_test, "wilcoxon": differential.wilcoxon}


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    data = preprocess.drop_empty(simulate.splatter(400, 200, seed=1))
    data.obs["donor"] = np.random.default_rng(0).choice(list("abcd"), data.n_obs)
    preprocess.log_normalize(data)
    return data


def run(test, data, *labels, **settings) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return test(data, *labels, **settings)


def dense(data, layer="log_normalized") -> np.ndarray:
    return data.layers[layer].toarray().astype(np.float64)


@pytest.mark.parametrize("name", CELL_TESTS)
class TestBetweenCells:
    @pytest.mark.parametrize("reference", ["group_1", None])
    def test_p_values_are_those_of_scanpy(self, cells, name, reference):
        found = run(CELL_TESTS[name], cells, "group", "group_0", reference)
        theirs = cells.copy()
        theirs.X = theirs.layers["log_normalized"]
        more = {"tie_correct": True} if name == "wilcoxon" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.tl.rank_genes_groups(
                theirs, "group", groups=["group_0"], reference=reference or "rest", method=name, **more
            )
        expected = sc.get.rank_genes_groups_df(theirs, "group_0").set_index("names").loc[found.index]
        assert found.p_value.min() < 1e-12
        np.testing.assert_allclose(np.log(found.p_value), np.log(expected.pvals), rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(np.log(found.fdr), np.log(expected.pvals_adj), rtol=2e-5, atol=1e-5)

    def test_sparse_and_dense_cells_give_the_same(self, cells, name):
        full = cells.copy()
        full.X, full.layers["log_normalized"] = full.X.toarray(), full.layers["log_normalized"].toarray()
        tables = [run(CELL_TESTS[name], data, "group", "group_0", "group_2") for data in (cells, full)]
        pd.testing.assert_frame_equal(*(table.loc[cells.var_names] for table in tables), rtol=1e-6)

    def test_the_sides_exchanged_change_the_sign_alone(self, cells, name):
        there = run(CELL_TESTS[name], cells, "group", "group_0", "group_1")
        back = run(CELL_TESTS[name], cells, "group", "group_1", "group_0").loc[there.index]
        np.testing.assert_allclose(back.p_value, there.p_value, rtol=1e-9)
        np.testing.assert_allclose(back.lfc, -there.lfc, atol=1e-12)
        middle = 0.5 if name == "wilcoxon" else 0.0
        np.testing.assert_allclose(back.score - middle, middle - there.score, atol=1e-9)

    def test_genes_come_in_order_of_their_p_value(self, cells, name):
        found = run(CELL_TESTS[name], cells, "group", "group_0")
        assert found.p_value.is_monotonic_increasing and found.fdr.is_monotonic_increasing
        assert set(found.index) == set(cells.var_names)
        np.testing.assert_allclose(found.fdr, stats.false_discovery_control(found.p_value), rtol=1e-12)

    def test_where_nothing_differs_p_values_are_uniform(self, name):
        null = preprocess.drop_empty(simulate.splatter(400, 1000, group_probs=(0.5, 0.5), de_prob=0.0, seed=3))
        preprocess.log_normalize(null)
        found = run(CELL_TESTS[name], null, "group", "group_0")
        detected = (null.X > 0).sum(axis=0).A1 if hasattr((null.X > 0).sum(axis=0), "A1") else (null.X > 0).sum(axis=0)
        often = found.loc[null.var_names[np.asarray(detected).ravel() > 40]]
        assert stats.kstest(often.p_value, "uniform").pvalue > 1e-3 and not (found.fdr < 0.05).any()

    def test_a_gene_that_is_constant_gives_1_and_no_warning(self, cells, name):
        flat = cells.copy()
        flat.X, flat.layers["log_normalized"] = flat.X.toarray(), dense(flat)
        flat.layers["log_normalized"][:, 7] = 2.5
        row = run(CELL_TESTS[name], flat, "group", "group_0").loc[flat.var_names[7]]
        assert row.p_value == row.fdr == 1 and row.score == (0.5 if name == "wilcoxon" else 0)

    def test_cells_without_a_label_take_no_part(self, cells, name):
        some = cells.copy()
        some.obs["label"] = some.obs["group"].astype(object)
        out = np.flatnonzero(some.obs["label"] == "group_1")[:20]
        some.obs.loc[some.obs_names[out], "label"] = np.nan
        keep = np.setdiff1d(np.arange(some.n_obs), out)
        found, expected = (run(CELL_TESTS[name], d, "label", "group_0") for d in (some, some[keep].copy()))
        pd.testing.assert_frame_equal(found, expected)


def test_the_score_of_wilcoxon_is_the_area_under_the_roc_curve(cells):
    from sklearn.metrics import roc_auc_score

    found = run(differential.wilcoxon, cells, "group", "group_0")
    ours, values = cells.obs["group"] == "group_0", dense(cells)
    for gene in found.index[[0, 50, 199]]:
        expected = roc_auc_score(ours, values[:, cells.var_names.get_loc(gene)])
        assert found.score[gene] == pytest.approx(expected, abs=1e-12)


def test_more_genes_than_a_chunk_give_what_they_give_at_once(cells, monkeypatch):
    once = run(differential.wilcoxon, cells, "group", "group_0")
    monkeypatch.setattr(classical, "CHUNK", 7)
    pd.testing.assert_frame_equal(run(differential.wilcoxon, cells, "group", "group_0"), once)


def test_p_values_below_single_precision_are_told_apart():
    rng = np.random.default_rng(0)
    x = np.c_[np.r_[rng.poisson(2, 600), rng.poisson(9, 600)], np.r_[rng.poisson(2, 600), rng.poisson(30, 600)]]
    data = ad.AnnData(sparse.csr_matrix(np.c_[x, np.full(1200, 50)].astype(np.float32)))
    data.obs["group"] = ["a"] * 600 + ["b"] * 600
    preprocess.log_normalize(data)
    first, second = run(differential.wilcoxon, data, "group", "a").p_value.iloc[:2]
    assert 0 < first < second < 1e-45


class TestFoldChange:
    def test_it_is_the_log2_ratio_of_mean_proportions(self, cells):
        x = cells.X.toarray().astype(np.float64)
        share = x / x.sum(axis=1, keepdims=True)
        a, b = (share[cells.obs["group"] == name].mean(axis=0) for name in ("group_0", "group_1"))
        found = run(differential.t_test, cells, "group", "group_0", "group_1", pseudocount=1e-3)
        np.testing.assert_allclose(found.lfc[cells.var_names], np.log2((a + 1e-3) / (b + 1e-3)), rtol=1e-9, atol=1e-12)

    def test_it_is_near_the_truth_where_counts_are_many(self):
        data = preprocess.drop_empty(simulate.splatter(2000, 100, group_probs=(0.5, 0.5), bcv=(0.1, 0.1), seed=5))
        preprocess.log_normalize(data)
        rate = pd.DataFrame(data.layers["true_rate"]).groupby(data.obs["group"].to_numpy()).mean()
        truth = np.log2(rate.loc["group_0"] / rate.loc["group_1"]).to_numpy()
        share = pd.DataFrame(data.X.toarray() / data.X.sum(axis=1).reshape(-1, 1)).groupby(data.obs["group"].to_numpy())
        relative = (share.var() / share.size().to_numpy()[:, None]) / share.mean() ** 2
        error = np.sqrt(relative.sum().to_numpy()) / np.log(2)  # of the log2 ratio, by the delta method
        found = run(differential.t_test, data, "group", "group_0", pseudocount=1e-9).lfc[data.var_names]
        high = rate.mean().to_numpy() > 1e-3
        assert high.sum() > 50 and error[high].max() < 0.1
        assert np.abs((found - truth) / error)[high].max() < 4.5


class TestPseudobulk:
    def log_shares(self, cells, label: str, names) -> np.ndarray:
        rows = []
        for name in names:
            total = cells.X.toarray()[(cells.obs["group"] == label) & (cells.obs["donor"] == name)].sum(
                axis=0, dtype=float
            )
            rows.append(np.log2(total / total.sum() + classical.PSEUDOCOUNT))
        return np.array(rows)

    def test_with_every_donor_on_both_sides_it_is_a_paired_t_test(self, cells):
        found = run(differential.pseudobulk, cells, "group", "group_0", "group_1", donor="donor").loc[cells.var_names]
        a, b = (self.log_shares(cells, label, "abcd") for label in ("group_0", "group_1"))
        expected = stats.ttest_1samp(a - b, 0.0)
        np.testing.assert_allclose(found.p_value, expected.pvalue, rtol=1e-6)
        np.testing.assert_allclose(found.score, expected.statistic, rtol=1e-6)
        np.testing.assert_allclose(found.lfc, (a - b).mean(axis=0), rtol=1e-6, atol=1e-9)

    def test_with_donors_on_one_side_only_it_is_welchs(self, cells):
        some = cells[~((cells.obs["group"] == "group_1") & (cells.obs["donor"] == "d"))].copy()
        found = run(differential.pseudobulk, some, "group", "group_0", "group_1", donor="donor").loc[some.var_names]
        a, b = self.log_shares(some, "group_0", "abcd"), self.log_shares(some, "group_1", "abc")
        difference = a.mean(0) - b.mean(0)
        with np.errstate(invalid="ignore"):
            t = difference / np.sqrt(a.var(0, ddof=1) / 4 + b.var(0, ddof=1) / 3)
        np.testing.assert_allclose(found.score, np.nan_to_num(t), rtol=1e-6)
        np.testing.assert_allclose(found.lfc, difference, rtol=1e-6, atol=1e-9)

    def test_a_donors_effect_fools_the_tests_of_cells_and_not_this_one(self):
        rng = np.random.default_rng(2)
        donors = [f"{side}{i}" for side in "ab" for i in range(5)]
        mean = rng.gamma(2.0, 5.0, 300) * rng.lognormal(0, 0.3, (10, 300))  # donors differ, the sides do not
        x = np.concatenate([rng.poisson(m, (100, 300)) for m in mean])
        data = ad.AnnData(sparse.csr_matrix(x.astype(np.float32)))
        data.obs["donor"] = np.repeat(donors, 100)
        data.obs["side"] = data.obs["donor"].str[0]
        preprocess.log_normalize(data)
        between_cells = [(run(test, data, "side", "a").fdr < 0.05).mean() for test in CELL_TESTS.values()]
        between_donors = (run(differential.pseudobulk, data, "side", "a", donor="donor").fdr < 0.05).mean()
        assert min(between_cells) > 0.5 and between_donors < 0.02

    def test_one_donor_is_refused_in_words(self, cells):
        one = cells.copy()
        one.obs["donor"] = "a"
        with pytest.raises(ValueError, match="group has cells of 1 donor; how donors vary takes at least 2"):
            differential.pseudobulk(one, "group", "group_0", donor="donor")

    def test_a_cell_without_a_donor_is_named_only_where_it_is_compared(self, cells):
        some = cells.copy()
        some.obs["donor"] = some.obs["donor"].astype(object)
        some.obs.loc[some.obs_names[np.flatnonzero(some.obs["group"] == "group_2")[:3]], "donor"] = None
        run(differential.pseudobulk, some, "group", "group_0", "group_1", donor="donor")
        with pytest.raises(ValueError, match="3 of the cells compared have no 'donor'"):
            differential.pseudobulk(some, "group", "group_0", donor="donor")


@pytest.mark.parametrize("test", [*CELL_TESTS.values(), differential.pseudobulk], ids=[*CELL_TESTS, "pseudobulk"])
class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (("kind", "group_0"), "adata.obs has no column 'kind' \\(columns: 'group'"),
            (("group", "group_9"), "group is 'group_9'; adata.obs\\['group'\\] has 'group_0', 'group_1', 'group_2'"),
            (("group", "group_0", "B"), "reference is 'B'; adata.obs\\['group'\\] has 'group_0'"),
            (("group", "group_0", "group_0"), "group and reference are both 'group_0'; name two groups"),
            (("all", "one"), "reference has 0 cell\\(s\\); this comparison needs at least"),
        ],
    )
    def test_a_label_that_is_missing_is_named_and_so_are_those_there_are(self, cells, test, labels, message):
        data = cells.copy()
        data.obs["all"] = "one"
        more = {"donor": "donor"} if test is differential.pseudobulk else {}
        with pytest.raises(ValueError, match=message):
            test(data, *labels, **more)

    def test_counts_that_are_none_are_refused(self, cells, test):
        data = cells.copy()
        data.X = data.layers["log_normalized"]
        more = {"donor": "donor"} if test is differential.pseudobulk else {}
        with pytest.raises(ValueError, match="It looks log-normalised"):
            test(data, "group", "group_0", **more)

    @pytest.mark.parametrize("pseudocount", [0, -1, np.nan, np.inf])
    def test_a_pseudocount_is_above_0(self, cells, test, pseudocount):
        more = {"donor": "donor"} if test is differential.pseudobulk else {}
        with pytest.raises(ValueError, match=r"pseudocount is .+; it must be a finite number above 0"):
            test(cells, "group", "group_0", pseudocount=pseudocount, **more)


def test_a_single_cell_has_no_variance_and_the_t_test_says_so(cells):
    few = cells.copy()
    few.obs["label"] = np.where(np.arange(few.n_obs) == 3, "one", "rest")
    with pytest.raises(ValueError, match="group has 1 cell\\(s\\); this comparison needs at least 2 on each side"):
        differential.t_test(few, "label", "one")
    assert len(run(differential.wilcoxon, few, "label", "one")) == few.n_vars


def test_groups_may_be_numbers(cells):
    data = cells.copy()
    data.obs["code"] = data.obs["group"].cat.codes
    ours, theirs = groups.two_groups(data, "code", 0, 2)
    assert (data.obs["group"].iloc[ours] == "group_0").all() and (data.obs["group"].iloc[theirs] == "group_2").all()
