"""Both sides of every numbered equation of chapter 3; see ``test_equations.py``."""

import math

import numpy as np
import pytest
import torch
from equations import double, minibatch, printed
from scipy import integrate, optimize, stats
from sklearn.metrics import f1_score

from course_lib import channels, dictionaries, models


def gaussian_steps(step: float) -> np.ndarray:
    """Exact probabilities of the steps that a standard normal number falls into."""
    return np.diff(stats.norm.cdf(np.arange(-round(12 / step), round(12 / step) + 1) * step))


@printed(
    r"k = \Bigl\lfloor \frac{z - z_{\min}}{\delta} \Bigr\rfloor , \qquad",
    r"\hat{z} = z_{\min} + \bigl( k + \tfrac12 \bigr) \, \delta",
)
@pytest.mark.parametrize("b", [1, 3, 6])
def test_equation_3_1(b, rng):
    z = rng.normal(size=(200, 1))
    low, high = float(z.min()), float(z.max())
    step = (high - low) / 2**b
    k = [min(math.floor((float(value) - low) / step), 2**b - 1) for value in z[:, 0]]  # the largest ends the last step
    quantizer = channels.uniform_quantizer(z, b)
    assert quantizer.encode(z)[:, 0].tolist() == k
    np.testing.assert_allclose(quantizer.decode(quantizer.encode(z))[:, 0], [low + (i + 0.5) * step for i in k])
    by_numpy = np.digitize(z[:, 0], np.linspace(low, high, 2**b + 1)[1:-1])
    np.testing.assert_array_equal(quantizer.encode(z)[:, 0], by_numpy)


@printed(r"H = - \sum_k p_k \log_2 p_k")
def test_equation_3_2():
    symbols = np.repeat([0, 1, 5], [4, 2, 2])
    formula = -sum(p * math.log2(p) for p in (1 / 2, 1 / 4, 1 / 4))
    assert formula == channels.entropy(symbols[:, None]) == stats.entropy([4, 2, 2], base=2) == 1.5
    words = {0: "0", 1: "10", 5: "11"}  # a code that needs just that many bits
    assert np.mean([len(words[k]) for k in symbols]) == formula


@printed(r"R(\Delta) = \max \Bigl( 0, \; \tfrac12 \log_2 \frac{\sigma^2}{\Delta} \Bigr)")
@pytest.mark.parametrize("distortion", [0.1, 1.3, 2.25, 4.0])
def test_equation_3_3(distortion):
    variance = 2.25
    formula = max(0, 0.5 * math.log2(variance / distortion))
    assert channels.gaussian_rate(distortion, variance) == pytest.approx(formula, abs=1e-12)
    # information that the best noise lets through: x = x̂ + noise of variance Δ, h(x) − h(noise)
    if distortion < variance:
        entropies = [stats.norm(scale=math.sqrt(v)).entropy() for v in (variance, distortion)]
        assert formula == pytest.approx((entropies[0] - entropies[1]) / math.log(2), rel=1e-12)


@printed(r"\Delta \approx \frac{\delta^2}{12}")
def test_equation_3_4():
    def exact(step):
        """Squared error of the middles for a standard normal number, by integration over the steps."""
        return 2 * sum(
            integrate.quad(lambda z, low=low: (z - low - step / 2) ** 2 * stats.norm.pdf(z), low, low + step)[0]
            for low in np.arange(0, 9, step)
        )

    for step in (0.25, 0.5, 1.0):
        assert exact(step) == pytest.approx(step**2 / 12, rel=0.02)
    assert exact(3.0) != pytest.approx(3.0**2 / 12, rel=0.1)  # a wide step: the density is not flat
    assert stats.uniform(scale=0.5).var() == pytest.approx(0.5**2 / 12)


@printed(r"H - R(\Delta) \approx \tfrac12 \log_2 \frac{2 \pi e}{12} = 0.255 \text{ bits}")
def test_equation_3_5():
    formula = 0.5 * math.log2(2 * math.pi * math.e / 12)
    assert formula == pytest.approx(0.255, abs=0.0005)
    for step in (0.05, 0.2):
        p = gaussian_steps(step)
        loss = stats.entropy(p, base=2) - channels.gaussian_rate(step**2 / 12, 1.0)
        assert loss == pytest.approx(formula, abs=3e-3)


