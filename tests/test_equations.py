"""Both sides of every numbered equation, evaluated apart: one test for each, ``test_equation_1_5`` for (1.5).

One side is computed by the library or by another package, the other from the formula as it is printed. The printed form
is repeated here, so that a change of the formula in a chapter sends its author back to the test. This file has those of
chapter 1, and the rules for all; later chapters have files of their own.
"""

import importlib
import itertools
import math
from fractions import Fraction
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch
from equations import (
    PRINTED,
    double,
    equation_number,
    minibatch,
    normal_form,
    printed,
)
from scipy import sparse, special, stats
from sklearn.decomposition import PCA
from sklearn.metrics import mean_squared_error

from course_lib import latent, likelihoods, models, preprocess

COUNTS = np.random.default_rng(0).poisson(3, (6, 5)) + 1


def cells(x=COUNTS, kind=np.asarray) -> ad.AnnData:
    return ad.AnnData(kind(np.asarray(x, dtype=np.float32)))


def decoder_alone(output: str, n: int):
    """A model whose decoder returns its code: what is left of `decode` is the last activation."""
    layer = torch.nn.Linear(n, n, dtype=torch.float64)
    torch.nn.init.eye_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    return models.autoencoder.Autoencoder(torch.nn.Sequential(layer), torch.nn.Sequential(layer), output)


@printed(r"z = f_\varphi(x) \in \mathbb{R}^d, \qquad \hat{x} = g_{\boldsymbol{\theta}}(z) \in \mathbb{R}^D")
def test_equation_1_1(rng):
    model = models.GeneExprAE(n_genes=5, n_latent=2, n_hidden=(4, 3)).double()
    x = rng.normal(size=(6, 5))

    def network(part, values):  # layer by layer, without torch
        for linear in (layer for layer in part if isinstance(layer, torch.nn.Linear)):
            values = values @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            values = values if linear is part[-1] else np.maximum(values, 0)
        return values

    z = network(model.encoder, x)
    x_hat, code = (value.detach().numpy() for value in model(double(x)))
    np.testing.assert_allclose(code, z, rtol=1e-12)
    np.testing.assert_allclose(x_hat, network(model.decoder, z), rtol=1e-12)
    assert code.shape == (6, 2) and x_hat.shape == x.shape
    for weights in model.encoder.parameters():  # f has no weight of g, and g none of f
        assert not any(weights is other for other in model.decoder.parameters())


@printed(r"\ell_n = \sum_{g=1}^{G} x_{ng}")
def test_equation_1_2():
    expected = [sum(int(count) for count in cell) for cell in COUNTS]
    for kind in (np.asarray, sparse.csr_matrix):
        assert preprocess.library_size(cells(kind=kind)).tolist() == expected


@printed(r"\text{normalized}_{ng} = s \, \frac{x_{ng}}{\ell_n}")
@pytest.mark.parametrize("scale", [1, 10_000])
def test_equation_1_3(scale):
    expected = [[float(scale * Fraction(int(x), int(sum(cell)))) for x in cell] for cell in COUNTS]
    normalized = preprocess.normalize(cells(), target_sum=scale)
    np.testing.assert_allclose(normalized, expected, rtol=1e-6)
    np.testing.assert_allclose(normalized.sum(axis=1), scale, rtol=1e-6)


@printed(r"\text{log-normalized}_{ng} = \log (1 + \text{normalized}_{ng})")
@pytest.mark.parametrize("scale", [1, 10_000])
def test_equation_1_4(scale):
    adata = cells(np.where(COUNTS == COUNTS.max(), 0, COUNTS))
    normalized, logged = preprocess.normalize(adata, scale), preprocess.log_normalize(adata, scale)
    expected = [[math.log(1 + float(value)) for value in cell] for cell in normalized]  # natural: e brings it back
    np.testing.assert_allclose(logged, expected, rtol=1e-6)
    np.testing.assert_allclose(np.e ** logged.astype(float) - 1, normalized, rtol=1e-4)
    assert np.array_equal(logged == 0, adata.X == 0) and (adata.X == 0).any()


