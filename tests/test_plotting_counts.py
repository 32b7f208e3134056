"""Figures of counts: what is drawn is what was given, and extra zeros can be told without colour."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from course_lib import plotting

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_probabilities_are_lines_with_markers_of_their_own_over_bars():
    k, p = np.arange(4), np.array([0.4, 0.3, 0.2, 0.1])
    ax = plotting.probabilities(k, {"one": p, "other": p[::-1]}, bars=("seen", p), title="a gene")
    assert [bar.get_height() for bar in ax.patches] == p.tolist()
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines["one"].get_ydata().tolist() == p.tolist() and lines["other"].get_ydata().tolist() == p[::-1].tolist()
    assert lines["one"].get_marker() != lines["other"].get_marker()
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"one", "other", "seen"}
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("count", "probability", "a gene")


def test_without_bars_none_are_drawn():
    assert not plotting.probabilities(np.arange(3), {"one": np.ones(3) / 3}).patches


def test_variance_is_drawn_against_the_mean_with_the_line_on_which_they_are_equal():
    groups = {"cells": (np.array([0.1, 5.0]), np.array([0.2, 30.0])), "draws": (np.array([1.0]), np.array([1.1]))}
    ax = plotting.mean_variance(groups)
    cells, draws, line = ax.get_lines()
    assert cells.get_xdata().tolist() == [0.1, 5.0] and cells.get_ydata().tolist() == [0.2, 30.0]
    assert cells.get_marker() != draws.get_marker()
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert line.get_xdata().tolist() == [0.1, 5.0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


class TestCountTable:
    X = np.array([[0, 3], [12, 0]])

    def test_counts_are_written_and_extra_zeros_are_crosses(self):
        ax = plotting.count_table(self.X, extra=np.array([[True, False], [False, False]]))
        assert [text.get_text() for text in ax.texts] == ["×", "3", "12", "0"]
        [image] = ax.get_images()
        shades = np.asarray(image.get_array())
        assert shades.tolist() == [[2, 1], [1, 0]] and len(set(shades.ravel())) == 3

    def test_where_extra_zeros_are_not_known_a_zero_is_a_zero(self):
        ax = plotting.count_table(self.X)
        assert [text.get_text() for text in ax.texts] == ["0", "3", "12", "0"]
        assert np.asarray(ax.get_images()[0].get_array()).tolist() == [[0, 1], [1, 0]]
