"""Both sides of every numbered equation of chapter 2; see ``test_equations.py``."""

import itertools
import math

import numpy as np
import pytest
import torch
from equations import double, printed
from scipy import optimize
from scipy.special import expit
from sklearn.covariance import EmpiricalCovariance

from course_lib import models

D = 5


def centred(rng, n=60) -> np.ndarray:
    """Inputs (n, 5) without a mean, whose five variances are far apart."""
    x = rng.normal(size=(n, D)) * [3, 2, 1, 0.5, 0.3] @ np.linalg.qr(rng.normal(size=(D, D)))[0]
    return x - x.mean(axis=0)


def eigen(x) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the covariance matrix, largest first, and eigenvectors as columns."""
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    return values[::-1], vectors[:, ::-1]


def orthonormal(rng, d) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(D, d)))[0]


def best_linear(x, d, seed, penalty=0.0) -> tuple[np.ndarray, np.ndarray]:
    """Encoder (d, 5) and decoder (5, d) of least penalised squared distance, by scipy from a random start."""
    s, rng = np.cov(x.T, bias=True), np.random.default_rng(seed)

    def unpack(flat):
        return flat[: d * D].reshape(d, D), flat[d * D :].reshape(D, d)

    def value_and_gradient(flat):
        a, b = unpack(flat)
        missed = np.eye(D) - b @ a
        value = np.trace(missed @ s @ missed.T) + penalty * (flat**2).sum()
        by_a, by_b = -2 * b.T @ missed @ s, -2 * missed @ s @ a.T
        return value, np.concatenate([by_a.ravel(), by_b.ravel()]) + 2 * penalty * flat

    start = rng.normal(scale=0.5, size=2 * d * D)
    options = {"gtol": 1e-10, "maxiter": 5000}
    return unpack(optimize.minimize(value_and_gradient, start, jac=True, method="BFGS", options=options).x)


@printed(r"S = \frac{1}{N} \sum_{n=1}^{N} x_n x_n^\top = \frac{1}{N} X^\top X")
def test_equation_2_1(rng):
    x = centred(rng)
    sums = [[sum(row[i] * row[j] for row in x) / len(x) for j in range(D)] for i in range(D)]
    np.testing.assert_allclose(x.T @ x / len(x), sums, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(EmpiricalCovariance().fit(x).covariance_, sums, rtol=1e-10, atol=1e-12)


@printed(
    r"\frac{1}{N} \sum_{n=1}^{N} \lVert x_n - Q Q^\top x_n \rVert^2",
    r" = \operatorname{tr} S - \operatorname{tr} Q^\top S Q",
)
@pytest.mark.parametrize("d", [1, 2, 5])
def test_equation_2_2(d, rng):
    x, w = centred(rng), orthonormal(rng, d)
    feet = [w @ np.linalg.lstsq(w, row, rcond=None)[0] for row in x]  # the nearest points
    lost = np.mean([math.dist(row, foot) ** 2 for row, foot in zip(x, feet, strict=True)])
    s = np.cov(x.T, bias=True)
    kept = sum(w[:, i] @ s @ w[:, i] for i in range(d))
    assert lost == pytest.approx(sum(x.var(axis=0)) - kept, rel=1e-10, abs=1e-12)


@printed(r"\operatorname{tr} Q^\top S Q = \sum_{i=1}^{D} \lambda_i \, \lVert Q^\top v_i \rVert^2")
@pytest.mark.parametrize("d", [1, 2, 4])
def test_equation_2_3(d, rng):
    x, w = centred(rng), orthonormal(rng, d)
    values, vectors = eigen(x)
    weights = [math.hypot(*(w.T @ vector)) ** 2 for vector in vectors.T]
    kept = (x @ w).var(axis=0).sum()
    assert kept == pytest.approx(sum(value * weight for value, weight in zip(values, weights, strict=True)), rel=1e-10)
    assert max(weights) <= 1 + 1e-12 and sum(weights) == pytest.approx(d)  # as the text says under it
    assert kept < values[:d].sum() == pytest.approx((x @ vectors[:, :d]).var(axis=0).sum())


@printed(
    r"\min_{\operatorname{rank} \hat{X} \le d} \lVert X - \hat{X} \rVert_F^2 = \sum_{i > d} s_i^2 , \qquad ",
    r"\lambda_i = s_i^2 / N",
)
@pytest.mark.parametrize("d", [1, 2, 4])
def test_equation_2_4(d, rng):
    x = centred(rng)
    s = np.linalg.svd(x, compute_uv=False)
    np.testing.assert_allclose(eigen(x)[0], s**2 / len(x), rtol=1e-10)
    least = (s[d:] ** 2).sum()
    left, right = rng.normal(size=(len(x), d)), np.empty((d, D))
    for _ in range(400):  # each half is least squares: the loss of a table of rank d, only ever smaller
        right = np.linalg.lstsq(left, x, rcond=None)[0]
        left = np.linalg.lstsq(right.T, x.T, rcond=None)[0].T
    assert ((x - left @ right) ** 2).sum() == pytest.approx(least, rel=1e-9)
    for _ in range(200):
        other = left @ right + 0.1 * rng.normal(size=(len(x), d)) @ rng.normal(size=(d, D))
        u, size, v = np.linalg.svd(other, full_matrices=False)
        assert ((x - (u[:, :d] * size[:d]) @ v[:d]) ** 2).sum() > least
        assert ((x - rng.normal(size=(len(x), d)) @ right) ** 2).sum() > least


@printed(r"\hat{x} = B A x")
def test_equation_2_5(rng):
    model = models.LinearAE(D, n_latent=2, seed=3).double()
    a, b = model.encoder[0], model.decoder[0]
    with torch.no_grad():
        a.bias.zero_(), b.bias.zero_()
    x = rng.normal(size=(4, D))
    x_hat, z = (value.detach().numpy() for value in model(double(x)))
    by_hand = [b.weight.detach().numpy() @ (a.weight.detach().numpy() @ row) for row in x]
    assert len(model.encoder) == len(model.decoder) == 1 and z.shape == (4, 2)
    np.testing.assert_allclose(x_hat, by_hand, rtol=1e-12)


@printed(r"(B G^{-1}) (G A) = B A")
def test_equation_2_6(rng):
    x, g = centred(rng), np.array([[2.0, 1.0], [0.0, -0.5]])
    model = models.LinearAE(D, n_latent=2, seed=3).double()
    a, b = model.encoder[0].weight, model.decoder[0].weight
    x_hat, z = (value.detach().numpy() for value in model(double(x)))
    with torch.no_grad():
        a.copy_(double(g) @ a), b.copy_(torch.linalg.solve(double(g.T), b.T).T)
        model.encoder[0].bias.copy_(double(g) @ model.encoder[0].bias)
    other_hat, other = (value.detach().numpy() for value in model(double(x)))
    np.testing.assert_allclose(other_hat, x_hat, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(other, z @ g.T, rtol=1e-10, atol=1e-12)
    assert not np.allclose(other, z, atol=0.1)


@printed(r"B A = V_d V_d^\top")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_equation_2_7(d, rng):
    x = centred(rng)
    vectors = eigen(x)[1][:, :d]
    found = [best_linear(x, d, seed) for seed in range(3)]
    for a, b in found:
        np.testing.assert_allclose(b @ a, vectors @ vectors.T, atol=1e-5)
    assert np.abs(found[0][1] - found[1][1]).max() > 0.1  # the product is determined, its factors are not


@printed(r"B = V_d \, (I - \kappa \Lambda_d^{-1})^{1/2} \, O , \qquad A = B^\top")
@pytest.mark.parametrize("penalty", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(2))
def test_equation_2_8(penalty, seed, rng):
    x, d = centred(rng), 3
    values, vectors = eigen(x)
    assert values[d - 1] > penalty
    a, b = best_linear(x, d, seed, penalty)
    scale = np.diag([math.sqrt(1 - penalty / value) for value in values[:d]])
    o = np.linalg.inv(scale) @ vectors[:, :d].T @ b
    np.testing.assert_allclose(o @ o.T, np.eye(d), atol=1e-5)
    np.testing.assert_allclose(b, vectors[:, :d] @ scale @ o, atol=1e-5)
    np.testing.assert_allclose(a, b.T, atol=1e-5)
    assert np.abs(o - np.diag(np.diag(o))).max() > 0.1  # any rotation: not PCA's axes


@printed(r"\text{loss}(t) = \text{loss}(0) - (\lambda_i - \lambda_j) \sin^2 t")
@pytest.mark.parametrize(("i", "j"), [(1, 2), (0, 4), (1, 4)])
def test_equation_2_9(i, j, rng):
    x = centred(rng)
    values, vectors = eigen(x)
    kept = next(k for k in range(D) if k not in (i, j))  # the other axis of the code

    def loss(t):
        axes = np.c_[vectors[:, kept], math.cos(t) * vectors[:, j] + math.sin(t) * vectors[:, i]]
        return ((x - x @ np.linalg.pinv(axes).T @ axes.T) ** 2).sum(axis=1).mean()

    assert values[i] > values[j]
    for t in np.radians([-70, -1, 0, 10, 45, 90]):
        assert loss(t) == pytest.approx(loss(0) - (values[i] - values[j]) * math.sin(t) ** 2, rel=1e-9)


@printed(r"\hat{x} = \operatorname{sigmoid}(z W + c)")
def test_equation_2_10(rng):
    def formula(z, w, c):
        return [[1 / (1 + math.exp(-(row @ w[:, i] + c[i]))) for i in range(w.shape[1])] for row in z]

    x = rng.random((30, D))
    free = models.LogisticPCA(2).fit(x)
    z = free.transform(x)
    expected = formula(z, free.components_, free.intercept_)
    assert z.shape == (30, 2) and free.components_.shape == (2, D)
    np.testing.assert_allclose(free.inverse_transform(z), expected, rtol=1e-10)

    model = models.DeepAutoencoder((D, 2), "none", "glorot").double()
    with torch.no_grad():
        for weight in model.parameters():
            weight += double(rng.normal(size=weight.shape))
    x_hat, z = (value.detach().numpy() for value in model(double(x)))
    w, c = (value.detach().numpy() for value in model.decoder.parameters())
    np.testing.assert_allclose(x_hat, formula(z, w.T, c), rtol=1e-10)


class Machine:
    """A restricted Boltzmann machine whose states are all counted: 16 visible ones and 8 hidden ones."""

    xs, hs = (np.array(list(itertools.product([0.0, 1.0], repeat=n))) for n in (4, 3))

    def __init__(self, rng):
        self.rbm = models.RBM(4, 3).double()
        with torch.no_grad():
            for weight in self.rbm.parameters():
                weight.copy_(double(rng.normal(size=weight.shape)))
        self.w, self.c, self.b = (
            getattr(self.rbm, name).detach().numpy() for name in ("weight", "visible_bias", "hidden_bias")
        )

    def probabilities(self) -> np.ndarray:
        """P(x, h) of every pair of states, (16, 8), from the energies."""
        energies = [[-x @ self.w @ h - self.c @ x - self.b @ h for h in self.hs] for x in self.xs]
        weights = np.exp(-np.array(energies))
        return weights / weights.sum()

    def log_likelihoods(self) -> torch.Tensor:
        """log P(x) of every visible state, by the library's free energy."""
        return torch.log_softmax(-self.rbm.free_energy(double(self.xs)), 0)


