"""Figures: labelled axes come back, the data are what is drawn, and nothing global changes."""

import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Circle

from course_lib import drawings, plotting
from course_lib.drawings.graphs import BACK
from course_lib.drawings.variational import variational_autoencoder
from course_lib.training import History

Z = np.random.default_rng(0).normal(size=(30, 2))
LABELS = np.array(["b", "a", "c"] * 10)


def history(validation=True, n_epochs=3) -> History:
    records = [{"train_loss": 9.0 - i} | ({"validation_loss": 10.0 - i} if validation else {}) for i in range(n_epochs)]
    return History("nats per cell", np.arange(3), records)


def draw_all(ax_of):
    """Every function that takes ``ax``, drawn into ``ax_of()``."""
    return {
        "embedding": plotting.embedding(Z, LABELS, ax=ax_of(), title="cells"),
        "loss_curves": plotting.loss_curves(history(), ax=ax_of(), title="loss"),
        "count_matrix": plotting.count_matrix(np.arange(6).reshape(2, 3), ax=ax_of(), title="counts"),
        "deviations": plotting.deviations(Z, ax=ax_of(), title="centred"),
        "curve": plotting.curve([1, 2], {"PCA": [0.1, 0.2]}, ax=ax_of(), xlabel="d", ylabel="R²", title="curve"),
    }


@pytest.fixture(autouse=True)
def clean_figures():
    plt.close("all")
    yield
    plt.close("all")


class TestAxes:
    def test_each_function_draws_into_the_axes_it_is_given_and_returns_them(self):
        made = []

        def ax_of():
            made.append(plt.figure().add_subplot())
            return made[-1]

        for given, (name, returned) in zip(made, draw_all(ax_of).items(), strict=True):
            assert returned is given and given.has_data(), name

    def test_given_axes_no_figure_is_opened_and_the_current_one_stays_current(self):
        axes = [plt.figure().add_subplot() for _ in range(5)]
        current = plt.figure().add_subplot()
        draw_all(iter(axes).__next__)
        assert len(plt.get_fignums()) == 6 and plt.gca() is current and not current.has_data()

    def test_without_axes_the_current_ones_are_used(self):
        current = plt.figure().add_subplot()
        assert plotting.embedding(Z, LABELS) is current

    def test_every_axis_is_labelled_and_every_picture_titled(self):
        for name, ax in draw_all(lambda: plt.figure().add_subplot()).items():
            assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title(), name

    def test_rc_parameters_and_random_states_stay_as_they_are(self):
        rc, state = dict(matplotlib.rcParams), np.random.get_state()[1].tolist()  # noqa: NPY002
        draw_all(lambda: plt.figure().add_subplot())
        plotting.images({"a": np.zeros((2, 4))}, (2, 2))
        plotting.pair()
        drawings.autoencoder(plt.figure().add_subplot())
        assert dict(matplotlib.rcParams) == rc
        assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


class TestStyle:
    def test_set_style_sets_the_colour_blind_safe_palette_and_the_size(self):
        with plt.rc_context():
            plotting.set_style()
            cycle = [to_hex(entry["color"]) for entry in plt.rcParams["axes.prop_cycle"]]
            assert cycle[:3] == ["#0173b2", "#de8f05", "#029e73"]
            assert tuple(plt.rcParams["figure.figsize"]) == (6.0, 3.7) and plt.rcParams["figure.dpi"] == 100

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_pair_gives_a_figure_with_that_many_panels(self, n):
        figure, axes = plotting.pair(n)
        assert axes.shape == (n,) and figure.axes == list(axes)
        assert tuple(figure.get_size_inches()) == (10.0, 3.7)


