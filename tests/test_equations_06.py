"""Both sides of every numbered equation of chapter 6; see ``test_equations.py``."""

import itertools
import math

import numpy as np
import pytest
import torch
from equations import double, printed
from scipy import integrate, special, stats

from course_lib import likelihoods, models

MU, SIGMA = 0.4, 1.3


def mean(f, mu=MU, sigma=SIGMA) -> float:
    """E f(z) for z ~ N(μ, σ²), by integration."""
    density = stats.norm(mu, sigma).pdf
    return integrate.quad(lambda z: f(z) * density(z), mu - 12 * sigma, mu + 12 * sigma, limit=200)[0]


def slope(function, at: float, step=1e-4) -> float:
    return (function(at + step) - function(at - step)) / (2 * step)


def wave(z):
    return math.sin(2 * z) + z**2


def wave_slope(z):
    return 2 * math.cos(2 * z) + 2 * z


def moment(power: int) -> float:
    """E ε^power of a standard normal ε."""
    return stats.norm.moment(power)


@printed(r"z = \mu + \sigma \, \varepsilon , \qquad \varepsilon \sim \mathcal{N}(0, I)")
def test_equation_6_1():
    u = np.linspace(0.01, 0.99, 25)
    np.testing.assert_allclose(MU + SIGMA * stats.norm.ppf(u), stats.norm.ppf(u, MU, SIGMA), rtol=1e-12)
    model, logvar = models.GeneExprVAE(3, 1, (4,)), 2 * math.log(SIGMA)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = model.reparameterize(*(torch.full((40_000, 1), value, dtype=torch.float64) for value in (MU, logvar)))
        torch.manual_seed(0)
        eps = torch.randn(40_000, 1, dtype=torch.float64)
    torch.testing.assert_close(z, MU + SIGMA * eps, rtol=1e-12, atol=1e-12)
    assert stats.kstest(z[:, 0].numpy(), stats.norm(MU, SIGMA).cdf).pvalue > 0.01


@printed(
    r"\nabla_\varphi \, \mathbb{E}_{q_\varphi} [f(z)] = \mathbb{E}_\varepsilon \bigl[ \nabla_\varphi \, ",
    r"f(\mu + \sigma \, \varepsilon) \bigr]",
)
def test_equation_6_2():
    along_mu = mean(lambda e: wave_slope(MU + SIGMA * e), 0, 1)
    along_sigma = mean(lambda e: wave_slope(MU + SIGMA * e) * e, 0, 1)
    assert along_mu == pytest.approx(slope(lambda m: mean(wave, m), MU), rel=1e-6)
    assert along_sigma == pytest.approx(slope(lambda s: mean(wave, MU, s), SIGMA), rel=1e-6)


@printed(
    r"\nabla_\varphi \, \mathbb{E}_{q_\varphi} [f(z)] = \int f(z) \, \nabla_\varphi \, q_\varphi(z) \, dz ",
    r"= \mathbb{E}_{q_\varphi} \bigl[ f(z) \, \nabla_\varphi \log q_\varphi(z) \bigr]",
)
def test_equation_6_3():
    def step(z):
        return float(z > 0)  # no derivative is asked for

    for f in (wave, step):
        left = slope(lambda m, f=f: mean(f, m), MU, 1e-3)
        middle = integrate.quad(
            lambda z, f=f: f(z) * slope(lambda m: stats.norm.pdf(z, m, SIGMA), MU), -16, 16, points=[0.0], limit=200
        )[0]
        right = mean(lambda z, f=f: f(z) * (z - MU) / SIGMA**2)
        assert left == pytest.approx(middle, rel=1e-4) and left == pytest.approx(right, rel=1e-4)


@printed(
    r"\mathbb{E}_{\mathcal{N}(\mu, \sigma^2)} \bigl[ e^{-z^2 / 2} \bigr] = \frac{1}{\sqrt{1 + \sigma^2}} \, ",
    r"e^{-\mu^2 / (2 (1 + \sigma^2))}",
)
@pytest.mark.parametrize(("mu", "sigma"), [(0.5, 0.5), (-2.0, 1.5)])
def test_equation_6_4(mu, sigma):
    formula = math.exp(-(mu**2) / (2 * (1 + sigma**2))) / math.sqrt(1 + sigma**2)
    assert mean(lambda z: math.exp(-(z**2) / 2), mu, sigma) == pytest.approx(formula, rel=1e-9)
    gradient = -mu / (1 + sigma**2) * formula  # as the text has it
    assert slope(lambda m: mean(lambda z: math.exp(-(z**2) / 2), m, sigma), mu) == pytest.approx(gradient, rel=1e-6)


