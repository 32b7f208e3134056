"""The data that travel with the package, that are drawn or downloaded: what they hold, and where they come from."""

import functools
import gzip
import hashlib
import http.server
import math
import socket
import sys
import threading
from importlib.resources import files

import numpy as np
import pooch
import pytest
from scipy import sparse
from scipy.interpolate import BPoly

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


def bezier(points, n):
    """(n, 2) places on the quadratic Bézier curve of three points, by scipy's Bernstein polynomials."""
    return BPoly(points[:, None, :], [0, 1])(np.linspace(0, 1, n))


class TestCurves:
    @pytest.fixture(scope="class")
    @staticmethod
    def drawn():
        return datasets.curves(200, seed=3)

    def test_shapes_types_and_range(self, drawn):
        images, points = drawn
        assert images.shape == (200, 784) and images.dtype == np.float32
        assert points.shape == (200, 3, 2) and points.dtype == np.float64
        assert images.min() == 0 and 0.99 < images.max() <= 1

    def test_grey_values_are_256_steps_and_nearly_all_are_in_use(self, drawn):
        steps = drawn[0].astype(np.float64) * 255
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
        assert len(np.unique(np.round(steps))) > 250

    def test_points_are_uniform_over_the_inner_pixels(self):
        _, points = datasets.curves(4000)
        assert points.min() >= 4 and points.max() <= 23
        flat = np.sort((points.ravel() - 4) / 19)
        assert np.abs(flat - np.linspace(0, 1, flat.size)).max() < 1.63 / np.sqrt(flat.size)  # Kolmogorov, 1%
        assert np.abs(np.corrcoef(points.reshape(4000, 6).T) - np.eye(6)).max() < 4 / np.sqrt(4000)

    def test_each_pixel_is_a_gaussian_of_its_distance_from_the_nearest_of_48_places(self, drawn):
        images, points = drawn
        for image, three in zip(images[:10], points, strict=False):
            places = bezier(three, 48)
            for row, column in np.ndindex(28, 28):
                distance = min(math.dist((column, row), place) for place in places)
                expected = round(255 * math.exp(-(distance**2) / 2)) / 255
                assert image.reshape(28, 28)[row, column] == pytest.approx(expected, abs=1e-6)

    def test_the_places_are_near_enough_to_stand_for_the_whole_curve(self, drawn):
        images, points = drawn
        rows, columns = np.mgrid[:28, :28]
        worst = []
        for image, three in zip(images[:50], points, strict=False):
            places = bezier(three, 2000)
            squares = (
                (rows.ravel()[:, None] - places[:, 1]) ** 2 + (columns.ravel()[:, None] - places[:, 0]) ** 2
            ).min(1)
            worst.append(np.abs(image - np.exp(-squares / 2)).max())
        assert np.median(worst) < 0.04 and max(worst) < 0.1

    def test_the_stroke_has_its_ends_at_the_first_and_third_point(self, drawn):
        for image, (first, _, third) in zip(*drawn, strict=True):
            for end in (first, third):
                column, row = np.round(end).astype(int)
                assert image.reshape(28, 28)[row, column] > math.exp(-0.25) - 0.01  # at most √½ pixel away

    def test_the_second_point_pulls_and_is_not_passed(self, drawn):
        image, (first, second, third) = drawn[0][0].reshape(28, 28), drawn[1][0]
        column, row = np.round(0.25 * first + 0.5 * second + 0.25 * third).astype(int)  # where the curve is at ½
        assert image[row, column] > 0.7

    def test_seed_decides_and_more_images_begin_with_the_same(self):
        images, points = datasets.curves(5, seed=1)
        more, again = datasets.curves(8, seed=1)
        np.testing.assert_array_equal(more[:5], images)
        np.testing.assert_array_equal(again[:5], points)
        assert not np.array_equal(datasets.curves(5, seed=2)[0], images)
        np.testing.assert_array_equal(datasets.curves(5)[0], datasets.curves(5, seed=0)[0])

    @pytest.mark.parametrize("n", [0, -1, 2.5, None, "10"])
    def test_a_number_of_images_that_is_none_is_refused(self, n):
        with pytest.raises(ValueError, match=r"n is .* whole number, at least 1"):
            datasets.curves(n)


