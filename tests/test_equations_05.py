"""Both sides of every numbered equation of chapter 5; see ``test_equations.py``."""

import math

import numpy as np
import pytest
import torch
from equations import double, minibatch, printed
from scipy import integrate, stats
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.nn import functional

from course_lib import channels, latent, likelihoods, training
from course_lib.models import PPCA, GeneExprVAE, LinearVAE

X_SMALL, SIGMA = 1.3, 0.8
"""One gene and one latent number: z ~ N(0, 1), x ~ N(z, SIGMA²), x = X_SMALL."""


def joint(z):
    return stats.norm(z, SIGMA).pdf(X_SMALL) * stats.norm.pdf(z)


def integral(f) -> float:
    return sum(integrate.quad(f, *ends, epsabs=1e-13)[0] for ends in ((-12, 0), (0, 1), (1, 12)))


def small_posterior():
    return stats.norm(X_SMALL / (1 + SIGMA**2), SIGMA / math.sqrt(1 + SIGMA**2))


QS = [stats.norm(0, 1), stats.norm(0.3, 0.9), small_posterior()]


def model(n_genes=6, d=3, sigma=0.7, seed=0) -> PPCA:
    rng = np.random.default_rng(seed)
    return PPCA(rng.normal(size=(n_genes, d)), rng.normal(size=n_genes), sigma).requires_grad_(False)


def gaussians(p: PPCA, n=4, seed=1):
    """Cells, and a q for each of them with correlated dimensions."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(p.n_latent, p.n_latent))
    return (
        double(rng.normal(size=(n, p.n_genes))),
        double(rng.normal(size=(n, p.n_latent))),
        double(factor @ factor.T + 0.3 * np.eye(p.n_latent)),
    )


def spread_out(variances, n=300, seed=0) -> torch.Tensor:
    """Samples with exactly this diagonal covariance matrix, turned, and mean 0."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(n, len(variances)))
    white = np.linalg.qr(white - white.mean(0))[0] * math.sqrt(n)
    return double(white * np.sqrt(variances) @ np.linalg.qr(rng.normal(size=(len(variances),) * 2))[0].T)


@pytest.fixture(scope="module")
def trained() -> tuple[torch.Tensor, LinearVAE, np.ndarray]:
    """Data, a linear VAE at its maximum, and the eigenvalues: two are above σ² = 0.6."""
    variances = np.array([3.0, 1.5, 0.4, 0.2])
    x, vae = spread_out(variances), LinearVAE(4, 3, sigma=math.sqrt(0.6), seed=0).double()
    settings = {"n_epochs": 1500, "batch_size": 300, "lr": 0.1, "schedule": "cosine", "validation": 0}
    training.fit(vae, x, **settings)
    return x, vae.requires_grad_(False), variances


def distortion(x, vae) -> float:
    mu, logvar = vae.encode(x)
    return (((x - vae.decode(mu)) ** 2).sum(1) + logvar.exp() @ (vae.weight**2).sum(0)).mean().item()


@printed(r"\mathrm{KL}(P \parallel Q) = \sum_x P(x) \log \frac{P(x)}{Q(x)}")
def test_equation_5_1():
    p, q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
    formula = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert formula == pytest.approx(stats.entropy(p, q), rel=1e-12)
    theirs = kl_divergence(*(torch.distributions.Categorical(double(part)) for part in (p, q))).item()
    assert formula == pytest.approx(theirs, rel=1e-12) and formula != pytest.approx(stats.entropy(q, p), rel=0.01)


@printed(
    r"\mathrm{KL}(P_\text{data} \parallel P_{\boldsymbol{\theta}}) = - H(P_\text{data})",
    r" - \mathrm{E}_{P_\text{data}} \log P_{\boldsymbol{\theta}}(x)",
)
@pytest.mark.parametrize("p", [0.1, 0.3, 0.6])
def test_equation_5_2(p):
    data, theta = np.array([0.45, 0.30, 0.15, 0.10]), stats.binom(3, p).pmf(np.arange(4))
    formula = -stats.entropy(data) - sum(a * math.log(b) for a, b in zip(data, theta, strict=True))
    assert formula == pytest.approx(stats.entropy(data, theta), rel=1e-12)