class TestEmbedding:
    def collections(self, labels, z=Z):
        return {c.get_label(): c for c in plotting.embedding(z, labels, ax=plt.figure().add_subplot()).collections}

    def test_every_cell_is_drawn_once_under_its_label(self):
        drawn = self.collections(LABELS)
        assert set(drawn) == {"a", "b", "c"}
        for label, points in drawn.items():
            shown = points.get_offsets().data
            assert sorted(map(tuple, shown)) == sorted(map(tuple, Z[LABELS == label]))

    def test_only_the_first_two_columns_are_drawn(self):
        wide = np.c_[Z, 100 + Z]
        drawn = np.vstack([c.get_offsets() for c in self.collections(LABELS, wide).values()])
        assert drawn.shape == (30, 2) and drawn.max() < 50

    def test_categories_keep_their_order_and_unused_ones_are_left_out(self):
        labels = pd.Categorical(LABELS, categories=["c", "x", "a", "b"])
        assert list(self.collections(labels)) == list(self.collections(pd.Series(labels))) == ["c", "a", "b"]

    def test_plain_labels_are_sorted_and_numbers_by_value(self):
        assert list(self.collections(LABELS)) == ["a", "b", "c"]
        assert list(self.collections(np.tile([10, 9, 2], 10))) == ["2", "9", "10"]

    def test_no_two_labels_share_colour_and_marker_even_beyond_the_palette(self):
        labels = np.arange(30)
        looks = {
            (to_hex(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes())
            for c in self.collections(labels).values()
        }
        assert len(looks) == 30

    def test_neighbouring_labels_differ_in_marker_too(self):
        shapes = [c.get_paths()[0].vertices.tobytes() for c in self.collections(np.tile(np.arange(10), 3)).values()]
        assert len(set(shapes)) == 10

    def test_axes_are_named_and_the_legend_can_be_left_out(self):
        ax = plotting.embedding(Z, LABELS, ax=plt.figure().add_subplot(), names=("PC 1", "PC 2"), legend=False)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("PC 1", "PC 2") and ax.get_legend() is None
        ax = plotting.embedding(Z, LABELS, ax=plt.figure().add_subplot())
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]

    @pytest.mark.parametrize("labels", [LABELS[:-1], [*LABELS, "a"]])
    def test_labels_of_another_length_are_refused(self, labels):
        with pytest.raises(ValueError, match=f"{len(labels)} labels"):
            plotting.embedding(Z, labels)

    @pytest.mark.parametrize("z", [Z[:, :1], Z[:, 0], Z[None]])
    def test_what_is_no_table_of_two_columns_is_refused(self, z):
        with pytest.raises(ValueError, match="z has shape"):
            plotting.embedding(z, LABELS)


class TestLossCurves:
    def test_draws_both_curves_over_epochs_from_one_with_the_unit(self):
        ax = plotting.loss_curves(history(), ax=plt.figure().add_subplot())
        first, second = ax.lines
        assert list(first.get_xdata()) == [1, 2, 3] and list(first.get_ydata()) == [9, 8, 7]
        assert list(second.get_ydata()) == [10, 9, 8] and first.get_linestyle() != second.get_linestyle()
        assert ax.get_xlabel() == "epoch" and ax.get_ylabel() == "nats per cell"
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training cells", "held-out cells"]

    def test_without_held_out_cells_there_is_one_curve(self):
        assert len(plotting.loss_curves(history(validation=False), ax=plt.figure().add_subplot()).lines) == 1

    def test_epochs_are_marked_at_whole_numbers(self):
        ax = plotting.loss_curves(history(), ax=plt.figure().add_subplot())
        assert all(tick == round(tick) for tick in ax.get_xticks())

    def test_a_history_without_an_epoch_is_refused_with_why(self):
        with pytest.raises(ValueError, match=r"no finished epoch .stopped: interrupted"):
            plotting.loss_curves(History("nats", np.arange(0), [], "interrupted"))
        assert plt.get_fignums() == []


class TestCountMatrix:
    def test_shows_the_values_with_a_colour_bar_in_their_unit(self):
        ax = plotting.count_matrix(np.arange(6).reshape(2, 3), ax=plt.figure().add_subplot(), unit="log count")
        np.testing.assert_array_equal(ax.images[0].get_array(), [[0, 1, 2], [3, 4, 5]])
        assert ax.images[0].norm.vmin == 0
        assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["log count"]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("gene", "cell")


class TestDeviations:
    def test_zero_is_the_middle_of_the_colours_and_the_limit_its_ends(self):
        image = plotting.deviations(Z, ax=plt.figure().add_subplot(), limit=1.5).images[0]
        np.testing.assert_array_equal(image.get_array(), Z)
        assert (image.norm.vmin, image.norm.vmax) == (-1.5, 1.5)
        assert image.cmap.name == "RdBu_r"


class TestImages:
    def test_shows_each_row_under_its_name_on_one_grey_scale(self):
        pictures = np.linspace(0, 0.5, 3 * 6).reshape(3, 6)
        figure = plotting.images({"input": pictures, "output": 1 - pictures}, (2, 3), title="digits")
        assert len(figure.axes) == 6 and figure.get_suptitle() == "digits"
        assert [ax.get_ylabel() for ax in figure.axes] == ["input", "", "", "output", "", ""]
        for ax in figure.axes:
            assert ax.images[0].get_array().shape == (2, 3) and ax.images[0].get_clim() == (0, 1)
        np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), 1 - pictures[1].reshape(2, 3))

    def test_rows_of_unequal_length_are_refused(self):
        with pytest.raises(ValueError, match="zip"):
            plotting.images({"a": np.zeros((2, 4)), "b": np.zeros((3, 4))}, (2, 2))


