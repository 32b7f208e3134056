"""Count probabilities in 50-digit arithmetic: the reference of the likelihoods' tests and of ``make bench``."""

import functools
import itertools
from dataclasses import dataclass

import mpmath
import numpy as np

MU = [10.0**k for k in range(-6, 5)]
THETA = [10.0**k for k in range(-3, 7)]
COUNTS = [0, 1, 2, 3, 5, 10, 20, 50, 100, 150, 300, 1000, 3000, 10_000, 30_000, 100_000]
LOGITS = [-100.0, -10.0, -0.5, 0.0, 2.0, 20.0, 100.0]


@dataclass(frozen=True)
class Reference:
    """Points that single precision holds exactly; log-probability and slopes there, one entry for each point.

    ``theta_scale`` is the larger of two parts, one positive and one negative, that ∂/∂θ is the sum of.
    """

    x: np.ndarray
    mu: np.ndarray
    theta: np.ndarray
    zi_logits: np.ndarray
    value: np.ndarray
    by_mu: np.ndarray
    by_theta: np.ndarray
    by_logits: np.ndarray
    theta_scale: np.ndarray


@functools.cache
def log_gamma(z):
    """Return log Γ and its slope."""
    return mpmath.loggamma(z), mpmath.psi(0, z)


def negative_binomial(x, mu, theta):
    """Textbook formula, its slopes, and the positive part of ∂/∂θ."""
    (upper, psi_upper), (lower, psi_lower) = log_gamma(x + theta), log_gamma(theta)
    log_mu = x * mpmath.log(mu / (theta + mu)) if x else 0
    value = upper - lower - log_gamma(x + 1)[0] + theta * mpmath.log(theta / (theta + mu)) + log_mu
    by_mu = (x / mu if x else 0) - (x + theta) / (mu + theta)
    by_theta = psi_upper - psi_lower + mpmath.log(theta / (theta + mu)) + (mu - x) / (mu + theta)
    return value, by_mu, by_theta, abs(psi_upper - psi_lower - mpmath.log1p(x / theta))


def zero_inflated(x, mu, theta, logit):
    """Add an extra zero with the probability of which this is the logit; −∞ adds none."""
    value, by_mu, by_theta, scale = negative_binomial(x, mu, theta)
    pi = 1 / (1 + mpmath.exp(-logit))
    if x:
        return value + mpmath.log(1 - pi), by_mu, by_theta, -pi, scale
    zero = mpmath.exp(value)
    counted = (1 - pi) * zero / (pi + (1 - pi) * zero)
    by_logits = pi * (1 - pi) * (1 - zero) / (pi + (1 - pi) * zero)
    return mpmath.log(pi + (1 - pi) * zero), counted * by_mu, counted * by_theta, by_logits, counted * scale


def reference(points) -> Reference:
    """Evaluate at points (x, μ, θ, logit), where −∞ as logit leaves the negative binomial itself."""
    rows = []
    with mpmath.workdps(60):
        for x, *parameters in points:
            parameters = [float(np.float32(p)) for p in parameters]
            exact = zero_inflated(mpmath.mpf(x), *map(mpmath.mpf, parameters))
            rows.append((x, *parameters, *map(float, exact)))
    return Reference(*np.array(rows).T)


def nb_grid() -> Reference:
    """The negative binomial for x up to 1e5, μ from 1e-6 to 1e4, θ from 1e-3 to 1e6."""
    return reference(itertools.product(COUNTS, MU, THETA, [-np.inf]))


def zinb_grid() -> Reference:
    """Its zero-inflated form over every second μ and θ of that grid, for logits of π from −100 to 100."""
    return reference(itertools.product([0, 1, 2, 10, 300, 100_000], MU[::2], THETA[::2], LOGITS))
