"""The data that travel with the package: what they hold, and where they come from."""

from importlib.resources import files

import numpy as np
import pytest
from scipy import sparse

from course_lib import datasets, preprocess

LABELS = {
    "Dendritic": 240,
    "CD14+ Monocyte": 129,
    "CD19+ B": 95,
    "CD4+/CD25 T Reg": 68,
    "CD8+ Cytotoxic T": 54,
    "CD8+/CD45RA+ Naive Cytotoxic": 43,
    "CD56+ NK": 31,
    "CD4+/CD45RO+ Memory": 19,
    "CD34+": 13,
    "CD4+/CD45RA+/CD25- Naive T": 8,
}


@pytest.fixture(scope="module")
def pbmc():
    return datasets.pbmc()


class TestPbmc:
    def test_shape_and_container(self, pbmc):
        assert pbmc.shape == (700, 765)
        assert sparse.issparse(pbmc.X) and pbmc.X.format == "csr" and pbmc.X.dtype == np.float32
        assert pbmc.obs_names.is_unique and pbmc.var_names.is_unique
        assert "CD3D" in pbmc.var_names and "CC BY 4.0" in pbmc.uns["source"]

    def test_label_counts(self, pbmc):
        assert pbmc.obs["cell_type"].value_counts().to_dict() == LABELS

    def test_counts_are_raw_counts_with_which_a_model_can_be_trained(self, pbmc):
        assert preprocess.check_counts(pbmc) is pbmc
        np.testing.assert_array_equal(pbmc.X.data, np.round(pbmc.X.data))
        assert pbmc.X.data.min() >= 1

    def test_the_panel_holds_about_a_fifth_of_each_cells_umis_and_never_more_than_all(self, pbmc):
        share = pbmc.X.sum(axis=1).A1 / pbmc.obs["n_counts"].to_numpy()
        assert (share > 0).all() and (share <= 1).all()
        assert np.median(share) == pytest.approx(0.2, abs=0.05)

    def test_no_cell_has_more_panel_genes_than_genes_detected(self, pbmc):
        assert (pbmc.X.getnnz(axis=1) <= pbmc.obs["n_genes"].to_numpy()).all()

    def test_counts_give_back_scanpys_log_normalised_values_at_its_three_decimals(self, pbmc):
        import scanpy

        stored = scanpy.datasets.pbmc68k_reduced().raw.to_adata()
        assert list(stored.obs_names) == list(pbmc.obs_names) and list(stored.var_names) == list(pbmc.var_names)
        ours = np.log1p(pbmc.X.toarray() * 1e4 / pbmc.obs["n_counts"].to_numpy()[:, None])
        assert np.abs(ours - stored.X.toarray()).max() < 0.6e-3

    def test_the_stored_file_is_what_the_script_derives_from_scanpys_wheel(self):
        from tools import assets

        derived = assets.pbmc_arrays()
        with (files("course_lib") / "data" / "pbmc.npz").open("rb") as file, np.load(file) as stored:
            assert set(stored.files) == set(derived)
            for name, array in derived.items():
                assert stored[name].dtype == array.dtype
                np.testing.assert_array_equal(stored[name], array)

    def test_each_call_gives_a_data_set_of_its_own(self, pbmc):
        other = datasets.pbmc()
        other.X.data[:] = 0
        assert pbmc.X.data.min() >= 1

    def test_known_marker_genes_are_highest_in_their_cell_type(self, pbmc):
        rate = preprocess.normalize(pbmc.copy(), library_key="n_counts").toarray()
        for gene, cell_type in {"CD79A": "CD19+ B", "GNLY": "CD56+ NK", "S100A8": "CD14+ Monocyte"}.items():
            mean = {name: rate[pbmc.obs["cell_type"] == name, pbmc.var_names.get_loc(gene)].mean() for name in LABELS}
            assert max(mean, key=mean.get) == cell_type


class TestDigits:
    def test_shape_type_and_scale(self):
        images, labels = datasets.digits()
        assert images.shape == (1797, 64) and images.dtype == np.float32
        assert labels.shape == (1797,) and labels.dtype == np.int64
        assert images.min() == 0 and images.max() == 1
        np.testing.assert_array_equal(images * 16, np.round(images * 16))

    def test_ten_digits_in_about_equal_number(self):
        _, labels = datasets.digits()
        kinds, counts = np.unique(labels, return_counts=True)
        assert list(kinds) == list(range(10)) and counts.min() >= 174 and counts.max() <= 183

    def test_images_belong_to_their_labels(self):
        from sklearn.model_selection import cross_val_score
        from sklearn.neighbors import KNeighborsClassifier

        images, labels = datasets.digits()
        assert cross_val_score(KNeighborsClassifier(1), images, labels, cv=3).min() > 0.9