@printed(r"\mathrm{MSE}(x, \hat{x}) = \frac{1}{D} \sum_{i=1}^{D} (x_i - \hat{x}_i)^2")
def test_equation_1_5(rng):
    x, x_hat = rng.normal(size=(2, 5))
    formula = sum((a - b) ** 2 for a, b in zip(x, x_hat, strict=True)) / 5
    assert formula == pytest.approx(mean_squared_error(x, x_hat), rel=1e-12)
    assert formula == pytest.approx(torch.nn.functional.mse_loss(double(x_hat), double(x)).item(), rel=1e-12)
    model = models.GeneExprAE(5, 2, (4,)).double()
    row = double(x)[None]
    summed = model.loss(minibatch(row)).reconstruction  # the book's loss is D times the mean
    assert summed.item() == pytest.approx(5 * mean_squared_error(x, model(row)[0][0].detach()), rel=1e-12)


@printed(
    r"- \log p(x \mid \hat{x}) = \frac{D}{2 \sigma^2} \, \mathrm{MSE}(x, \hat{x}) + \frac{D}{2} \log 2 \pi \sigma^2"
)
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5])
def test_equation_1_6(sigma, rng):
    x, x_hat = rng.normal(size=(2, 5))
    formula = 5 / (2 * sigma**2) * mean_squared_error(x, x_hat) + 5 / 2 * math.log(2 * math.pi * sigma**2)
    assert formula == pytest.approx(-stats.multivariate_normal(x_hat, sigma**2 * np.eye(5)).logpdf(x), rel=1e-12)
    guess = double(x_hat).requires_grad_()
    minus_log_p = -likelihoods.log_gaussian(double(x), guess, sigma).sum()
    assert formula == pytest.approx(minus_log_p.item(), rel=1e-12)
    # "so that the least squared error is the greatest likelihood": both gradients point the same way
    [slope] = torch.autograd.grad(minus_log_p, guess)
    np.testing.assert_allclose(slope, (x_hat - x) / sigma**2, rtol=1e-12)


@printed(r"\hat{x}_i = \frac{1}{1 + e^{-a_i}}")
def test_equation_1_7():
    a = np.linspace(-30, 30, 13)
    formula = [1 / (1 + math.exp(-value)) for value in a]
    np.testing.assert_allclose(formula, special.expit(a), rtol=1e-12)
    np.testing.assert_allclose(
        decoder_alone("probability", 13).decode(double(a)[None])[0].detach(), formula, rtol=1e-12
    )


@printed(
    r"\mathrm{BCE}(x, \hat{x}) = - \frac{1}{D} \sum_{i=1}^{D}",
    r"\bigl[ x_i \log \hat{x}_i + (1 - x_i) \log (1 - \hat{x}_i) \bigr]",
)
@pytest.mark.parametrize("x", [(0, 1, 1, 0, 1), (0.2, 0.9, 0.5, 0.0, 1.0)], ids=["binary", "grey"])
def test_equation_1_8(x, rng):
    a = rng.normal(size=5)
    x_hat = special.expit(a)
    formula = -sum(v * math.log(p) + (1 - v) * math.log(1 - p) for v, p in zip(x, x_hat, strict=True)) / 5
    ours = -likelihoods.log_bernoulli(double(x), double(a)).mean().item()
    theirs = torch.nn.functional.binary_cross_entropy(double(x_hat), double(x)).item()
    assert formula == pytest.approx(ours, rel=1e-12) and formula == pytest.approx(theirs, rel=1e-12)
    if set(x) <= {0, 1}:  # D times this is minus the log-likelihood of D coin tosses
        assert 5 * formula == pytest.approx(-stats.bernoulli.logpmf(x, x_hat).sum(), rel=1e-12)
    guess = double(special.logit(np.clip(x, 1e-9, 1 - 1e-9))).requires_grad_()  # least where x̂ = x
    [slope] = torch.autograd.grad(-likelihoods.log_bernoulli(double(x), guess).mean(), guess)
    assert slope.abs().max() < 1e-8


@printed(r"\hat{x}_i = \frac{e^{a_i}}{\sum_{j=1}^{D} e^{a_j}}")
def test_equation_1_9(rng):
    a = rng.normal(scale=3, size=6)
    formula = [math.exp(value) / sum(math.exp(other) for other in a) for value in a]
    np.testing.assert_allclose(formula, special.softmax(a), rtol=1e-12)
    decoded = decoder_alone("composition", 6).decode(double(a)[None])[0].detach()
    np.testing.assert_allclose(decoded, formula, rtol=1e-12)
    assert decoded.sum().item() == pytest.approx(1, rel=1e-12) and decoded.argmax() == a.argmax()


