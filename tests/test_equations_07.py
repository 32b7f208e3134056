"""Both sides of every numbered equation of chapter 7; see ``test_equations.py``."""

import math

import mpmath
import numpy as np
import pytest
import torch
from equations import double, printed
from scipy import integrate, optimize, special, stats

from course_lib import dispersion, draws, likelihoods

K = np.arange(2000)


def nb(x, mu, theta):
    """Equation (7.5), as printed."""
    ways = math.gamma(x + theta) / (math.factorial(x) * math.gamma(theta))
    return ways * (theta / (theta + mu)) ** theta * (mu / (theta + mu)) ** x


def moments(p) -> tuple[float, float]:
    mean = (K * p).sum()
    return mean, ((K - mean) ** 2 * p).sum()


@pytest.fixture
def fitted():
    """Counts of three genes in cells of different depth, and means exposure × rate."""
    rng = np.random.default_rng(3)
    exposure = rng.lognormal(0, 0.4, 80)
    rates = rng.gamma(2.0, np.array([0.5, 3.0, 12.0]) / 2, (80, 3))
    x = rng.poisson(exposure[:, None] * rates)
    return x, exposure, exposure[:, None] * x.sum(axis=0) / exposure.sum()


@printed(r"P(x) = \frac{\mu^x e^{-\mu}}{x!} , \qquad x = 0, 1, 2, \dots")
@pytest.mark.parametrize("mu", [0.2, 3.0, 11.0])
def test_equation_7_1(mu):
    formula = [mu**x * math.exp(-mu) / math.factorial(x) for x in range(40)]
    np.testing.assert_allclose(formula, stats.poisson(mu).pmf(np.arange(40)), rtol=1e-10)
    ours = likelihoods.log_poisson(double(np.arange(40)), double(mu)).exp()
    np.testing.assert_allclose(ours, formula, rtol=1e-10)
    many = stats.binom(10**7, mu / 10**7).pmf(np.arange(40))  # many tosses, a small probability
    np.testing.assert_allclose(many, formula, rtol=1e-4, atol=1e-12)


@printed(r"\mathrm{E}[x] = \mathrm{Var}[x] = \mu")
@pytest.mark.parametrize("mu", [0.2, 3.0, 110.0])
def test_equation_7_2(mu):
    assert moments(stats.poisson(mu).pmf(K)) == pytest.approx((mu, mu), rel=1e-9)
    p = stats.poisson(mu).pmf(K)
    assert (K * (K - 1) * p).sum() == pytest.approx(mu**2)  # said beside it


@printed(r"\frac{\sum_n (x_{ng} - \mu_{ng})^2}{\sum_n \mu_{ng}}")
def test_equation_7_3(fitted):
    x, exposure, mu = fitted
    ratio = ((x - mu) ** 2).sum(axis=0) / mu.sum(axis=0)
    # the moment estimate is the same number in another form: ratio = 1 + (Σ μ² / Σ μ) / θ
    theta = dispersion.moments(x, exposure)
    np.testing.assert_allclose(ratio, 1 + (mu**2).sum(axis=0) / mu.sum(axis=0) / theta)
    null = np.random.default_rng(0).poisson(np.tile(mu, (50, 1)))
    many = ((null - np.tile(mu, (50, 1))) ** 2).sum(axis=0) / (50 * mu.sum(axis=0))
    np.testing.assert_allclose(many, 1, atol=0.08)  # "about 1 for a Poisson"


@printed(
    r"P(x) = \int_0^\infty \frac{\lambda^x e^{-\lambda}}{x!} \; \frac{(\theta / \mu)^\theta}{\Gamma(\theta)} \, ",
    r"\lambda^{\theta - 1} e^{-\lambda \theta / \mu} \, d\lambda",
)
@pytest.mark.parametrize(("mu", "theta"), [(3.0, 2.0), (10.0, 5.0), (1.0, 1.5)])
def test_equation_7_4(mu, theta):
    def integrand(rate, x):
        poisson = rate**x * math.exp(-rate) / math.factorial(x)
        gamma = (theta / mu) ** theta / math.gamma(theta) * rate ** (theta - 1) * math.exp(-rate * theta / mu)
        assert gamma == pytest.approx(stats.gamma(theta, scale=mu / theta).pdf(rate))
        return poisson * gamma

    for x in (0, 1, 4, 12):
        integral = integrate.quad(integrand, 0, 40 * mu, args=(x,), limit=300)[0]
        assert integral == pytest.approx(nb(x, mu, theta), rel=1e-6)
    drawn = draws.negative_binomial(np.full(100_000, mu), theta, np.random.default_rng(1))
    assert (drawn == 0).mean() == pytest.approx(nb(0, mu, theta), abs=0.005)