@printed(
    r"P(x, h) \propto e^{-E(x, h)} , \qquad ",
    r"E(x, h) = - x^\top W h - c^\top x - b^\top h",
)
def test_equation_2_11(rng):
    machine = Machine(rng)
    by_hand = np.log(machine.probabilities().sum(axis=1))
    np.testing.assert_allclose(machine.log_likelihoods().detach(), by_hand, rtol=1e-10)


@printed(
    r"P(h_j = 1 \mid x) = \operatorname{sigmoid}(b + W^\top x)_j , \qquad ",
    r"P(x_i = 1 \mid h) = \operatorname{sigmoid}(c + W h)_i",
)
def test_equation_2_12(rng):
    machine = Machine(rng)
    p, w, b, c = machine.probabilities(), machine.w, machine.b, machine.c
    upward = p @ machine.hs / p.sum(axis=1, keepdims=True)
    downward = p.T @ machine.xs / p.T.sum(axis=1, keepdims=True)
    np.testing.assert_allclose([expit(b + w.T @ x) for x in machine.xs], upward, rtol=1e-10)
    np.testing.assert_allclose([expit(c + w @ h) for h in machine.hs], downward, rtol=1e-10)
    np.testing.assert_allclose(machine.rbm.encode(double(machine.xs)).detach(), upward, rtol=1e-10)
    np.testing.assert_allclose(machine.rbm.decode(double(machine.hs)).detach(), downward, rtol=1e-10)