@printed(r"P(x) = \int P(x \mid z) \, P(z) \, dz = \mathrm{E}_{P(z)} \, P(x \mid z)")
def test_equation_5_3():
    exact = stats.norm(0, math.sqrt(1 + SIGMA**2)).pdf(X_SMALL)
    assert integral(joint) == pytest.approx(exact, rel=1e-9)
    z = np.random.default_rng(0).normal(size=400_000)
    likelihood = stats.norm(z, SIGMA).pdf(X_SMALL)
    assert likelihood.mean() == pytest.approx(exact, abs=4 * likelihood.std() / math.sqrt(len(z)))


@printed(r"P(x) = \mathcal{N}(x; \; m, \; W W^\top + \sigma^2 I)")
def test_equation_5_4():
    p, x = model(), double(np.random.default_rng(2).normal(size=(4, 6)))
    weight, mean = p.weight.numpy(), p.mean.numpy()
    formula = stats.multivariate_normal(mean, weight @ weight.T + 0.49 * np.eye(6)).logpdf(x)
    np.testing.assert_allclose(p.log_prob(x), formula, rtol=1e-10)
    one = PPCA([[1.0]], [0.0], SIGMA).log_prob(double([[X_SMALL]])).item()
    assert one == pytest.approx(math.log(integral(joint)), rel=1e-9)


@printed(r"P(z \mid x) = \mathcal{N} \bigl( z; \; M^{-1} W^\top (x - m), \; \sigma^2 M^{-1} \bigr)")
def test_equation_5_5():
    p, x = model(), double(np.random.default_rng(2).normal(size=(4, 6)))
    weight, mean = p.weight.numpy(), p.mean.numpy()
    inverse = np.linalg.inv(weight.T @ weight + 0.49 * np.eye(3))
    found = p.posterior(x)
    np.testing.assert_allclose(found[0], (x.numpy() - mean) @ weight @ inverse.T, atol=1e-12)
    np.testing.assert_allclose(found[1], 0.49 * inverse, atol=1e-12)
    z = double(np.random.default_rng(3).normal(size=(4, 3)))
    both = p.log_likelihood(minibatch(x), z) + Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(both - p.log_prob(x), MultivariateNormal(*found).log_prob(z))  # Bayes' rule


@printed(r"\hat{P}(x) = \frac{1}{S} \sum_{s=1}^{S} P(x \mid z_s) , \qquad z_s \sim P(z)")
def test_equation_5_6():
    p, x = model(), model().sample(1, seed=5)
    z = double(np.random.default_rng(4).normal(size=(200_000, 3)))
    terms = np.exp(likelihoods.log_gaussian(x, p.decode(z), p.sigma).sum(1).numpy())
    estimate, exact = sum(terms) / len(terms), math.exp(p.log_prob(x).item())
    assert estimate == pytest.approx(exact, abs=4 * terms.std() / math.sqrt(len(terms)))


@printed(
    r"\mathrm{E}_{P(z)} \, P(x \mid z)^2 = (4 \pi \sigma^2)^{-D/2} \, ",
    r"\mathcal{N} \bigl( x; \; m, \; W W^\top + \tfrac12 \sigma^2 I \bigr)",
)
def test_equation_5_7():
    exact = integral(lambda z: stats.norm(z, SIGMA).pdf(X_SMALL) ** 2 * stats.norm.pdf(z))
    formula = (4 * math.pi * SIGMA**2) ** -0.5 * stats.norm(0, math.sqrt(1 + SIGMA**2 / 2)).pdf(X_SMALL)
    assert formula == pytest.approx(exact, rel=1e-9)
    p, z = model(4, 2, sigma=1.5), double(np.random.default_rng(4).normal(size=(300_000, 2)))
    x = p.sample(1, seed=5)
    squares = np.exp(2 * likelihoods.log_gaussian(x, p.decode(z), p.sigma).sum(1).numpy())
    weight, mean = p.weight.numpy(), p.mean.numpy()
    normal = stats.multivariate_normal(mean, weight @ weight.T + p.sigma**2 / 2 * np.eye(4)).pdf(x[0])
    formula = (4 * math.pi * p.sigma**2) ** (-4 / 2) * normal
    assert formula == pytest.approx(squares.mean(), abs=4 * squares.std() / math.sqrt(len(z)))


