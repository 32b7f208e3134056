"""Superposition, matching and detectors, against enumeration and scikit-learn."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from course_lib import dictionaries


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class TestSuperposition:
    def test_the_data_are_the_activations_times_the_dictionary(self):
        data = dictionaries.superposition(300, 6, 15, seed=1)
        assert data.x.shape == (300, 6) and data.activations.shape == (300, 15) and data.dictionary.shape == (6, 15)
        np.testing.assert_allclose(
            data.x[7], sum(a * w for a, w in zip(data.activations[7], data.dictionary.T, strict=True))
        )

    def test_directions_have_length_one(self):
        np.testing.assert_allclose(np.linalg.norm(dictionaries.superposition(1, 6, 15).dictionary, axis=0), 1)

    def test_a_feature_is_present_as_often_as_asked_and_then_between_a_half_and_one_and_a_half(self):
        activations = dictionaries.superposition(4000, 3, 20, probability=0.1, seed=2).activations
        present = activations > 0
        np.testing.assert_allclose(present.mean(axis=0), 0.1, atol=0.03)
        assert present.mean() == pytest.approx(0.1, abs=0.005)
        assert activations[present].min() >= 0.5 and activations.max() <= 1.5
        assert activations[present].mean() == pytest.approx(1, abs=0.01)

    def test_features_are_independent(self):
        present = dictionaries.superposition(20_000, 2, 5, probability=0.3, seed=3).activations > 0
        correlation = np.corrcoef(present.T) - np.eye(5)
        assert np.abs(correlation).max() < 0.03

    def test_the_seed_decides_and_nothing_else(self):
        a, b, c = (dictionaries.superposition(20, 4, 8, seed=s).x for s in (4, 4, 5))
        assert np.array_equal(a, b) and not np.array_equal(a, c)

    @pytest.mark.parametrize("sizes", [(0, 2, 3), (5, 0, 3), (5, 2, 0), (5.5, 2, 3)])
    def test_sizes_that_are_no_whole_number_are_refused(self, sizes):
        with pytest.raises(ValueError, match="whole number, at least 1"):
            dictionaries.superposition(*sizes)

    @pytest.mark.parametrize("probability", [0, -0.1, 1.1, float("nan")])
    def test_a_probability_out_of_range_is_refused(self, probability):
        with pytest.raises(ValueError, match="probability is"):
            dictionaries.superposition(5, 2, 3, probability=probability)


class TestMatch:
    def test_no_assignment_is_better_by_trying_all(self, rng):
        learnt, truth = rng.normal(size=(4, 6)), rng.normal(size=(4, 4))
        unit = [m / np.linalg.norm(m, axis=0) for m in (truth, learnt)]
        similar = np.abs(unit[0].T @ unit[1])
        best = max(sum(similar[range(4), c]) for c in itertools.permutations(range(6), 4))
        found = dictionaries.match(learnt, truth)
        assert found.cosine.sum() == pytest.approx(best, rel=1e-12)
        np.testing.assert_allclose(found.cosine, similar[range(4), found.column])
        assert len(set(found.column)) == 4

    def test_order_sign_and_length_do_not_matter(self, rng):
        truth = rng.normal(size=(5, 7))
        order = rng.permutation(7)
        found = dictionaries.match(truth[:, order] * rng.normal(size=7), truth)
        np.testing.assert_allclose(found.cosine, 1)
        np.testing.assert_array_equal(order[found.column], np.arange(7))

    def test_true_columns_without_a_partner_count_as_zero(self, rng):
        truth = rng.normal(size=(5, 4))
        found = dictionaries.match(truth[:, :2], truth)
        np.testing.assert_allclose(found.cosine, [1, 1, 0, 0], atol=1e-12)
        assert found.column.tolist() == [0, 1, -1, -1] and found.cosine.mean() == pytest.approx(0.5)

    def test_one_learnt_column_is_not_used_twice(self):
        truth = np.array([[1.0, 1.0], [0.0, 0.01]])
        assert np.sum(dictionaries.match(truth[:, :1], truth).column >= 0) == 1

    def test_a_column_of_length_zero_matches_nothing(self):
        assert dictionaries.match(np.zeros((3, 2)), np.eye(3)[:, :2]).cosine.tolist() == [0, 0]

    def test_other_numbers_of_rows_are_refused(self):
        with pytest.raises(ValueError, match=r"learnt has shape \(3, 2\), truth \(4, 2\)"):
            dictionaries.match(np.ones((3, 2)), np.ones((4, 2)))

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="NaN"):
            dictionaries.match(np.full((3, 2), np.nan), np.ones((3, 2)))


class TestBestDetector:
    def test_no_feature_and_no_threshold_is_better_by_trying_all(self, rng):
        for _ in range(20):
            z, positive = rng.integers(0, 6, (30, 3)).astype(float), rng.random(30) < 0.3
            positive[0] = True
            tried = [f1_score(positive, z[:, j] > t) for j in range(3) for t in (-1, *np.unique(z[:, j]))]
            found = dictionaries.best_detector(z, positive)
            assert found.f1 == pytest.approx(max(tried), rel=1e-12)
            assert found.score(z, positive) == pytest.approx(found.f1, rel=1e-12)

    def test_a_feature_that_marks_the_cells_is_found(self, rng):
        z, positive = rng.random((200, 9)), rng.random(200) < 0.2
        z[:, 4] = positive * rng.uniform(1, 2, 200)
        found = dictionaries.best_detector(z, positive)
        assert (found.feature, found.f1) == (4, 1) and 0 < found.threshold < 1

    def test_other_cells_are_scored_as_scikit_learn_scores_them(self, rng):
        z, positive = rng.normal(size=(60, 4)), rng.random(60) < 0.5
        found = dictionaries.best_detector(z[:30], positive[:30])
        called = z[30:, found.feature] > found.threshold
        assert found.score(z[30:], positive[30:]) == pytest.approx(f1_score(positive[30:], called), rel=1e-12)

    def test_among_many_features_of_noise_the_best_looks_good_until_it_is_tried_on_other_cells(self, rng):
        z, positive = rng.normal(size=(120, 300)), np.arange(120) % 6 == 0
        found = dictionaries.best_detector(z[:60], positive[:60])
        assert found.f1 > 0.5 > found.score(z[60:], positive[60:])

    def test_nothing_called_and_nothing_there_scores_zero(self):
        detector = dictionaries.Detector(0, 1.0, 1.0)
        assert detector.score(np.zeros((3, 1)), np.zeros(3)) == 0

    @pytest.mark.parametrize(("z", "positive"), [(np.ones((3, 2)), [True] * 2), (np.ones(3), [True] * 3)])
    def test_other_shapes_are_refused(self, z, positive):
        with pytest.raises(ValueError, match="z has shape"):
            dictionaries.best_detector(z, positive)

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="finite"):
            dictionaries.best_detector(np.full((2, 2), np.nan), [True, False])

    def test_without_a_cell_to_be_found_it_says_so(self):
        with pytest.raises(ValueError, match="no True"):
            dictionaries.best_detector(np.ones((3, 2)), [False] * 3)