@printed(
    r"\mathrm{NB}(x; \mu, \theta) = \frac{\Gamma(x + \theta)}{x! \, \Gamma(\theta)} ",
    r"\left( \frac{\theta}{\theta + \mu} \right)^{\!\theta} \left( \frac{\mu}{\theta + \mu} \right)^{\!x}",
)
@pytest.mark.parametrize(("mu", "theta"), [(0.3, 0.4), (3.0, 2.0), (10.0, 5.0), (20.0, 70.0)])
def test_equation_7_5(mu, theta):
    x = np.arange(60)
    formula = [nb(int(value), mu, theta) for value in x]
    np.testing.assert_allclose(formula, stats.nbinom(theta, theta / (theta + mu)).pmf(x), rtol=1e-8)
    ours = likelihoods.log_nb_positive(double(x), double(mu), double(theta)).exp()
    np.testing.assert_allclose(ours, formula, rtol=1e-8)


@printed(r"\mathrm{Var}[x] = \mathrm{E}[\lambda] + \mathrm{Var}[\lambda] = \mu + \frac{\mu^2}{\theta}")
@pytest.mark.parametrize(("mu", "theta"), [(3.0, 2.0), (10.0, 5.0), (40.0, 0.8)])
def test_equation_7_6(mu, theta):
    rate = stats.gamma(theta, scale=mu / theta)
    p = likelihoods.log_nb_positive(double(K), double(mu), double(theta)).exp().numpy()
    variance = moments(p)[1]
    assert variance == pytest.approx(rate.mean() + rate.var(), rel=1e-6)
    assert variance == pytest.approx(mu + mu**2 / theta, rel=1e-6)


@printed(r"\frac{\mathrm{Var}[x]}{\mu^2} = \frac{1}{\mu} + \frac{1}{\theta} :")
@pytest.mark.parametrize(("mu", "theta"), [(3.0, 2.0), (10.0, 5.0)])
def test_equation_7_7(mu, theta):
    variance = stats.nbinom(theta, theta / (theta + mu)).var()
    assert variance / mu**2 == pytest.approx(1 / mu + 1 / theta)


@printed(r"\lim_{\theta \to \infty} \mathrm{NB}(x; \mu, \theta) = \frac{\mu^x e^{-\mu}}{x!}")
@pytest.mark.parametrize("mu", [0.3, 10.0])
def test_equation_7_8(mu):
    limit = stats.poisson(mu).pmf(np.arange(40))
    gaps = []
    for theta in (1e2, 1e4, 1e6):
        p = likelihoods.log_nb_positive(double(np.arange(40)), double(mu), double(theta)).exp().numpy()
        gaps.append(np.abs(p - limit).max())
    assert gaps[0] > 50 * gaps[1] > 2500 * gaps[2] and gaps[2] < 1e-5


@printed(r"\theta = r , \qquad \mu = \frac{r \, p}{1 - p}")
@pytest.mark.parametrize(("r", "p"), [(500, 0.03), (5, 0.6), (2.5, 0.2)])
def test_equation_7_9(r, p):
    theta, mu = r, r * p / (1 - p)
    x = double(np.arange(80))
    slides = torch.distributions.NegativeBinomial(double(r), probs=double(p)).log_prob(x)
    ours = likelihoods.log_nb_positive(x, double(mu), double(theta))
    torch.testing.assert_close(ours, slides, rtol=1e-8, atol=1e-8)