def variance_of_score(d: int, b: float) -> float:
    """Var[(f − b) ε₁] with f = Σ (1 + ε_j)², from the moments of independent standard normals, term by term."""
    square = [1, 1 + moment(2), 1 + 6 * moment(2) + moment(4)]  # E z⁰, E z², E z⁴
    others = [1.0, 0.0, 0.0]  # moments 0, 1, 2 of A, the sum over the other dimensions
    for _ in range(d - 1):
        others = [1.0, others[1] + square[1], others[2] + 2 * others[1] * square[1] + square[2]]
    total = 0.0
    for i, j, k in itertools.product(range(3), repeat=3):
        if i + j + k == 2:  # (A + z² − b)² ε²
            own = sum(special.comb(2 * j, n) * moment(n + 2) for n in range(2 * j + 1))  # E (1 + ε)^{2j} ε²
            ways = math.factorial(2) / (math.factorial(i) * math.factorial(j) * math.factorial(k))
            total += ways * others[i] * own * (-b) ** k
    return total - 2.0**2  # the mean is the gradient, 2 μ


@printed(
    r"\mathrm{Var} [f(z) \, \varepsilon_i] = \mathbb{E} [A^2] + 8 \, \mathbb{E} [A] + 34 - 2^2 = 4 d^2 + 14 d + 12",
)
@pytest.mark.parametrize("d", [1, 2, 7, 32])
def test_equation_6_5(d):
    exact = variance_of_score(d, 0.0)
    a, variance = 2 * (d - 1), 6 * (d - 1)  # mean and variance of A, as the text has them
    assert stats.ncx2(d, d).mean() == 2 * d and stats.ncx2(d, d).var() == pytest.approx(6 * d)
    assert exact == pytest.approx(variance + a**2 + 8 * a + 34 - 4) == pytest.approx(4 * d**2 + 14 * d + 12)
    assert exact / 4 == pytest.approx(d**2 + 3.5 * d + 3)


def test_the_path_of_a_square_of_a_sum_grows_with_the_dimension(rng):
    z = double(1 + rng.normal(size=(100_000, 6))).requires_grad_()
    (path,) = torch.autograd.grad((z.sum(dim=1) ** 2).sum(), z)
    assert path[:, 0].var().item() == pytest.approx(4 * 6, rel=0.03)


def test_a_constant_of_184_nats_makes_95_into_10200():
    constant = 0.5 * 200 * math.log(2 * math.pi)
    assert constant == pytest.approx(184, abs=0.3)
    assert variance_of_score(8, 0.0) / 4 == 95 and variance_of_score(8, -184.0) / 4 == pytest.approx(10_200, rel=0.005)


@printed(
    r"\mathbb{E}_{q_\varphi} \bigl[ (f(z) - b) \, \nabla_\varphi \log q_\varphi(z) \bigr] ",
    r"= \mathbb{E}_{q_\varphi} \bigl[ f(z) \, \nabla_\varphi \log q_\varphi(z) \bigr]",
)
@pytest.mark.parametrize("b", [-3.0, 0.7, 100.0])
def test_equation_6_6(b):
    for score in (lambda z: (z - MU) / SIGMA**2, lambda z: ((z - MU) ** 2 / SIGMA**2 - 1) / SIGMA):  # to μ, to σ
        left = mean(lambda z, score=score: (wave(z) - b) * score(z))
        assert left == pytest.approx(mean(lambda z, score=score: wave(z) * score(z)), abs=1e-6)


@printed(r"\mathrm{Var} [(f(z) - 2 d) \, \varepsilon_i] = 6 (d - 1) + 22 - 2^2 = 6 d + 12")
@pytest.mark.parametrize("d", [1, 2, 7, 32])
def test_equation_6_7(d):
    assert variance_of_score(d, 2.0 * d) == pytest.approx(6 * (d - 1) + 22 - 4) == pytest.approx(6 * d + 12)
    assert variance_of_score(d, 2.0 * d) / 4 == pytest.approx(1.5 * d + 3)
    for c in (-2.0, 3.0, 200.0):  # b misses the mean by c, as a constant in f makes it
        assert variance_of_score(d, 2.0 * d - c) == pytest.approx(6 * d + 12 + 4 * c + c**2)
    best = variance_of_score(d, 2.0 * d + 2)  # exercise 6.3
    assert best == pytest.approx(6 * d + 8)
    assert best < min(variance_of_score(d, 2.0 * d + 2 + off) for off in (-0.1, 0.1))


@printed(
    r"\frac{\partial}{\partial \eta_k} \sum_{j=1}^{K} p_j \, f(j) = p_k \Bigl( f(k) - \sum_{j=1}^{K} p_j \, f(j) ",
    r"\Bigr)",
)
def test_equation_6_8(rng):
    logits, f = double(rng.normal(size=5)).requires_grad_(), double(rng.normal(size=5))
    p = torch.softmax(logits, dim=0)
    (found,) = torch.autograd.grad(p @ f, logits)
    p = special.softmax(logits.detach().numpy())
    total = sum(p[j] * f[j].item() for j in range(5))
    np.testing.assert_allclose(found.numpy(), [p[k] * (f[k].item() - total) for k in range(5)], rtol=1e-12)