@printed(
    r"P(x) = \int q(z) \, \frac{P(x, z)}{q(z)} \, dz = \mathrm{E}_q \, r(z) , \qquad ",
    r"r(z) = \frac{P(x, z)}{q(z)}",
)
@pytest.mark.parametrize("q", QS)
def test_equation_5_8(q):
    exact = stats.norm(0, math.sqrt(1 + SIGMA**2)).pdf(X_SMALL)
    z = q.rvs(200_000, random_state=1)
    r = joint(z) / q.pdf(z)
    assert r.mean() == pytest.approx(exact, abs=4 * r.std() / math.sqrt(len(z)) + 1e-12)


@printed(r"\log P(x) = \log \mathrm{E}_q \, r(z) \; \geq \; \mathrm{E}_q \log r(z) = \mathcal{L}")
@pytest.mark.parametrize("q", QS)
def test_equation_5_9(q):
    evidence = stats.norm(0, math.sqrt(1 + SIGMA**2)).logpdf(X_SMALL)
    bound = integral(lambda z: q.pdf(z) * (math.log(joint(z)) - q.logpdf(z)))
    p = PPCA([[1.0]], [0.0], SIGMA)
    exact = p.elbo(double([[X_SMALL]]), double([[q.mean()]]), double([[q.var()]])).item()
    assert bound == pytest.approx(exact, rel=1e-8) and bound <= evidence + 1e-9
    assert (bound == pytest.approx(evidence, abs=1e-8)) == (q is QS[2])


@printed(r"\mathcal{L} = \log P(x) - \mathrm{KL} \bigl( q(z) \parallel P(z \mid x) \bigr)")
def test_equation_5_10():
    p = model()
    x, mu, covariance = gaussians(p)
    gap = kl_divergence(MultivariateNormal(mu, covariance), MultivariateNormal(*p.posterior(x)))
    torch.testing.assert_close(p.elbo(x, mu, covariance), p.log_prob(x) - gap, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(p.elbo(x, *p.posterior(x)), p.log_prob(x), rtol=1e-12, atol=1e-11)
    assert (gap > 0.1).all()


@printed(
    r"\mathcal{L} = \mathrm{E}_q \log P(x \mid z) - \mathrm{KL} \bigl( q(z) \parallel P(z) \bigr)",
)
def test_equation_5_11():
    p = model()
    x, mu, covariance = gaussians(p)
    q = MultivariateNormal(mu, covariance)
    torch.manual_seed(0)
    z = q.sample((40_000,))
    fit = torch.stack([p.log_likelihood(minibatch(x), part) for part in z])
    kl = kl_divergence(q, MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()))
    error = 4 * fit.std(dim=0).max().item() / math.sqrt(len(z))
    torch.testing.assert_close(fit.mean(dim=0) - kl, p.elbo(x, mu, covariance), rtol=0, atol=error)


@printed(r"\mathrm{KL} = \tfrac12 \bigl( \mu^2 + \sigma_z^2 - 1 - \log \sigma_z^2 \bigr)")
@pytest.mark.parametrize(("mu", "width"), [(0.0, 1.0), (1.5, 0.3), (-0.4, 2.0)])
def test_equation_5_12(mu, width):
    q = stats.norm(mu, width)
    left = -0.5 * math.log(2 * math.pi * width**2) - 0.5 - (-0.5 * math.log(2 * math.pi) - 0.5 * (mu**2 + width**2))
    right = 0.5 * (mu**2 + width**2 - 1 - math.log(width**2))
    assert left == pytest.approx(right, abs=1e-12)
    integrated = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), mu - 9 * width, mu + 9 * width
    )
    assert right == pytest.approx(integrated[0], abs=1e-8)
    pair = double([[mu, mu]]), double([[2 * math.log(width)] * 2])
    assert likelihoods.kl_standard_normal(*pair).item() == pytest.approx(2 * right, abs=1e-12), "a sum over dimensions"