@printed(
    r"\hat{\theta}_g = \frac{\sum_n \mu_{ng}^2}{\sum_n \bigl[ (x_{ng} - \mu_{ng})^2 - \mu_{ng} \bigr]}",
)
def test_equation_7_10(fitted):
    x, exposure, mu = fitted
    formula = [sum(m**2) / sum((c - m) ** 2 - m) for c, m in zip(x.T, mu.T, strict=True)]
    np.testing.assert_allclose(dispersion.moments(x, exposure), formula, rtol=1e-12)


@printed(
    r"\begin{aligned} \mathrm{ZINB}(0) & = \pi + (1 - \pi) \, \mathrm{NB}(0) , \cr ",
    r"\mathrm{ZINB}(x) & = (1 - \pi) \, \mathrm{NB}(x) \quad \text{for } x > 0 . \end{aligned}",
)
@pytest.mark.parametrize(("mu", "theta", "pi"), [(10.0, 5.0, 0.3), (2.0, 0.7, 0.9)])
def test_equation_7_11(mu, theta, pi):
    formula = [pi * (x == 0) + (1 - pi) * nb(x, mu, theta) for x in range(50)]
    logits = double(special.logit(pi))
    ours = likelihoods.log_zinb_positive(double(np.arange(50)), double(mu), double(theta), logits).exp()
    np.testing.assert_allclose(ours, formula, rtol=1e-8)


def inflated(mu, theta, pi):
    logits = double(special.logit(pi))
    return likelihoods.log_zinb_positive(double(K), double(mu), double(theta), logits).exp().numpy()


@printed(r"\mathrm{E}[x] = (1 - \pi) \, \mu")
@pytest.mark.parametrize(("mu", "theta", "pi"), [(10.0, 5.0, 0.3), (2.0, 0.7, 0.9)])
def test_equation_7_12(mu, theta, pi):
    assert moments(inflated(mu, theta, pi))[0] == pytest.approx((1 - pi) * mu, rel=1e-9)


@printed(r"\mathrm{Var}[x] = (1 - \pi) \left( \mu + \frac{\mu^2}{\theta} + \pi \mu^2 \right)")
@pytest.mark.parametrize(("mu", "theta", "pi"), [(10.0, 5.0, 0.3), (2.0, 0.7, 0.9), (10.0, 5.0, 0.7)])
def test_equation_7_13(mu, theta, pi):
    p = inflated(mu, theta, pi)
    assert moments(p)[1] == pytest.approx((1 - pi) * (mu + mu**2 / theta + pi * mu**2), rel=1e-9)
    square = (K**2 * p).sum()  # said on the way to it
    assert square == pytest.approx((1 - pi) * (mu + mu**2 / theta + mu**2), rel=1e-9)


@printed(
    r"T_g = 2 \Bigl[ \max_{\rho, \theta, \pi} \log P_{\mathrm{ZINB}}(x_g) - ",
    r"\max_{\rho, \theta} \log P_{\mathrm{NB}}(x_g) \Bigr]",
)
def test_equation_7_14():
    rng = np.random.default_rng(4)
    x = np.where(rng.random(150) < 0.3, 0, rng.negative_binomial(3, 3 / 9, 150))

    def minus(v):
        rate, theta, pi = math.exp(v[0]), math.exp(v[1]), special.expit(v[2]) if len(v) > 2 else 0.0
        p = stats.nbinom(theta, theta / (theta + rate)).pmf(x)
        return -np.log(np.where(x == 0, pi, 0) + (1 - pi) * p).sum()

    options = {"method": "Nelder-Mead", "options": {"maxiter": 4000, "xatol": 1e-7, "fatol": 1e-9}}
    formula = 2 * (
        optimize.minimize(minus, [1, 1], **options).fun - optimize.minimize(minus, [1, 1, -1], **options).fun
    )
    nb_fit, zinb_fit = dispersion.fit(x[:, None]), dispersion.fit(x[:, None], model="zinb")
    found = dispersion.zero_inflation_test(nb_fit, zinb_fit).statistic[0]
    assert found == pytest.approx(formula, abs=1e-4) and found > 5


