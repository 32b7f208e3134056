"""Both sides of every numbered equation of chapter 4; see ``test_equations.py``."""

import math

import numpy as np
import pytest
import torch
from equations import double, minibatch, printed
from scipy import integrate, stats
from sklearn.naive_bayes import GaussianNB
from torch.distributions import MultivariateNormal, kl_divergence

from course_lib import models


@pytest.fixture
def line():
    """Probabilistic PCA with one latent number: all that chapter 4 defines has a closed form in it."""
    return models.PPCA([[1.2], [-0.4], [0.7]], [0.1, 0.3, -0.2], 0.5)


@pytest.fixture
def x():
    return double([[0.9, -0.1, 0.6], [-1.5, 0.8, 0.2]])


def pdf_given(model, x, z: float) -> float:
    """P(x | z) by SciPy, from the weights alone."""
    mean = model.weight.detach().numpy()[:, 0] * z + model.mean.detach().numpy()
    return math.prod(stats.norm(mean, model.sigma).pdf(x))


def over_z(function) -> float:
    return integrate.quad(function, -10, 10, epsabs=1e-13, epsrel=1e-11)[0]


@printed(r"P(y \mid x) = \frac{P(x \mid y) \, P(y)}{\sum_{y'} P(x \mid y') \, P(y')}")
def test_equation_4_1(rng):
    x, y = rng.normal(size=(60, 2)) + 1.5 * np.repeat([[0, 0], [1, 2], [2, 0]], 20, axis=0), np.repeat([0, 1, 2], 20)
    model = GaussianNB(var_smoothing=0).fit(x, y)
    for one in x[::7]:
        joint = [math.prod(stats.norm(model.theta_[k], np.sqrt(model.var_[k])).pdf(one)) / 3 for k in range(3)]
        np.testing.assert_allclose(model.predict_proba(one[None])[0], np.array(joint) / sum(joint), rtol=1e-9)


@printed(r"P(x, z) = P(x \mid z) \, P(z)")
@pytest.mark.parametrize("z", [-0.8, 0.3, 2.0])
def test_equation_4_2(line, x, z):
    weight, mean = line.weight.detach().numpy()[:, 0], line.mean.detach().numpy()
    cross = np.outer(weight, weight) + 0.25 * np.eye(3)
    covariance = np.block([[cross, weight[:, None]], [weight[None], np.ones((1, 1))]])  # of (x, z), jointly Gaussian
    joint = stats.multivariate_normal(np.r_[mean, 0], covariance)
    for one in x.numpy():
        assert joint.pdf(np.r_[one, z]) == pytest.approx(pdf_given(line, one, z) * stats.norm.pdf(z), rel=1e-9)


@printed(r"P(x) = \int P(x \mid z) \, P(z) \, dz")
def test_equation_4_3(line, x):
    for one, log_x in zip(x.numpy(), line.log_prob(x).tolist(), strict=True):
        integral = over_z(lambda z, one=one: pdf_given(line, one, z) * stats.norm.pdf(z))
        assert math.exp(log_x) == pytest.approx(integral, rel=1e-9)


@printed(r"P(z \mid x) = \frac{P(x \mid z) \, P(z)}{P(x)}")
@pytest.mark.parametrize("z", [-0.8, 0.3, 2.0])
def test_equation_4_4(line, x, z):
    mean, covariance = (part.detach().numpy() for part in line.posterior(x))
    for one, center in zip(x.numpy(), mean[:, 0], strict=True):
        evidence = over_z(lambda z, one=one: pdf_given(line, one, z) * stats.norm.pdf(z))
        formula = pdf_given(line, one, z) * stats.norm.pdf(z) / evidence
        assert stats.norm(center, math.sqrt(covariance[0, 0])).pdf(z) == pytest.approx(formula, rel=1e-8)


@printed(
    r"P(z) = \mathcal{N}(0, I) , \qquad P_{\boldsymbol{\theta}}(x \mid z) = ",
    r"\mathcal{N} \bigl( g_{\boldsymbol{\theta}}(z) , \, \sigma^2 I \bigr)",
)
def test_equation_4_5(x):
    model = models.GeneExprVAE(3, 2, (6, 5), sigma=0.6, seed=1).double()
    z = double([[0.4, -1.0], [1.2, 0.3]])
    means = model.decode(z).detach().numpy()
    formula = [stats.multivariate_normal(m, 0.36 * np.eye(3)).logpdf(one) for m, one in zip(means, x, strict=True)]
    np.testing.assert_allclose(model.log_likelihood(minibatch(x), z).detach(), formula, rtol=1e-9)
    drawn, centers = (model.sample(4000, seed=2, mean=mean).detach().numpy() for mean in (False, True))
    assert stats.kstest((drawn - centers).ravel(), stats.norm(scale=0.6).cdf).pvalue > 0.01
    model.decoder = torch.nn.Identity()  # now the means are the codes
    codes = model.sample(4000, seed=2, mean=True).numpy()
    assert stats.kstest(codes.ravel(), stats.norm.cdf).pvalue > 0.01
    assert abs(np.corrcoef(codes.T)[0, 1]) < 0.06