@printed(
    r"- \log P(x \mid z) = \frac{1}{2 \sigma^2} \lVert x - \hat{x} \rVert^2 + ",
    r"\frac{D}{2} \log 2 \pi \sigma^2",
)
def test_equation_5_13(rng):
    vae, x, z = GeneExprVAE(7, 2, (5,), sigma=1.4).double(), rng.normal(size=(3, 7)), double(rng.normal(size=(3, 2)))
    x_hat = vae.decode(z).detach().numpy()
    formula = [
        math.dist(a, b) ** 2 / (2 * 1.4**2) + 7 / 2 * math.log(2 * math.pi * 1.4**2)
        for a, b in zip(x, x_hat, strict=True)
    ]
    np.testing.assert_allclose(-vae.log_likelihood(minibatch(double(x)), z).detach(), formula, rtol=1e-12)
    np.testing.assert_allclose(-stats.norm(x_hat, 1.4).logpdf(x).sum(1), formula, rtol=1e-12)


@printed(
    r"- 2 \sigma^2 \mathcal{L} = \mathrm{E}_q \lVert x - \hat{x} \rVert^2 + ",
    r"2 \sigma^2 \, \mathrm{KL} \bigl( q(z) \parallel P(z) \bigr) + \text{constant}",
)
@pytest.mark.parametrize("sigma", [0.5, 1.7])
def test_equation_5_14(sigma):
    p = model(sigma=sigma)
    x, mu, covariance = gaussians(p)
    squared = ((x - p.decode(mu)) ** 2).sum(1) + torch.trace(p.weight @ covariance @ p.weight.T)
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    kl = kl_divergence(MultivariateNormal(mu, covariance), prior)
    constant = sigma**2 * 6 * math.log(2 * math.pi * sigma**2)
    torch.testing.assert_close(-2 * sigma**2 * p.elbo(x, mu, covariance), squared + 2 * sigma**2 * kl + constant)


@printed(
    r"\hat{\mathcal{L}} = \log P(x \mid \mu + \sigma_z \, \varepsilon) - ",
    r"\mathrm{KL} \bigl( q(z) \parallel P(z) \bigr) , \qquad \varepsilon \sim \mathcal{N}(0, I)",
)
def test_equation_5_15():
    p, x = model(), model().sample(3, seed=5)
    mu, logvar = p.encode(x)
    eps = double(np.random.default_rng(1).normal(size=(20_000, 3, 3)))
    kl = likelihoods.kl_standard_normal(mu, logvar)
    draws = torch.stack([p.log_likelihood(minibatch(x), mu + torch.exp(0.5 * logvar) * e) - kl for e in eps])
    exact = p.elbo(x, mu, torch.diag(logvar[0].exp()))
    error = 4 * draws.std(dim=0).max().item() / math.sqrt(len(eps))
    torch.testing.assert_close(draws.mean(dim=0), exact, rtol=0, atol=error)


@printed(
    r"\mathrm{E}_q \lVert x - W z - m \rVert^2 = \lVert x - W \mu - m \rVert^2 + ",
    r"\sum_{i=1}^{d} \sigma_{z,i}^2 \, \lVert w_i \rVert^2",
)
def test_equation_5_16(rng):
    p, x, mu, width = model(), rng.normal(size=6), rng.normal(size=3), np.array([0.3, 1.2, 0.7])
    weight, mean = p.weight.numpy(), p.mean.numpy()
    columns = sum(s**2 * w @ w for s, w in zip(width, weight.T, strict=True))
    formula = math.dist(x, weight @ mu + mean) ** 2 + columns
    z = mu + width * rng.normal(size=(400_000, 3))
    squared = ((x - z @ weight.T - mean) ** 2).sum(1)
    assert formula == pytest.approx(squared.mean(), abs=4 * squared.std() / math.sqrt(len(z)))