NAMES = list(datasets.MNIST_FILES)


def idx(values: np.ndarray, magic=None) -> bytes:
    """An idx file of bytes, as LeCun describes it, compressed."""
    header = bytes([0, 0, 8, values.ndim]) if magic is None else magic
    lengths = b"".join(length.to_bytes(4, "big") for length in values.shape)
    return gzip.compress(header + lengths + values.astype(np.uint8).tobytes())


def digits_of(n, seed) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28)), rng.integers(0, 10, n)


@pytest.fixture
def folder(tmp_path):
    """A folder with the four files: seven images to train with, three to test with."""
    for name, values in zip(NAMES, (*digits_of(7, 0), *digits_of(3, 1)), strict=True):
        (tmp_path / name).write_bytes(idx(values))
    return tmp_path


class TestMnistInAFolder:
    @pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "Path"])
    def test_comes_as_rows_of_grey_values_and_labels(self, folder, kind):
        found = datasets.mnist(kind(folder))
        assert [part.dtype for part in found] == [np.float32, np.int64, np.float32, np.int64]
        assert [part.shape for part in found] == [(7, 784), (7,), (3, 784), (3,)]
        for got, values in zip(found, (*digits_of(7, 0), *digits_of(3, 1)), strict=True):
            scale = 255 if values.ndim == 3 else 1
            np.testing.assert_allclose(got * scale, values.reshape(len(values), -1).squeeze(), rtol=1e-6)

    def test_grey_values_run_from_zero_to_one_and_rows_first(self, folder):
        image = np.zeros((7, 28, 28))
        image[0, 2, 5], image[0, 2, 6] = 255, 51
        (folder / NAMES[0]).write_bytes(idx(image))
        row = datasets.mnist(folder)[0][0]
        assert row[2 * 28 + 5] == 1 and row[2 * 28 + 6] == np.float32(0.2) and row.sum() == pytest.approx(1.2)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_missing_file_is_named_with_what_the_folder_must_hold(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"{name} does not exist; path must be a folder that holds train-images"):
            datasets.mnist(folder)

    @pytest.mark.parametrize(
        "damage", [lambda b: b[:-9], lambda b: b[: len(b) // 2], lambda b: b[:3], lambda b: b"<html>"]
    )
    @pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
    def test_a_file_cut_short_or_not_compressed_is_damaged(self, folder, name, damage):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(damage(content))
        with pytest.raises(ValueError, match=f"{name} is damaged or no gzip file .* download it again"):
            datasets.mnist(folder)

    @pytest.mark.parametrize("place", [10, 2000], ids=["compression", "values"])
    def test_a_file_with_a_byte_changed_is_damaged(self, folder, place):
        content = bytearray((folder / NAMES[0]).read_bytes())
        content[place] = 255 - content[place] if place > 10 else 255  # 255: no kind of block
        (folder / NAMES[0]).write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            datasets.mnist(folder)

    @pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"\0\0\x08\x03\0\0\0\x07\0\0", b"hello world, hello"])
    def test_a_file_without_a_whole_header_is_no_idx_file(self, folder, content):
        (folder / NAMES[0]).write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match=f"{NAMES[0]} starts with b.* not with .* and a shape"):
            datasets.mnist(folder)

    @pytest.mark.parametrize("magic", [bytes([0, 0, 8, 1]), bytes([0, 0, 13, 3]), bytes([8, 0, 0, 3])])
    def test_another_magic_number_is_refused(self, folder, magic):
        (folder / NAMES[0]).write_bytes(idx(digits_of(7, 0)[0], magic))
        with pytest.raises(ValueError, match=f"{NAMES[0]} starts with"):
            datasets.mnist(folder)

    def test_labels_in_the_place_of_images_are_refused(self, folder):
        (folder / NAMES[0]).write_bytes((folder / NAMES[1]).read_bytes())
        with pytest.raises(ValueError, match=f"{NAMES[0]} starts with"):
            datasets.mnist(folder)

    @pytest.mark.parametrize("change", [-1, 1])
    def test_fewer_or_more_values_than_the_header_says_are_refused(self, folder, change):
        content = gzip.decompress(idx(digits_of(7, 0)[0]))
        (folder / NAMES[0]).write_bytes(gzip.compress(content[:-1] if change < 0 else content + b"\0"))
        with pytest.raises(ValueError, match=rf"says \[7, 28, 28\] and holds {7 * 784 + change} values"):
            datasets.mnist(folder)

    @pytest.mark.parametrize(("place", "shape"), [(0, (7, 27, 28)), (0, (6, 28, 28)), (2, (4, 28, 28)), (1, (8,))])
    def test_images_of_another_size_or_number_than_the_labels_are_refused(self, folder, place, shape):
        (folder / NAMES[place]).write_bytes(idx(np.zeros(shape)))
        with pytest.raises(ValueError, match="28 × 28 pixels and one label to an image"):
            datasets.mnist(folder)