@printed(
    r"\frac{\partial \log P(x)}{\partial W}",
    r" = \langle x h^\top \rangle_{h \mid x} - \langle x h^\top \rangle_{x, h}",
)
@pytest.mark.parametrize("k", [0, 5, 15])
def test_equation_2_13(k, rng):
    machine = Machine(rng)
    p, x = machine.probabilities(), machine.xs[k]
    given_x = sum(p[k, m] / p[k].sum() * np.outer(x, h) for m, h in enumerate(machine.hs))
    of_both = sum(p[n, m] * np.outer(v, h) for n, v in enumerate(machine.xs) for m, h in enumerate(machine.hs))
    [gradient] = torch.autograd.grad(machine.log_likelihoods()[k], machine.rbm.weight)
    np.testing.assert_allclose(gradient, given_x - of_both, atol=1e-12)


@printed(r"\operatorname{Var}(w) = \frac{2}{n_\text{in}}")
def test_equation_2_14(rng):
    model = models.DeepAutoencoder((300, 900, 20), init="he", output="real")
    for layer in (model.encoder[0], model.encoder[2]):
        assert layer.weight.var().item() == pytest.approx(2 / layer.in_features, rel=0.03)

    def mean_squares(init):
        """Of what each of the layers after the first gets, relative to what the first gets; mean of three starts."""
        found = []
        for seed in range(3):
            values, squares = double(rng.normal(size=(50, 300))), []
            for layer in models.DeepAutoencoder([300] * 16, init=init, seed=seed).double().encoder[:-1]:
                values = layer(values)
                if isinstance(layer, torch.nn.ReLU):
                    squares.append((values**2).mean().item())
            found.append(squares)
        return np.mean(found, axis=0)

    kept = mean_squares("he")
    assert len(kept) == 14 and kept.min() > 0.4 and kept.max() < 2.5
    assert mean_squares("pytorch")[5] < 0.01 and mean_squares("glorot")[-1] < 1e-3