@printed(r"P(T \geq t) = \tfrac12 \, P(\chi^2_1 \geq t) \qquad \text{for } t > 0")
def test_equation_7_15():
    """The half of the normal scores that point below 0 gain nothing; the others gain their square."""
    score = np.random.default_rng(0).normal(size=200_000)
    statistic = np.maximum(score, 0) ** 2
    for t in (0.5, 2.7, 6.6):
        formula = 0.5 * stats.chi2(1).sf(t)
        assert (statistic >= t).mean() == pytest.approx(formula, abs=0.003)
        ours = dispersion.zero_inflation_test(
            dispersion.Fit(None, None, None, np.zeros(1)), dispersion.Fit(None, None, None, np.array([t / 2]))
        )
        assert ours.p_value[0] == pytest.approx(formula)


def rest(a):
    """Stirling's remainder, to 40 digits."""
    return mpmath.loggamma(a) - ((a - mpmath.mpf(0.5)) * mpmath.log(a) - a + mpmath.log(2 * mpmath.pi) / 2)


def exact_nb(x, mu, theta):
    """The logarithm of (7.5), to 40 digits."""
    ways = mpmath.loggamma(x + theta) - mpmath.loggamma(theta) - mpmath.loggamma(x + 1)
    return ways + theta * mpmath.log(theta / (theta + mu)) + x * mpmath.log(mu / (theta + mu))


@printed(r"\log \Gamma(a) = (a - \tfrac12) \log a - a + \tfrac12 \log 2 \pi + R(a)")
@pytest.mark.parametrize("a", [0.01, 3.0, 50.0, 1e6])
def test_equation_7_16(a):
    with mpmath.workdps(40):
        assert 0 < rest(mpmath.mpf(a)) < 1 / (12 * mpmath.mpf(a))  # "below 1 / (12 a)"
        if a >= 3:  # "for a not small about that"
            assert float(rest(mpmath.mpf(a))) == pytest.approx(1 / (12 * a), rel=0.01)
        stirling = (a - 0.5) * math.log(a) - a + 0.5 * math.log(2 * math.pi) + float(rest(mpmath.mpf(a)))
    assert stirling == pytest.approx(special.gammaln(a), rel=1e-12)


POINTS = [(1, 3.0, 2.0), (12, 4.0, 0.3), (100, 100.0, 1e6), (50, 1e-6, 8.0)]


@printed(
    r"\begin{aligned} \log \mathrm{NB}(x; x, \theta) = {} & \tfrac12 \log \frac{\theta}{2 \pi x (x + \theta)} \cr ",
    r"& + R(x + \theta) - R(\theta) - R(x) , \end{aligned}",
)
@pytest.mark.parametrize(("x", "mu", "theta"), POINTS)
def test_equation_7_17(x, mu, theta):
    with mpmath.workdps(40):
        x_, theta_ = mpmath.mpf(x), mpmath.mpf(theta)
        formula = mpmath.log(theta_ / (2 * mpmath.pi * x_ * (x_ + theta_))) / 2
        formula += rest(x_ + theta_) - rest(theta_) - rest(x_)
        assert abs(formula - exact_nb(x_, x_, theta_)) < 1e-25
        zero = -theta_ * mpmath.log(1 + mpmath.mpf(mu) / theta_)  # said before it, for x = 0
        assert abs(zero - exact_nb(mpmath.mpf(0), mpmath.mpf(mu), theta_)) < 1e-25


@printed(
    r"\begin{aligned} & \log \mathrm{NB}(x; \mu, \theta) - \log \mathrm{NB}(x; x, \theta) = \cr & \quad ",
    r"- \Bigl[ x \log \frac{x}{\mu} - (x + \theta) \log \frac{x + \theta}{\mu + \theta} \Bigr] . \end{aligned}",
)
@pytest.mark.parametrize(("x", "mu", "theta"), POINTS)
def test_equation_7_18(x, mu, theta):
    with mpmath.workdps(40):
        x_, mu_, theta_ = map(mpmath.mpf, (x, mu, theta))
        bracket = x_ * mpmath.log(x_ / mu_) - (x_ + theta_) * mpmath.log((x_ + theta_) / (mu_ + theta_))
        exact = exact_nb(x_, mu_, theta_)
        assert abs(exact_nb(x_, x_, theta_) - bracket - exact) < 1e-25 and bracket >= 0  # "is never negative"
    ours = likelihoods.log_nb_positive(double(x), double(mu), double(theta)).item()
    assert ours == pytest.approx(float(exact), rel=1e-9)
