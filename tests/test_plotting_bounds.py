"""Figures of chapter 5: an ellipse is where the density says, weights have their lines, arrows lead where they say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import ConnectionPatch
from scipy import stats

from course_lib import plotting


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def outline(ax) -> np.ndarray:
    """Points on the last ellipse of some axes, in data coordinates."""
    patch = ax.patches[-1]
    return patch.get_patch_transform().transform(patch.get_path().vertices[:-1])


@pytest.mark.parametrize("covariance", [[[1, 0], [0, 4]], [[2, 1.2], [1.2, 1]], [[0.3, -0.2], [-0.2, 0.5]]])
def test_an_ellipse_lies_at_two_standard_deviations_in_every_direction(covariance):
    ax = plotting.ellipse((1, -2), covariance, plt.figure().add_subplot(), label="q", color="C1")
    away = outline(ax) - [1, -2]
    on_curve = np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away)
    assert on_curve[::3] == pytest.approx(4)  # every third vertex lies on the curve, the others steer it
    assert ax.patches[-1].get_label() == "q" and len(ax.patches) == 1
    assert stats.chi2(2).cdf(4) == pytest.approx(0.86, abs=0.005)


def test_its_radius_can_be_chosen():
    ax = plotting.ellipse((0, 0), np.eye(2), radii=(1,))
    assert np.linalg.norm(outline(ax)[::3], axis=1) == pytest.approx(1)


@pytest.mark.parametrize(("mean", "covariance"), [((0, 0, 0), np.eye(2)), ((0, 0), [1, 1, 1]), ((0, 0), np.eye(3))])
def test_an_ellipse_has_two_dimensions(mean, covariance):
    with pytest.raises(ValueError, match=r"mean has shape .*give \(2,\), and \(2,\) or \(2, 2\)"):
        plotting.ellipse(mean, covariance)


def test_weights_are_counted_and_the_two_lines_stand_at_elbo_and_evidence():
    log_ratio = np.random.default_rng(0).normal(-2, 0.3, 500)
    ax = plotting.weights(log_ratio, -2.0, -1.7, plt.figure().add_subplot(), title="q")
    assert sum(bar.get_height() for bar in ax.patches) == 500 and ax.get_title() == "q"
    assert {line.get_label(): line.get_xdata()[0] for line in ax.lines} == {"log P(x)": -1.7, "ELBO": -2.0}


def test_of_two_spaces_the_arrows_lead_from_a_cell_to_its_code_and_from_a_code_to_new_cells():
    rng = np.random.default_rng(0)
    figure, axes = plotting.pair()
    x, z, drawn = rng.normal(size=(30, 2)), rng.normal(size=(30, 2)), rng.normal(size=(8, 2)) + 3
    plotting.two_spaces(axes, x, z, [3, 5, 9], np.full((30, 2), 0.2), drawn)
    there, back = (artist for artist in figure.artists if isinstance(artist, ConnectionPatch))
    assert (there.axesA, there.axesB) == (axes[0], axes[1]) and (back.axesA, back.axesB) == (axes[1], axes[0])
    assert np.allclose([there.xy1, there.xy2], [x[3], z[3]])
    assert np.allclose([back.xy1, back.xy2], [z[9], drawn.mean(axis=0)])
    assert {text.get_text() for text in axes[0].texts} == {"encoder q(z∣x)", "decoder P(x∣z)"}
    assert len(axes[1].patches) == 3 + 2  # q of the marked cells, and two circles of the prior
    assert np.linalg.norm(outline(axes[1])[::3], axis=1) == pytest.approx(2)
