"""Codes as messages: quantisers, code lengths, and bounds that other routes confirm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from course_lib import channels

Z = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 0.1] + [0.0, 2.0, -7.0]


class TestQuantizer:
    @pytest.mark.parametrize("n_bits", [0, 1, 3, 8])
    def test_steps_are_equal_and_there_are_2_to_the_bits_of_them(self, n_bits):
        q = channels.uniform_quantizer(Z, n_bits)
        middles = q.decode(np.arange(2**n_bits)[:, None] * np.ones((1, 3)))
        np.testing.assert_allclose(middles, np.linspace(q.low + q.step / 2, q.high - q.step / 2, 2**n_bits))
        assert q.encode(Z).min() == 0 and q.encode(Z).max() == 2**n_bits - 1

    @pytest.mark.parametrize("n_bits", [0, 1, 4, 10])
    def test_the_middle_that_comes_back_is_the_nearest_one(self, n_bits):
        q = channels.uniform_quantizer(Z, n_bits)
        back = q.decode(q.encode(Z))
        for column in range(3):
            middles = q.low[column] + (np.arange(2**n_bits) + 0.5) * q.step[column]
            nearest = np.abs(Z[:, [column]] - middles).min(axis=1)
            np.testing.assert_allclose(np.abs(Z - back)[:, column], nearest, atol=1e-9)
        assert np.all(np.abs(Z - back) <= q.step / 2 + 1e-12)

    def test_values_beyond_the_range_go_to_the_last_step(self):
        q = channels.uniform_quantizer(Z, 2)
        assert q.encode(np.array([[-1e9, 1e9, -7.0]])).tolist()[0][:2] == [0, 3]

    def test_decoded_middles_are_encoded_as_themselves(self):
        q = channels.uniform_quantizer(Z, 6)
        symbols = q.encode(Z)
        np.testing.assert_array_equal(q.encode(q.decode(symbols)), symbols)

    def test_each_bit_takes_the_error_of_a_uniform_variable_down_by_four(self):
        z = np.random.default_rng(1).uniform(size=(40_000, 1))
        errors = []
        for n_bits in (2, 3, 4):
            q = channels.uniform_quantizer(z, n_bits)
            errors.append(np.mean((z - q.decode(q.encode(z))) ** 2))
            assert errors[-1] == pytest.approx(q.step[0] ** 2 / 12, rel=0.03)
        np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 4, rtol=0.05)

    @pytest.mark.parametrize("n_bits", [-1, 2.5, 25, "3", None])
    def test_bits_out_of_range_are_refused(self, n_bits):
        with pytest.raises(ValueError, match="n_bits is"):
            channels.uniform_quantizer(Z, n_bits)

    @pytest.mark.parametrize("z", [Z[:, 0], np.full((3, 2), np.nan), np.empty((0, 2)), np.array([[1.0, np.inf]])])
    def test_what_is_no_finite_matrix_is_refused(self, z):
        with pytest.raises(ValueError, match="z has shape"):
            channels.uniform_quantizer(z, 3)

    def test_a_column_without_range_is_named(self):
        with pytest.raises(ValueError, match="column 1 of z has one value"):
            channels.uniform_quantizer(np.c_[Z[:, 0], np.ones(500)], 3)


class TestEntropy:
    def test_it_is_that_of_the_frequencies_by_scipy_summed_over_columns(self):
        symbols = np.random.default_rng(2).integers(0, 5, (200, 3)) ** 2
        expected = sum(stats.entropy(np.unique(c, return_counts=True)[1], base=2) for c in symbols.T)
        assert channels.entropy(symbols) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(("symbols", "bits"), [([[3]] * 8, 0), ([[0], [1]] * 5, 1), ([[k] for k in range(8)], 3)])
    def test_known_values(self, symbols, bits):
        assert channels.entropy(np.array(symbols)) == pytest.approx(bits, abs=1e-12)

    def test_at_high_rate_a_quantised_gaussian_costs_a_quarter_of_a_bit_more_than_the_bound(self):
        """From the exact probabilities of the steps: ½ log₂ (2πe/12) = 0.2546."""
        step = 0.05
        edges = np.arange(-160, 161) * step
        p = np.diff(stats.norm.cdf(edges))
        bits = -(p[p > 0] * np.log2(p[p > 0])).sum()
        z = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)[:, None]  # an even sample
        q = channels.Quantizer(np.array([-6.4]), np.array([6.4]), 8)
        assert q.step[0] == pytest.approx(step)
        symbols = q.encode(z)
        error = np.mean((z - q.decode(symbols)) ** 2)
        assert channels.entropy(symbols) == pytest.approx(bits, abs=2e-3)
        loss = channels.entropy(symbols) - channels.gaussian_rate(error, 1.0)
        assert loss == pytest.approx(0.5 * np.log2(2 * np.pi * np.e / 12), abs=2e-3)


class TestCodeLength:
    def test_on_its_own_many_cells_it_is_the_entropy(self):
        symbols = np.random.default_rng(3).binomial(7, 0.4, (50_000, 2))
        assert channels.code_length(symbols, symbols, 3) == pytest.approx(channels.entropy(symbols), abs=1e-3)

    def test_it_is_minus_log2_of_the_smoothed_frequencies(self):
        reference, sent = np.array([[0], [0], [1]]), np.array([[0], [3]])
        p = np.array([3, 2, 1, 1]) / 7
        assert channels.code_length(sent, reference, 2) == pytest.approx(-np.log2(p[[0, 3]]).mean(), rel=1e-12)

    def test_columns_add_up(self):
        a, b = np.random.default_rng(4).integers(0, 4, (2, 100, 3))
        each = sum(channels.code_length(a[:, [i]], b[:, [i]], 2) for i in range(3))
        assert channels.code_length(a, b, 2) == pytest.approx(each, rel=1e-12)

    def test_a_code_for_other_frequencies_is_longer_by_their_divergence(self):
        a = np.repeat([0, 1], [9000, 1000])[:, None]
        b = np.repeat([0, 1], [1000, 9000])[:, None]
        more = channels.code_length(a, b, 1) - channels.code_length(a, a, 1)
        assert more == pytest.approx(stats.entropy([0.9, 0.1], [0.1, 0.9], base=2), rel=1e-3)

    def test_nothing_to_say_costs_nothing(self):
        assert channels.code_length(np.zeros((5, 2)), np.zeros((3, 2)), 0) == 0

    @pytest.mark.parametrize("bad", [np.array([[4, 0]]), np.array([[-1, 0]]), np.array([[0.5, 0]])])
    def test_symbols_out_of_range_are_refused_on_either_side(self, bad):
        fine = np.zeros((3, 2))
        with pytest.raises(ValueError, match=r"symbols runs from .* with 2 bits give 0 to 3"):
            channels.code_length(bad, fine, 2)
        with pytest.raises(ValueError, match="reference runs from"):
            channels.code_length(fine, bad, 2)

    def test_other_columns_are_refused(self):
        with pytest.raises(ValueError, match="2 columns and reference 3"):
            channels.code_length(np.zeros((3, 2)), np.zeros((3, 3)), 1)


class TestGaussianRate:
    @pytest.mark.parametrize(("distortion", "bits"), [(4.0, 0), (8.0, 0), (1.0, 1), (0.25, 2), (4 / 2**10, 5)])
    def test_each_bit_is_worth_a_factor_of_four(self, distortion, bits):
        assert channels.gaussian_rate(distortion, 4.0) == pytest.approx(bits, abs=1e-12)

    def test_no_channel_with_that_error_carries_less_by_blahut_and_arimoto(self):
        """The bound itself, by alternating minimisation over channels on a grid."""
        grid = np.linspace(-4, 4, 161)
        p = stats.norm.pdf(grid)
        p /= p.sum()
        cost = (grid[:, None] - grid) ** 2
        slope, q = 4.0, np.full(len(grid), 1 / len(grid))
        for _ in range(300):
            channel = q * np.exp(-slope * cost)
            channel /= channel.sum(axis=1, keepdims=True)
            q = p @ channel
        rate = float((p[:, None] * channel * np.log2(np.maximum(channel, 1e-300) / np.maximum(q, 1e-300))).sum())
        error = float((p[:, None] * channel * cost).sum())
        assert 0.05 < error < 0.5
        assert channels.gaussian_rate(error, float(p @ grid**2)) == pytest.approx(rate, abs=0.01)

    def test_arrays_are_taken(self):
        np.testing.assert_allclose(channels.gaussian_rate(np.array([1.0, 2.0]), np.array([4.0, 1.0])), [1, 0])

    @pytest.mark.parametrize(("distortion", "variance"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1), ([1, 0], 1)])
    def test_what_is_not_above_zero_is_refused(self, distortion, variance):
        with pytest.raises(ValueError, match="above 0"):
            channels.gaussian_rate(distortion, variance)


class TestReverseWaterFilling:
    @pytest.mark.parametrize("distortion", [0.3, 1.0, 2.5, 6.0, 9.0])
    def test_no_other_way_to_share_the_error_is_cheaper_by_scipy(self, distortion):
        variances = np.array([5.0, 0.5, 2.0, 2.0, 0.1])

        def rate(shares):
            return 0.5 * np.log2(variances / shares).sum()

        found = optimize.minimize(
            rate,
            variances * distortion / variances.sum(),
            bounds=[(1e-9, v) for v in variances],
            constraints={"type": "eq", "fun": lambda s: s.sum() - distortion},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        exact = channels.reverse_water_filling(variances, distortion)
        assert exact.rate == pytest.approx(found.fun, abs=1e-5) and exact.rate <= found.fun + 1e-9
        np.testing.assert_allclose(exact.distortions, found.x, atol=2e-3)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.floats(0, 100), min_size=1, max_size=12).filter(lambda v: sum(v) > 1e-3), st.floats(0.001, 0.999)
    )
    def test_the_parts_agree_with_each_other(self, variances, share):
        variances = np.array(variances)
        distortion = share * variances.sum()
        found = channels.reverse_water_filling(variances, distortion)
        assert found.distortions.sum() == pytest.approx(distortion, rel=1e-9)
        np.testing.assert_allclose(found.distortions, np.minimum(found.level, variances))
        assert found.rate == pytest.approx(found.bits.sum(), rel=1e-12)
        np.testing.assert_allclose(
            found.bits, [channels.gaussian_rate(min(found.level, v), v) if v > 0 else 0 for v in variances], atol=1e-9
        )

    def test_of_one_number_it_is_the_gaussian_rate(self):
        found = channels.reverse_water_filling(np.array([3.0]), 0.2)
        assert found.rate == pytest.approx(channels.gaussian_rate(0.2, 3.0)) and found.level == pytest.approx(0.2)

    @pytest.mark.parametrize("distortion", [3.0, 3.5, 100.0])
    def test_more_error_than_there_is_variance_costs_nothing(self, distortion):
        found = channels.reverse_water_filling(np.array([1.0, 2.0]), distortion)
        assert found.rate == 0 and found.distortions.tolist() == [1.0, 2.0]

    @pytest.mark.parametrize("variances", [[], [-1.0, 2.0], [0.0, 0.0], [[1.0]], [float("nan"), 1.0]])
    def test_what_are_no_variances_is_refused(self, variances):
        with pytest.raises(ValueError, match="variances is"):
            channels.reverse_water_filling(np.array(variances), 0.1)

    @pytest.mark.parametrize("distortion", [0, -1.0, float("nan")])
    def test_a_distortion_that_is_not_above_zero_is_refused(self, distortion):
        with pytest.raises(ValueError, match="distortion is"):
            channels.reverse_water_filling(np.ones(2), distortion)


class TestCapacity:
    @pytest.mark.parametrize(("snr", "bits"), [(0, 0), (3, 1), (15, 2), (255, 4)])
    def test_known_values(self, snr, bits):
        assert channels.capacity(snr) == pytest.approx(bits, abs=1e-12)

    def test_a_gaussian_sent_as_it_is_meets_the_bound(self):
        """The receiver shrinks by SNR / (1 + SNR): the error is σ² 4^−C, which no code can beat."""
        rng = np.random.default_rng(5)
        x, snr = rng.normal(size=200_000), 7.0
        received = x + rng.normal(size=x.shape) / np.sqrt(snr)
        error = np.mean((x - received * snr / (1 + snr)) ** 2)
        assert channels.gaussian_rate(error, 1.0) == pytest.approx(channels.capacity(snr), abs=0.01)

    @pytest.mark.parametrize("snr", [-0.1, float("nan")])
    def test_a_negative_ratio_is_refused(self, snr):
        with pytest.raises(ValueError, match="snr is"):
            channels.capacity(snr)