@printed(
    r"\min_{q} \mathrm{KL} \bigl( q(z) \parallel P(z \mid x) \bigr) = ",
    r"\tfrac12 \Bigl( \sum_{i=1}^{d} \log M_{ii} - \log \det M \Bigr)",
)
def test_equation_5_17():
    p = model()
    x, *_ = gaussians(p)
    m = (p.weight.T @ p.weight + p.sigma**2 * torch.eye(3).double()).numpy()
    formula = 0.5 * (sum(math.log(m[i, i]) for i in range(3)) - math.log(np.linalg.det(m)))
    mean, covariance = p.posterior(x)
    logvar = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    shift = torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logvar, shift], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def gap():
        q = MultivariateNormal(mean[0] + shift, torch.diag(logvar.exp()))
        return kl_divergence(q, MultivariateNormal(mean[0], covariance))

    def closure():
        optimizer.zero_grad()
        value = gap()
        value.backward()
        return value

    optimizer.step(closure)
    assert gap().item() == pytest.approx(formula, rel=1e-9) and formula > 0.1
    np.testing.assert_allclose(logvar.detach().exp(), p.sigma**2 / np.diag(m), rtol=1e-5)
    mu, best = p.encode(x)
    np.testing.assert_allclose(p.log_prob(x) - p.elbo(x, mu, torch.diag(best[0].exp())), formula, rtol=1e-9)


@printed(
    r"\mathcal{L}_K = \mathrm{E} \log \frac{1}{K} \sum_{k=1}^{K} r(z_k) , \qquad ",
    r"\log P(x) \geq \mathcal{L}_{K+1} \geq \mathcal{L}_K",
)
def test_equation_5_18():
    p, cells = model(), model().sample(4000, seed=5)
    mu, logvar = p.encode(cells)
    gaps = {k: (p.log_prob(cells).numpy() - latent.iwae(p, cells, k)).mean() for k in (1, 2, 8)}
    exact = (p.log_prob(cells) - p.elbo(cells, mu, torch.diag(logvar[0].exp()))).mean().item()
    assert gaps[1] == pytest.approx(exact, abs=0.08) and gaps[1] > gaps[2] > gaps[8] > 0
    q, rng = QS[1], np.random.default_rng(3)
    z = q.rvs((40_000, 8), random_state=rng)
    log_r = np.log(joint(z)) - q.logpdf(z)
    bounds = [np.log(np.exp(log_r[:, :k]).mean(axis=1)).mean() for k in (1, 2, 8)]
    assert bounds[0] < bounds[1] < bounds[2] < math.log(integral(joint)) + 1e-3