class TestCurve:
    def test_draws_each_line_with_its_name_and_marker(self):
        ax = plotting.curve([1, 2, 4], {"AE": [1, 2, 3], "PCA": [3, 2, 1]}, ax=plt.figure().add_subplot())
        assert [line.get_label() for line in ax.lines] == ["AE", "PCA"]
        assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
        assert list(ax.lines[1].get_ydata()) == [3, 2, 1] and ax.get_legend() is not None

    def test_several_seeds_give_their_mean_and_a_band_over_their_range(self):
        ax = plotting.curve([1, 2], {"AE": [[1.0, 3.0], [2.0, 6.0]]}, ax=plt.figure().add_subplot())
        assert list(ax.lines[0].get_ydata()) == [2, 4]
        heights = ax.collections[0].get_paths()[0].vertices
        for x, low, high in ((1, 1, 3), (2, 2, 6)):
            at = heights[heights[:, 0] == x, 1]
            assert (at.min(), at.max()) == (low, high)

    def test_a_logarithmic_axis_names_the_points_themselves(self):
        ax = plotting.curve([2, 8, 32], {"AE": [1, 2, 3]}, ax=plt.figure().add_subplot(), log_x=True)
        assert ax.get_xscale() == "log" and [text.get_text() for text in ax.get_xticklabels()] == ["2", "8", "32"]

    @pytest.mark.parametrize("values", [[1, 2], np.ones((2, 3)), np.ones(6)])
    def test_values_without_one_row_per_point_are_refused(self, values):
        with pytest.raises(ValueError, match=r"lines\['AE'\] has \d rows for 3 values"):
            plotting.curve([1, 2, 3], {"AE": values})