@printed(r"\mathrm{CE}(x, \hat{x}) = - \sum_{i=1}^{D} x_i \log \hat{x}_i")
def test_equation_1_10(rng):
    x, a = rng.dirichlet(np.ones(5)), rng.normal(size=5)
    formula = -sum(v * math.log(p) for v, p in zip(x, special.softmax(a), strict=True))
    assert formula == pytest.approx(stats.entropy(x) + stats.entropy(x, special.softmax(a)), rel=1e-12)
    assert formula == pytest.approx(torch.nn.functional.cross_entropy(double(a), double(x)).item(), rel=1e-12)
    assert formula == pytest.approx(-likelihoods.log_categorical(double(x), double(a)).sum().item(), rel=1e-12)
    model = models.GeneExprAE(5, 2, (4,), output="composition").double()
    row = double(x)[None]
    expected = torch.nn.functional.cross_entropy(model.decoder(model.encoder(row)), row)
    assert model.loss(minibatch(row)).loss.item() == pytest.approx(expected.item(), rel=1e-12)


@printed(r"- \log p(c \mid m, \hat{x}) = m \, \mathrm{CE}(x, \hat{x}) - \log \frac{m!}{\prod_i c_i!}")
@pytest.mark.parametrize("counts", [(3, 1, 0), (4, 2, 2), (0, 0, 7), (1, 0, 0)])
def test_equation_1_11(counts):
    m, a = sum(counts), np.array([0.5, -1.0, 2.0])
    x_hat = special.softmax(a)
    cross_entropy = -sum(c / m * math.log(p) for c, p in zip(counts, x_hat, strict=True))
    ways = math.factorial(m) // math.prod(math.factorial(c) for c in counts)
    formula = m * cross_entropy - math.log(ways)
    assert formula == pytest.approx(-stats.multinomial.logpmf(counts, m, x_hat), rel=1e-10, abs=1e-12)
    assert formula == pytest.approx(
        -likelihoods.log_multinomial(double(counts), double(a)).item(), rel=1e-10, abs=1e-12
    )
    # from the definition of the likelihood: the sum over every order in which these molecules may be caught
    one_by_one = [gene for gene, count in enumerate(counts) for _ in range(count)]
    orders = set(itertools.permutations(one_by_one))
    assert formula == pytest.approx(-math.log(sum(math.prod(x_hat[list(order)]) for order in orders)), rel=1e-10)


@printed(r"R^2 = 1 - \frac{\sum_{n,g} (x_{ng} - \hat{x}_{ng})^2}{\sum_{n,g} (x_{ng} - \bar{x}_g)^2}")
def test_equation_1_12(rng):
    x = rng.normal(size=(8, 3)) * [3, 1, 0.1] + [5, 0, -2]
    x_hat = x + rng.normal(scale=0.3, size=x.shape)
    means = [sum(column) / len(x) for column in x.T]
    missed = sum((x[n, g] - x_hat[n, g]) ** 2 for n in range(8) for g in range(3))
    spread = sum((x[n, g] - means[g]) ** 2 for n in range(8) for g in range(3))
    assert latent.variance_explained(x, x_hat) == pytest.approx(1 - missed / spread, rel=1e-12)
    pca = PCA(2).fit(x)  # of the cells it was fitted to, PCA explains what its components carry
    rebuilt = pca.inverse_transform(pca.transform(x))
    assert latent.variance_explained(x, rebuilt) == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-12)


OTHERS = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("test_equations_*.py"))]
EVERYTHING = dict(item for names in (globals(), *map(vars, OTHERS)) for item in dict(names).items())
TESTS = {name: test for name, test in EVERYTHING.items() if name.startswith("test_equation_")}


def test_every_numbered_equation_has_a_test_and_every_test_an_equation():
    assert {equation_number(name) for name in TESTS} == set(PRINTED)


@pytest.mark.parametrize("name", TESTS)
def test_every_test_states_the_formula_it_evaluates(name):
    assert TESTS[name].formula


def test_another_formula_is_not_taken_for_the_printed_one():
    formula = TESTS["test_equation_1_8"].formula
    assert normal_form(formula) != normal_form(formula.replace("(1 - x_i)", "(1 + x_i)"))
    assert normal_form(r"a \,= \bigl( \;b \bigr) .") == normal_form("a=(b)")
    assert normal_form(r"a \leftarrow b") != normal_form("a arrow b")