@printed(r"w_i = \sqrt{\max ( 0, \; \lambda_i - \sigma^2 )} \; u_i")
def test_equation_5_19(trained):
    x, vae, variances = trained
    values, vectors = np.linalg.eigh(np.cov(x.T.numpy(), bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    formula = np.sqrt(np.maximum(0, values[:3] - 0.6)) * vectors[:, :3]
    found = vae.weight.numpy()
    found = found[:, np.argsort(-np.linalg.norm(found, axis=0))]
    np.testing.assert_allclose(np.abs(found), np.abs(formula), atol=2e-3)
    np.testing.assert_allclose(values, variances, rtol=1e-9)
    best = PPCA.fit(x, 3, sigma=math.sqrt(0.6)).weight.detach().numpy()
    np.testing.assert_allclose(np.abs(best), np.abs(formula), atol=1e-9)


@printed(
    r"\overline{\mathrm{KL}}_i = \max \Bigl( 0, \; \tfrac12 \log \frac{\lambda_i}{\sigma^2} \Bigr)",
)
def test_equation_5_20(trained):
    x, vae, variances = trained
    formula = [max(0.0, 0.5 * math.log(value / 0.6)) for value in variances[:3]]
    np.testing.assert_allclose(np.sort(latent.active_units(vae, x)["kl"])[::-1], formula, atol=1e-4)
    best = PPCA.fit(x, 3, sigma=math.sqrt(0.6))
    np.testing.assert_allclose(latent.active_units(best, x)["kl"], formula, atol=1e-9)


@printed(r"\Delta = \overline{ \mathrm{E}_q \lVert x - \hat{x} \rVert^2 }")
def test_equation_5_21(trained):
    x, vae, variances = trained
    torch.manual_seed(0)
    drawn = np.mean([((x - vae(x)[0]) ** 2).sum(1).mean().item() for _ in range(400)])
    found = distortion(x, vae)
    assert found == pytest.approx(drawn, rel=0.01)
    assert found == pytest.approx(np.minimum(variances, 0.6).sum(), rel=1e-4)
    bound = channels.reverse_water_filling(variances, found)
    assert bound.level == pytest.approx(0.6, rel=1e-3)
    assert bound.rate * math.log(2) == pytest.approx(latent.active_units(vae, x)["kl"].sum(), rel=1e-3)


@printed(
    r"\overline{ \mathrm{KL} \bigl( q(z \mid x) \parallel P(z) \bigr) } = I(x; z) + ",
    r"\mathrm{KL} \bigl( \bar{q}(z) \parallel P(z) \bigr) \; \geq \; I(x; z)",
)
@pytest.mark.parametrize(("slope", "width"), [(0.4, 0.8), (1.3, 0.2), (0.6, 0.8)])
def test_equation_5_22(slope, width):
    """x ~ N(0, 1.5²), z = slope · x + width · ε: all three terms in closed form."""
    means = slope**2 * 1.5**2
    rate = 0.5 * (means + width**2 - 1 - math.log(width**2))
    information = 0.5 * math.log((means + width**2) / width**2)
    rest = kl_divergence(Normal(double(0.0), math.sqrt(means + width**2)), Normal(double(0.0), 1.0)).item()
    assert rate == pytest.approx(information + rest, rel=1e-9)
    assert (rest < 1e-12) == (slope == 0.4), "codes of all cells together are N(0, 1) in the first case"


@printed(
    r"\frac{D}{2} \Bigl( \text{mse} + \sum_{n=1}^{B} \mathrm{KL}_n \Bigr) = ",
    r"\frac{1}{B} \sum_{n=1}^{B} \Bigl( \tfrac12 \lVert x_n - \hat{x}_n \rVert^2 + ",
    r"\frac{B D}{2} \, \mathrm{KL}_n \Bigr)",
)
def test_equation_5_23(rng):
    x, x_hat = double(rng.normal(size=(2, 8, 5)))
    mu, logvar = double(rng.normal(size=(2, 8, 3)))
    mse, kl = functional.mse_loss(x_hat, x, reduction="mean"), likelihoods.kl_standard_normal(mu, logvar)
    summed = -0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp())
    beta = 8 * 5 / 2
    right = sum(0.5 * math.dist(a, b) ** 2 + beta * c for a, b, c in zip(x, x_hat, kl.tolist(), strict=True)) / 8
    assert (5 / 2 * (mse + summed)).item() == pytest.approx(right, rel=1e-12)


@printed(
    r"\mathcal{L}_\beta = \mathrm{E}_q \log P(x \mid z) - \beta \, \mathrm{KL} \bigl( q(z) \parallel P(z) \bigr)",
)
@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_equation_5_24(beta):
    p, x = model(), model().sample(20, seed=5)
    mu, logvar = p.encode(x)
    kl = likelihoods.kl_standard_normal(mu, logvar)
    fit = p.elbo(x, mu, torch.diag(logvar[0].exp())) + kl
    assert -p.loss(minibatch(x), kl_weight=beta).loss.item() == pytest.approx(
        (fit - beta * kl).mean().item(), rel=1e-12
    )
    assert beta < 1 or (fit - beta * kl <= p.log_prob(x)).all()