@printed(r"R(\Delta) = \sum_{i=1}^{D} \max \Bigl( 0, \; \tfrac12 \log_2 \frac{\sigma_i^2}{\omega} \Bigr)")
@pytest.mark.parametrize("distortion", [0.2, 1.0, 3.0, 6.0])
def test_equation_3_6(distortion):
    variances = np.array([4.0, 2.0, 0.5, 0.3])
    level = optimize.brentq(lambda w: np.minimum(w, variances).sum() - distortion, 1e-9, variances.max())
    formula = sum(max(0, 0.5 * math.log2(v / level)) for v in variances)
    found = channels.reverse_water_filling(variances, distortion)
    assert found.level == pytest.approx(level, rel=1e-9) and found.rate == pytest.approx(formula, rel=1e-9)


@printed(r"C = \tfrac12 \log_2 (1 + \mathrm{SNR})")
@pytest.mark.parametrize("snr", [0.5, 3.0, 40.0])
def test_equation_3_7(snr):
    formula = 0.5 * math.log2(1 + snr)
    assert channels.capacity(snr) == pytest.approx(formula, rel=1e-12)
    # information between a Gaussian signal and what arrives, from the determinant of their covariance
    covariance = np.array([[snr, snr], [snr, snr + 1]])
    information = 0.5 * math.log2(snr * (snr + 1) / np.linalg.det(covariance))
    assert information == pytest.approx(formula, rel=1e-9)


@printed(r"z = \mathrm{ReLU} \bigl( V (x - m) + c \bigr) , \qquad \hat{x} = W z + m")
def test_equation_3_8(rng):
    model = models.SparseAE(4, 9, seed=2).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight += double(rng.normal(size=weight.shape)) / 3
    v, c, m, w = (p.detach().numpy() for p in (model.encoder.weight, model.encoder.bias, model.bias, model.dictionary))
    x = rng.normal(size=(5, 4))
    z = np.array([[max(0.0, v[j] @ (row - m) + c[j]) for j in range(9)] for row in x])
    x_hat = np.array([sum(code[j] * w[:, j] for j in range(9)) + m for code in z])
    found_hat, found = (value.detach().numpy() for value in model(double(x)))
    np.testing.assert_allclose(found, z, atol=1e-12)
    np.testing.assert_allclose(found_hat, x_hat, atol=1e-12)
    np.testing.assert_allclose([math.dist(column, np.zeros(4)) for column in w.T], 1)


@printed(r"\mathrm{loss} = \lVert x - \hat{x} \rVert^2 + \lambda \sum_{j=1}^{d} z_j")
@pytest.mark.parametrize("l1", [0.0, 0.7])
def test_equation_3_9(l1, rng):
    model = models.SparseAE(4, 9, l1=l1).double()
    x = double(rng.normal(size=(5, 4)))
    x_hat, z = (value.detach().numpy() for value in model(x))
    formula = [math.dist(a, b) ** 2 + l1 * sum(code) for a, b, code in zip(x.numpy(), x_hat, z, strict=True)]
    assert model.loss(minibatch(x)).loss.item() == pytest.approx(sum(formula) / 5, rel=1e-12)
    np.testing.assert_allclose(np.abs(z).sum(axis=1), z.sum(axis=1))  # the L1 norm


@printed(
    r"\arg \min_{z \geq 0} \; (a - z)^2 + \lambda z = \max \Bigl( 0, \; a - \frac{\lambda}{2} \Bigr) :",
)
@pytest.mark.parametrize(("a", "l1"), [(1.0, 0.6), (0.2, 0.6), (1.5, 0.0), (0.7, 3.0)])
def test_equation_3_10(a, l1):
    found = optimize.minimize_scalar(lambda z: (a - z) ** 2 + l1 * z, bounds=(0, 5), method="bounded")
    assert max(0, a - l1 / 2) == pytest.approx(found.x, abs=1e-4)


@printed(r"F_1 = \frac{2 \, \mathrm{TP}}{2 \, \mathrm{TP} + \mathrm{FP} + \mathrm{FN}}")
def test_equation_3_11(rng):
    z, positive = rng.normal(size=(40, 1)), rng.random(40) < 0.4
    called = z[:, 0] > 0.1
    tp, fp, fn = (called & positive).sum(), (called & ~positive).sum(), (~called & positive).sum()
    formula = 2 * tp / (2 * tp + fp + fn)
    assert formula == pytest.approx(f1_score(positive, called), rel=1e-12)
    assert dictionaries.Detector(0, 0.1, 0.0).score(z, positive) == pytest.approx(formula, rel=1e-12)
