"""The distributions that a figure can be asked for by name, with means, variances and highest places in closed form.

The same formulas stand a second time in ``closed_form.js``, for the page; a test compares the two.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

from scipy import stats


class Law(NamedTuple):
    """A distribution with its parameters put in: its density (or probability) as a function, and its facts.

    `facts`, where there are some, are what is to be said of it instead of mean, variance and peaks.
    """

    density: Callable
    mean: float
    variance: float
    peaks: list
    facts: dict[str, float] | None = None


@dataclass(frozen=True)
class Parameter:
    """A parameter: its symbol, what a slider calls it, and where it may lie, in words and as a function."""

    symbol: str
    label: str
    domain: str = "above 0"
    allows: Callable = lambda value: 0 < value < math.inf

    def check(self, name: str, value: object) -> None:
        """Raise a ValueError where `value` is no number of the domain."""
        if not isinstance(value, Real) or not self.allows(value):
            raise ValueError(f"{name} ({self.label}) is {value!r}; it is a number {self.domain}.")


@dataclass(frozen=True)
class Family:
    """A named distribution: how a law is made from its parameters, and whether it is one over counts."""

    law: Callable
    parameters: dict[str, Parameter]
    counts: bool


def normal(mu: float, sigma: float) -> Law:
    """Normal distribution with mean μ and standard deviation σ."""
    return Law(stats.norm(mu, sigma).pdf, mu, sigma**2, [mu])


def gamma(mu: float, theta: float) -> Law:
    """Gamma distribution with mean μ and shape θ: Poisson rates drawn from it give a negative binomial (μ, θ)."""
    peak = mu * (theta - 1) / theta if theta > 1 else 0
    return Law(stats.gamma(theta, scale=mu / theta).pdf, mu, mu**2 / theta, [peak])


def poisson(mu: float) -> Law:
    """Poisson distribution with mean μ."""
    return Law(stats.poisson(mu).pmf, mu, mu, _tops(mu))


def negative_binomial(mu: float, theta: float) -> Law:
    """Negative binomial distribution with mean μ and inverse dispersion θ: its variance is μ + μ²/θ."""
    pmf = stats.nbinom(theta, theta / (theta + mu)).pmf
    return Law(pmf, mu, mu + mu**2 / theta, _tops(mu * (theta - 1) / theta))


def zero_inflated_negative_binomial(mu: float, theta: float, pi: float) -> Law:
    """Negative binomial distribution (μ, θ) in which a count is replaced by 0 with probability π."""
    nb = negative_binomial(mu, theta)

    def pmf(k):
        return pi * (k == 0) + (1 - pi) * nb.density(k)

    zero = pi > 0 and pmf(0) >= pmf(nb.peaks[-1])
    return Law(pmf, (1 - pi) * mu, (1 - pi) * (nb.variance + pi * mu**2), [0] if zero else nb.peaks)


def posterior(noise: float, observed: float) -> Law:
    """Posterior of z, where z ~ N(0, 1), x ~ N(z, noise²) and x was observed: a normal distribution."""
    mean, variance = observed / (1 + noise**2), noise**2 / (1 + noise**2)
    evidence = stats.norm(0, math.sqrt(1 + noise**2)).logpdf(observed)
    law = normal(mean, math.sqrt(variance))
    return law._replace(facts={"mean": mean, "variance": variance, "log P(x)": evidence})


def approximate_posterior(mu: float, sigma_z: float, noise: float, observed: float) -> Law:
    """Any normal q(z) beside that posterior, with its evidence lower bound and what that lacks, in nats."""
    true = posterior(noise, observed)
    reconstruction = stats.norm(mu, noise).logpdf(observed) - (sigma_z / noise) ** 2 / 2
    kl, gap = _divergence(mu, sigma_z, 0, 1), _divergence(mu, sigma_z, true.mean, math.sqrt(true.variance))
    facts = {"reconstruction": reconstruction, "KL": kl, "ELBO": reconstruction - kl}
    return normal(mu, sigma_z)._replace(facts={**facts, "gap": gap if gap > 1e-9 else 0.0})


def _divergence(mu: float, sigma: float, mean: float, deviation: float) -> float:
    """Return KL(N(μ, σ²) ‖ N(mean, deviation²)), in nats."""
    ratio = (sigma / deviation) ** 2
    return (ratio - 1 - math.log(ratio) + ((mu - mean) / deviation) ** 2) / 2


def _tops(t: float) -> list[int]:
    """Return the most probable counts where P(k) > P(k − 1) exactly for k < t: two of them if t is whole."""
    return [int(t) - 1, int(t)] if t >= 1 and t == math.floor(t) else [max(0, math.floor(t))]


MEAN, THETA = Parameter("μ", "mean μ"), Parameter("θ", "inverse dispersion θ")
MODEL = {
    "noise": Parameter("σ", "noise of x, σ"),
    "observed": Parameter("x", "what was observed, x", "that is finite", math.isfinite),
}
FAMILIES = {
    "normal": Family(
        normal,
        {
            "mu": Parameter("μ", "mean μ", "that is finite", math.isfinite),
            "sigma": Parameter("σ", "standard deviation σ"),
        },
        counts=False,
    ),
    "gamma": Family(gamma, {"mu": MEAN, "theta": Parameter("θ", "shape θ")}, counts=False),
    "Poisson": Family(poisson, {"mu": MEAN}, counts=True),
    "negative binomial": Family(negative_binomial, {"mu": MEAN, "theta": THETA}, counts=True),
    "zero-inflated negative binomial": Family(
        zero_inflated_negative_binomial,
        {
            "mu": Parameter("μ", "mean before extra zeros μ"),
            "theta": THETA,
            "pi": Parameter("π", "probability of an extra zero π", "from 0 to below 1", lambda value: 0 <= value < 1),
        },
        counts=True,
    ),
    "posterior": Family(posterior, MODEL, counts=False),
    "approximate posterior": Family(
        approximate_posterior,
        {
            "mu": Parameter("μ", "mean of q, μ", "that is finite", math.isfinite),
            "sigma_z": Parameter("σ_z", "width of q, σ_z"),
            **MODEL,
        },
        counts=False,
    ),
}
"""Each distribution by its name; a parameter has the same name and meaning in all that share it."""