class TestDrawings:
    def test_the_autoencoder_names_its_parts_and_sizes(self):
        ax = plt.figure().add_subplot()
        assert drawings.autoencoder(ax, sizes=("2,000", "2", "2,000")) is ax
        words = [text.get_text() for text in ax.texts]
        assert {"$x$", "encoder", "$z$", "decoder", "2,000", "2"} <= set(words)
        assert not ax.axison

    def test_the_channel_has_shannons_words_over_our_parts_in_his_order(self):
        _, ax = plt.subplots()
        assert drawings.channel(ax) is ax
        at = {text.get_text(): text.get_position()[0] for text in ax.texts if text.get_text()}
        pairs = {"source": "$x$", "transmitter": "encoder", "channel": "code $z$", "receiver": "decoder"}
        assert all(at[word] == at[part] for word, part in pairs.items())
        assert list(pairs) == sorted(pairs, key=at.get) and at["rounding, noise"] == at["channel"]

    @pytest.mark.parametrize("draw", [drawings.autoencoder, drawings.channel, variational_autoencoder])
    def test_everything_drawn_lies_inside_the_axes(self, draw):
        figure, ax = plt.subplots()
        draw(ax)
        figure.canvas.draw()
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        for patch in ax.patches:
            corners = patch.get_path().transformed(patch.get_patch_transform()).vertices
            assert left <= corners[:, 0].min() and corners[:, 0].max() <= right
            assert bottom <= corners[:, 1].min() and corners[:, 1].max() <= top

    def test_the_vae_draws_its_code_and_has_a_prior_and_the_autoencoder_does_not(self):
        _, axes = plotting.pair()
        drawings.ae_and_vae(axes)
        words = [[text.get_text() for text in ax.texts] for ax in axes]
        only = {r"$\mu$", r"$\log\,\sigma_z^2$", "drawn", r"prior $N(0, I)$"}
        assert only <= set(words[1]) and not only & set(words[0]) and words[1].count("drawn") == 2
        at = [{text.get_text(): text.get_position()[0] for text in ax.texts} for ax in axes]
        assert at[1]["$z$"] == at[1][r"prior $N(0, I)$"] and at[1][r"$\mu$"] < at[1]["$z$"] < at[1][r"$\hat{x}$"]
        assert [ax.get_title() for ax in axes] == ["autoencoder", "variational autoencoder"]

    def test_three_ways_in_fill_three_axes(self):
        _, axes = plotting.pair(3)
        drawings.way_in(axes)
        assert all(ax.get_title() and ax.texts for ax in axes)
        with pytest.raises(ValueError, match="zip"):
            drawings.way_in(axes[:2])

    def test_the_gradient_passes_the_computed_code_and_stops_at_the_drawn_one(self):
        figure, axes = plotting.pair()
        drawings.reparameterization(axes)
        figure.canvas.draw()
        for ax, circle, below in zip(axes, ("$z$", "$\\varepsilon$"), (0, 4), strict=True):
            at = {text.get_text(): text.get_position() for text in ax.texts}
            [drawn] = [patch for patch in ax.patches if isinstance(patch, Circle)]
            assert drawn.center == at[circle]
            arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
            back = [arrow for arrow in arrows if to_hex(arrow.arrow_patch.get_edgecolor()) == BACK]
            assert sum(arrow.xy[1] < 3 for arrow in back) == below and len(back) == below + 1
            assert all(math.dist(arrow.xy, drawn.center) >= drawn.radius for arrow in back)
            (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
            for x, y in at.values():
                assert left <= x <= right and bottom <= y <= top

    def test_the_best_line_is_the_first_principal_axis_and_every_point_has_its_foot_on_it(self):
        x = Z @ np.array([[2.0, 0.7], [0.0, 0.4]])
        x -= x.mean(axis=0)
        axis = np.linalg.eigh(x.T @ x)[1][:, -1]
        figure, axes = plotting.pair()
        drawings.best_line(x, axes)
        figure.canvas.draw()
        *drops, line = axes[0].lines
        np.testing.assert_allclose(axes[0].collections[0].get_offsets(), x)
        assert line.get_slope() == pytest.approx(axis[1] / axis[0], abs=np.radians(1))
        for drop, point in zip(drops, x, strict=True):
            np.testing.assert_allclose(drop.get_xydata(), [point, axis @ point * axis], atol=0.05)

    def test_beside_it_is_the_loss_of_every_direction_least_at_that_axis(self):
        x = Z - Z.mean(axis=0)
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        _, axes = plotting.pair()
        drawings.best_line(x, axes)
        curve, mark = axes[1].lines
        directions, lost = curve.get_xdata(), curve.get_ydata()
        assert directions[0] == 0 and directions[-1] == 180
        assert [lost.min(), lost.max()] == pytest.approx(values, rel=1e-3)
        best = np.degrees(np.arctan2(*vectors[::-1, -1])) % 180
        assert mark.get_xydata()[0] == pytest.approx([directions[lost.argmin()], lost.min()])
        assert mark.get_xdata()[0] == pytest.approx(best, abs=0.51)
        assert axes[1].get_ylim()[0] == 0
        assert all(ax.get_xlabel() and ax.get_ylabel() and ax.get_title() for ax in axes)


class TestLatentSpace:
    AXIS = np.linspace(-2, 2, 5)

    def test_a_value_lies_where_its_two_latent_numbers_say(self):
        values = np.zeros((5, 5))
        values[4, 1] = 1.0  # z₁ = 2, z₂ = −1
        _, ax = plt.subplots()
        assert plotting.plane(values, self.AXIS, ax, "map", "distance") is ax
        [image] = ax.images
        row, column = np.argwhere(image.get_array() == 1)[0]
        left, right, bottom, top = image.get_extent()
        assert left + (column + 0.5) * (right - left) / 5 == 2 and bottom + (row + 0.5) * (top - bottom) / 5 == -1
        assert image.origin == "lower" and (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("z₁", "z₂", "map")
        assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["distance"]

    def test_without_a_label_there_is_no_bar_and_the_current_axes_are_used(self):
        ax = plt.gca()
        assert plotting.plane(np.eye(5), self.AXIS) is ax and ax.figure.axes == [ax]

    @pytest.mark.parametrize("shape", [(5, 4), (25,), (4, 4)])
    def test_values_that_are_no_square_over_the_axis_are_refused(self, shape):
        with pytest.raises(ValueError, match="5 points"):
            plotting.plane(np.zeros(shape), self.AXIS)

    def test_an_ellipse_lies_at_so_many_standard_deviations(self):
        _, ax = plt.subplots()
        assert plotting.ellipse((1.0, -2.0), (0.5, 2.0), ax, radii=(1, 2), color="black") is ax
        assert [(patch.center, patch.width, patch.height) for patch in ax.patches] == [
            ((1.0, -2.0), 1.0, 4.0),
            ((1.0, -2.0), 2.0, 8.0),
        ]
        assert all(not patch.get_fill() and to_hex(patch.get_edgecolor()) == "#000000" for patch in ax.patches)
        assert plotting.ellipse((0, 0), (1, 1)) is plt.gca()