class TestMnistDownloaded:
    """From a server of the test's own, with the sums of the test's own files."""

    @pytest.fixture
    def server(self, folder, tmp_path_factory, monkeypatch):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                asked.append(self.path)

        handler = functools.partial(Handler, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in NAMES}
            cache = tmp_path_factory.mktemp("cache")
            self.points_to(monkeypatch, f"http://127.0.0.1:{server.server_port}/", cache)
            monkeypatch.setattr(datasets, "MNIST_FILES", sums)
            yield asked, folder, cache
            server.shutdown()
            thread.join()

    @staticmethod
    def points_to(monkeypatch, url, cache):
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(pooch, "os_cache", lambda project: cache / project)
        monkeypatch.setattr(datasets, "MNIST_URL", url)

    def test_once_and_then_read_from_the_cache(self, server):
        asked, folder, cache = server
        first, again = datasets.mnist(), datasets.mnist()
        assert sorted(asked) == sorted("/" + name for name in NAMES)
        assert {path.name for path in (cache / "course_lib" / "mnist").iterdir()} == set(NAMES)
        for one, other, third in zip(first, again, datasets.mnist(folder), strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(one, third)

    def test_again_where_a_file_in_the_cache_was_cut_short(self, server):
        asked, _, cache = server
        expected = datasets.mnist()[0]
        kept = cache / "course_lib" / "mnist" / NAMES[0]
        kept.write_bytes(kept.read_bytes()[:-20])
        np.testing.assert_array_equal(datasets.mnist()[0], expected)
        assert len(asked) == 5

    def test_a_file_with_another_sum_is_refused_and_not_kept(self, server):
        _, folder, cache = server
        (folder / NAMES[1]).write_bytes(idx(np.ones(7)))
        with pytest.raises(OSError, match=f"{NAMES[1]} could not be downloaded .*hash.*give it as path"):
            datasets.mnist()
        assert not (cache / "course_lib" / "mnist" / NAMES[1]).exists()

    def test_a_file_that_the_mirror_does_not_have_is_named(self, server):
        _, folder, _ = server
        (folder / NAMES[2]).unlink()
        with pytest.raises(OSError, match=f"{NAMES[2]} could not be downloaded .*404.*Try again later, or put"):
            datasets.mnist()

    def test_without_a_network_it_says_what_to_do(self, tmp_path, monkeypatch):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
            self.points_to(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/", tmp_path)
            with pytest.raises(OSError, match=r"could not be downloaded .* into a folder and give it as path"):
                datasets.mnist()

    def test_without_pooch_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pooch", None)
        with pytest.raises(ImportError, match="pip install pooch"):
            datasets.mnist()

    def test_a_folder_needs_no_pooch(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "pooch", None)
        assert len(datasets.mnist(folder)) == 4

    def test_the_names_are_the_four_and_the_sums_are_md5(self):
        assert NAMES == [f"{a}-{b}-ubyte.gz" for a in ("train", "t10k") for b in ("images-idx3", "labels-idx1")]
        assert all(len(md5) == 32 and int(md5, 16) for md5 in datasets.MNIST_FILES.values())
        assert datasets.MNIST_URL.startswith("https://") and datasets.MNIST_URL.endswith("/")