@printed(
    r"P \bigl( \arg \max_j \, (\eta_j + \gamma_j) = k \bigr) = \frac{e^{\eta_k}}{\sum_{j=1}^{K} e^{\eta_j}}",
)
def test_equation_6_9():
    eta, gumbel = np.array([0.5, -1.0, 1.2]), stats.gumbel_r
    for k in range(3):
        rest = np.delete(eta, k)
        left = integrate.quad(lambda m, k=k, rest=rest: gumbel.pdf(m - eta[k]) * gumbel.cdf(m - rest).prod(), -10, 40)
        assert left[0] == pytest.approx(math.exp(eta[k]) / sum(map(math.exp, eta)), rel=1e-8)
    u = np.linspace(0.05, 0.95, 9)
    np.testing.assert_allclose(-np.log(-np.log(u)), gumbel.ppf(u))  # how γ is drawn


@printed(
    r"\frac{\partial^2 J}{\partial \sigma^2} \Big|_{\sigma = \sigma_\ast} = \frac{2}{\sigma_\ast^2} , \qquad ",
    r"\frac{\partial^2 J}{\partial a^2} \Big|_{\sigma = \sigma_\ast} = \frac12",
)
@pytest.mark.parametrize("best", [0.03, 0.4, 0.9])
def test_equation_6_10(best):
    def second(function, at):
        at = double(at).requires_grad_()
        (first,) = torch.autograd.grad(function(at), at, create_graph=True)
        (curvature,) = torch.autograd.grad(first, at)
        return first.item(), curvature.item()

    in_sigma = second(lambda s: 0.5 * (s**2 / best**2 - torch.log(s**2)), best)
    in_log = second(lambda a: 0.5 * (torch.exp(a) / best**2 - a), 2 * math.log(best))
    assert in_sigma == pytest.approx((0.0, 2 / best**2), abs=1e-9) and in_log == pytest.approx((0.0, 0.5), abs=1e-9)
    # the loss of a linear decoder has that form, with 1/σ∗² = 1 + ‖w‖²/σ²
    model = models.LinearVAE(3, 1, sigma=0.7).double()
    precision = 1 + (model.weight**2).sum().item() / 0.7**2
    x = torch.ones(1, 3, dtype=torch.float64)

    def loss(logvar):
        model.logvar.data[:] = logvar
        return model.loss(models.Minibatch(x, None, None)).loss.item()

    formula = 0.5 * (math.exp(-1.2) * precision + 1.2) - 0.5 * (math.exp(0.4) * precision - 0.4)
    assert loss(-1.2) - loss(0.4) == pytest.approx(formula, rel=1e-9)


@printed(
    r"\mathrm{Var} \Bigl[ \frac{1}{B} \sum_{n=1}^{B} f(z_n) \Bigr] = \frac{1}{B} \bigl( v + (B - 1) \, c \bigr)",
)
@pytest.mark.parametrize(("b", "v", "c"), [(1, 2.0, 0.7), (5, 2.0, 0.7), (64, 4.0, 1.0), (64, 4.0, 0.0)])
def test_equation_6_11(b, v, c):
    covariance = np.full((b, b), c) + (v - c) * np.eye(b)
    weights = np.full(b, 1 / b)
    assert weights @ covariance @ weights == pytest.approx((v + (b - 1) * c) / b)


@printed(
    r"\mathbb{E} \Bigl\lVert \sum_{i=1}^{d} \varepsilon \, \sigma_i w_i \Bigr\rVert^2 ",
    r"= \Bigl\lVert \sum_{i=1}^{d} \sigma_i w_i \Bigr\rVert^2 \qquad \text{in place of} \qquad ",
    r"\sum_{i=1}^{d} \sigma_i^2 \lVert w_i \rVert^2",
)
def test_equation_6_12(rng):
    model = models.PPCA(rng.normal(size=(5, 3)), np.zeros(5), 0.7)
    w, sigma = model.weight.detach().numpy(), np.array([0.3, 1.1, 0.6])
    mu, x = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    shared = [(((w * sigma) @ np.full(3, e)) ** 2).sum() for e in nodes]
    assert weights @ shared == pytest.approx((w @ sigma) @ (w @ sigma), rel=1e-9)
    own = sum(sigma[i] ** 2 * (w[:, i] ** 2).sum() for i in range(3))
    # the library's exact loss has the one for draws of their own
    closed = models.linear.LinearGaussian.loss
    model.encode = lambda x: (mu, double(2 * np.log(sigma))[None])
    spread = closed(model, models.Minibatch(x, None, None)).reconstruction.item()
    spread -= -likelihoods.log_gaussian(x, model.decode(mu), 0.7).sum().item()
    assert spread * 2 * 0.7**2 == pytest.approx(own, rel=1e-9) and own != pytest.approx(weights @ shared, rel=0.05)
    at_right_angles = np.linalg.qr(rng.normal(size=(5, 3)))[0] * [1.0, 2.0, 0.5]
    total = at_right_angles @ sigma
    assert total @ total == pytest.approx((sigma**2 * (at_right_angles**2).sum(axis=0)).sum())
