"""Checks of chapter 4."""

import numpy as np
from scipy import stats

from course_lib.checks.base import Exercise, close


def _posterior(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (0.5, 0.1): the mean of the posterior, then its variance."
    if close(answer[0], 0.5, 0.001):
        return "At 0.5 the decoder gives the cell exactly, but the prior pulls towards 0."
    if not close(answer[0], 0.4, 0.001):
        return "Add the exponents of prior and likelihood, and complete the square in z."
    if close(answer[1], 0.2**0.5, 0.001):
        return "That is the standard deviation; the variance is asked for."
    return (
        close(answer[1], 0.2, 0.001)
        or "The mean is right; the variance is 1 over what multiplies z² in the sum, twice."
    )


def _reading(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers: the standard deviation, then the KL divergence in nats."
    if close(answer[0], np.exp(-2), 0.001):
        return "The first is the variance; take its root."
    if close(answer[0], -2, 0.001) or close(answer[0], np.exp(2), 0.01):
        return "logvar is the logarithm of the variance: exponentiate it, and take the root."
    if not close(answer[0], np.exp(-1), 0.005):
        return "The standard deviation is exp(logvar / 2)."
    if close(answer[1], 1 + np.exp(-2) - 1 + 2, 0.01):
        return "The ½ in front of the KL divergence is missing."
    return (
        close(answer[1], 0.5 * (2 + np.exp(-2)), 0.01) or "The KL has four terms: μ², σ_z², −1 and −log σ_z², halved."
    )


def _variance(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers: the variance, then the share that is lost, between 0 and 1."
    if close(answer[0], 0.27 + 0.8, 0.001):
        return "0.8 is the standard deviation; equation (4.10) adds the variance."
    if not close(answer[0], 0.91, 0.001):
        return "Equation (4.10) has two terms, the variance of the means and that around them."
    if close(answer[1], 0.27 / 0.91, 0.005):
        return "That is the share that the decoder's output keeps."
    return close(answer[1], 0.64 / 0.91, 0.005) or "Lost is the second term of equation (4.10); divide it by the sum."


def _hole(answer: object) -> bool | str:
    z = np.linspace(-8, 8, 160_001)
    aggregate = (stats.norm.pdf(z, -1.5, 0.5) + stats.norm.pdf(z, 1.5, 0.5)) / 2
    prior = stats.norm.pdf(z)
    empty = aggregate < prior / 10
    expected = prior[empty].sum() / prior.sum()
    if close(answer, 100 * expected, 1.0):
        return "Give the share as a number between 0 and 1, not in per cent."
    if close(answer, aggregate[empty].sum() / aggregate.sum(), 0.005):
        return "That is the share of the cells; weigh the empty places by the prior."
    return close(answer, expected, 0.01) or (
        "On a fine grid of z, compare the mean of the two densities with a tenth of the prior's, and add up the prior "
        "where it is smaller."
    )


def _draws(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself, as in answer = draw_codes, without calling it."
    n, mu = 20_000, np.array([[-10.0, 0.0], [1.0, 5.0], [12.0, 0.0]])
    logvar = np.log(np.array([[0.25, 1.0], [0.04, 4.0], [1.0, 0.25]]))
    z, again, other = (np.asarray(answer(mu, logvar, n, seed), dtype=float) for seed in (0, 0, 1))
    if z.shape != (n, 2):
        return "The result has a row for each draw and a column for each latent number."
    if not np.array_equal(z, again) or np.array_equal(z, other):
        return "The same seed gives the same draws, and another seed others; use np.random.default_rng(seed)."
    nearest = np.abs(z[:, :1] - mu[:, 0]).argmin(axis=1)
    shares = np.bincount(nearest, minlength=3) / n
    if np.abs(shares - 1 / 3).max() > 0.03:
        return "Each cell should be chosen with the same probability, anew for every draw."
    widths = np.array([z[nearest == cell].std(axis=0) for cell in range(3)])
    if close(widths, np.exp(logvar), 0.15):
        return "The draws have standard deviation σ_z²; take exp(logvar / 2)."
    if not close(widths, np.exp(0.5 * logvar), 0.07):
        return "Around the mean of the chosen cell the draws have its standard deviations, exp(logvar / 2)."
    means = np.array([z[nearest == cell].mean(axis=0) for cell in range(3)])
    if np.abs(np.corrcoef(z[nearest == 2].T)[0, 1]) > 0.1:
        return "Each latent number has noise of its own."
    return close(means, mu, 0.1) or "The draws of one cell lie around its mean."


EXERCISES: dict[str, Exercise] = {
    "4.1": Exercise(
        asks="Give two numbers: mean and variance of the posterior.",
        judge=_posterior,
        praise="The observation narrows the prior's variance of 1 to a fifth, whatever x is: with a straight decoder.",
    ),
    "4.2": Exercise(
        asks="Give two numbers: the standard deviation, and the KL divergence in nats.",
        judge=_reading,
        praise="Half a nat pays for the mean, the rest for being narrower than the prior.",
    ),
    "4.3": Exercise(
        asks="Give two numbers: the variance, and the share that is lost.",
        judge=_variance,
        praise="Most of the variance of these genes is noise, and a mean has none of it.",
    ),
    "4.4": Exercise(
        asks="Give one number, the empty share of the prior, between 0 and 1.",
        judge=_hole,
        praise="Codes centred at 0 with a standard deviation above 1 can still leave the middle empty.",
    ),
    "4.5": Exercise(
        asks="Define draw_codes(mu, logvar, n, seed) and hand in the function.",
        judge=_draws,
        praise="Now every code lies where some cell's codes lie. Ask what the model's P(x) is.",
    ),
}