@printed(
    r"q_\varphi(z \mid x) = \mathcal{N} \bigl( \mu_\varphi(x) , \, ",
    r"\operatorname{diag} \sigma_{z, \varphi}(x)^2 \bigr)",
)
def test_equation_4_6(x):
    model = models.GeneExprVAE(3, 2, (6, 5), seed=1).double()
    mu, logvar = (part[:1].detach() for part in model.encode(x))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = model.reparameterize(mu.expand(4000, 2), logvar.expand(4000, 2)).numpy()
    for drawn, mean, variance in zip(z.T, mu[0].tolist(), logvar[0].exp().tolist(), strict=True):
        assert stats.kstest(drawn, stats.norm(mean, math.sqrt(variance)).cdf).pvalue > 0.01
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.06


@printed(
    r"\mathrm{loss}(x) = - \, \mathbb{E}_{q_\varphi(z \mid x)} \bigl[ \log P_{\boldsymbol{\theta}}(x \mid z) \bigr] ",
    r"+ \mathrm{KL} \bigl( q_\varphi(z \mid x) \,\Vert\, P(z) \bigr)",
)
def test_equation_4_7(x):
    model = models.GeneExprVAE(3, 1, (6, 5), sigma=0.6, seed=1).double()
    means, logvars = (part[:, 0].tolist() for part in model.encode(x))

    def log_given(n, z):
        return stats.norm(model.decode(double([[z]])).detach().numpy()[0], 0.6).logpdf(x[n].numpy()).sum()

    formula = []
    for n, (mean, logvar) in enumerate(zip(means, logvars, strict=True)):
        q = stats.norm(mean, math.exp(logvar / 2))
        low, high = mean - 8 * q.std(), mean + 8 * q.std()
        expected = integrate.quad(lambda z, n=n, q=q: q.pdf(z) * log_given(n, z), low, high, limit=200)[0]
        kl = integrate.quad(lambda z, q=q: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), low, high)[0]
        formula.append(kl - expected)
    many = minibatch(x.repeat(20_000, 1))  # one draw for each copy
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        loss = model.loss(many)
    per_cell = (loss.reconstruction + loss.kl).reshape(-1, 2)
    error = per_cell.std(dim=0) / math.sqrt(len(per_cell))
    assert (np.abs(per_cell.mean(dim=0).numpy() - formula) < 4 * error.numpy()).all()
    assert loss.loss.item() == pytest.approx(per_cell.mean().item(), rel=1e-12)


@printed(
    r"\log P_{\boldsymbol{\theta}}(x) - \mathcal{L}(x) = ",
    r"\mathrm{KL} \bigl( q_\varphi(z \mid x) \,\Vert\, P_{\boldsymbol{\theta}}(z \mid x) \bigr) \ge 0",
)
def test_equation_4_8(x, rng):
    model = models.PPCA(rng.normal(size=(3, 2)), [0.1, 0.3, -0.2], 0.5)
    mu, logvar = double(rng.normal(size=(2, 2))), double(rng.normal(size=(2, 2)))
    model.encode = lambda _: (mu, logvar)  # any q will do
    with torch.no_grad():
        loss = model.loss(minibatch(x))
        gap = model.log_prob(x) + loss.reconstruction + loss.kl
        center, covariance = model.posterior(x)
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    kl = kl_divergence(q, MultivariateNormal(center, covariance.expand(2, 2, 2)))
    np.testing.assert_allclose(gap, kl, rtol=1e-8)
    assert (kl > 0.01).all()


@printed(r"q_\varphi(z) = \frac{1}{N} \sum_{n=1}^{N} q_\varphi(z \mid x_n)")
def test_equation_4_9():
    """Codes drawn as exercise 4.5 says follow the average of the densities."""
    rng, mu, sd = np.random.default_rng(0), np.array([-2.0, 0.5, 1.0]), np.array([0.3, 1.0, 0.5])
    cell = rng.integers(3, size=8000)
    codes = rng.normal(mu[cell], sd[cell])
    edges = np.linspace(-5, 5, 41)
    expected = np.diff(np.mean([stats.norm(m, s).cdf(edges) for m, s in zip(mu, sd, strict=True)], axis=0))
    observed = np.histogram(codes, edges)[0] / len(codes)
    np.testing.assert_allclose(observed, expected, atol=4 * math.sqrt(0.1 / 8000))


@printed(
    r"\operatorname{Var}(x_g) = \operatorname{Var}_z \bigl( g_{\boldsymbol{\theta}}(z)_g \bigr) + \sigma^2",
)
def test_equation_4_10():
    model = models.GeneExprVAE(3, 2, (6, 5), sigma=0.6, seed=1).double()
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    z = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2
    with torch.no_grad():
        means = model.decode(double(z)).numpy()
        drawn = model.sample(200_000, seed=3).numpy()
    formula = weights @ (means - weights @ means) ** 2 + 0.36
    np.testing.assert_allclose(drawn.var(axis=0), formula, rtol=4 * math.sqrt(2 / 200_000))
    assert (formula > 0.36 + 1e-3).all()
