"""Checks of chapter 7."""

import numpy as np
from scipy import integrate, stats

from course_lib import dispersion
from course_lib.checks.base import Exercise, close


def _variance(answer: object) -> bool | str:
    if np.shape(answer) != (3,):
        return "Give three numbers: θ, then the zeros of the NB and of the Poisson, as shares."
    theta, zero_nb, zero_poisson = answer
    if close(theta, 0.5, 0.01):
        return "That is the dispersion; θ is its inverse."
    if close(theta, 4 / 3, 0.01):
        return "Equation (7.6) has two terms; take the mean off the variance first."
    if not close(theta, 2.0, 0.01):
        return "Solve equation (7.6) for θ, with μ = 4 and a variance of 12."
    if not close(zero_nb, 1 / 9, 0.002):
        return "At x = 0 only one of the factors of (7.5) is left: θ / (θ + μ) to the power θ."
    return close(zero_poisson, np.exp(-4), 0.001) or "The Poisson's share of zeros is equation (7.1) at x = 0."


def _libraries(answer: object) -> bool | str:
    if np.shape(answer) != (4,):
        return "Give four numbers: n and p for SciPy, total_count and probs for PyTorch."
    n, p, total, probs = map(float, answer)
    if not (close(n, 5, 1e-6) and close(total, 5, 1e-6)):
        return "The first argument of both libraries is θ."
    if close(p, 2 / 3, 1e-3) and close(probs, 1 / 3, 1e-3):
        return "They are the other way round: look at the means that you get."
    if not close(stats.nbinom(n, p).mean(), 10, 0.02):
        return f"With your p SciPy's distribution has mean {stats.nbinom(n, p).mean():.4g}, not 10."
    return close(probs, 2 / 3, 1e-3) or "PyTorch's mean is total_count · probs / (1 − probs)."


def _stories(answer: object) -> bool | str:
    if np.shape(answer) != (3,):
        return "Give three numbers: mean, variance, and the share of zeros of the NB that has both."
    mean, variance, zeros = answer
    if close(mean, 10, 0.01):
        return "10 is the mean before extra zeros; see equation (7.12)."
    if not close(mean, 3, 0.01):
        return "The mean is equation (7.12)."
    if close(variance, 9, 0.01):
        return "The last term of (7.13) is missing: the zeros themselves add variance."
    if not close(variance, 30, 0.05):
        return "The variance is equation (7.13)."
    if close(zeros, 0.7 + 0.3 * 3.0**-5, 0.002):
        return "That is the ZINB's share; asked is the NB with mean 3 and variance 30."
    return close(zeros, 0.1 ** (1 / 3), 0.003) or "Find θ from (7.6) with mean 3 and variance 30, then use (7.5) at 0."


def _off(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers: π and the p-value."
    on = np.random.default_rng(0).poisson(4, 210)
    mixed = np.r_[np.zeros(90, dtype=int), on][:, None]
    nb, zinb = dispersion.fit(mixed), dispersion.fit(mixed, model="zinb")
    pi, p = zinb.pi[0], dispersion.zero_inflation_test(nb, zinb).p_value[0]
    if close(answer[0], (mixed == 0).mean(), 1e-6):
        return "That is the share of all zeros; the Poisson has zeros of its own."
    if not close(answer[0], pi, 0.01):
        return 'π is dispersion.fit(counts, model="zinb").pi[0]; the counts are (300, 1).'
    return bool(0 <= float(answer[1]) <= 10 * p) or "The p-value is that of dispersion.zero_inflation_test(nb, zinb)."


def _lognormal(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself: answer = poisson_lognormal."

    def exact(x: int, m: float, sigma: float) -> float:
        def part(e):
            return stats.poisson(np.exp(m + sigma * e)).pmf(x) * stats.norm.pdf(e)

        return integrate.quad(part, -9, 9, points=(0,), limit=200)[0]

    x = np.array([0, 1, 4, 12])
    found = np.asarray(answer(x, 1.0, 0.6), dtype=float)
    if found.shape != x.shape:
        return "The result has one probability for each count in x."
    expected = np.array([exact(k, 1.0, 0.6) for k in x])
    if np.allclose(found, np.log(expected), rtol=1e-3):
        return "Those are logarithms; asked are probabilities."
    if np.allclose(found, np.sqrt(2 * np.pi) * expected, rtol=1e-3):
        return "Divide the weights by their sum, which is the root of 2π."
    return bool(np.allclose(found, expected, rtol=1e-3, atol=1e-9)) or (
        "Average the Poisson's probabilities at the rates exp(m + σ · place), with the weights."
    )


EXERCISES: dict[str, Exercise] = {
    "7.1": Exercise(
        asks="Give three numbers: θ, the share of zeros of the NB, and that of the Poisson.",
        judge=_variance,
        praise="Six times as many zeros at the same mean, and nothing was lost.",
    ),
    "7.2": Exercise(
        asks="Give four numbers: n and p for SciPy, total_count and probs for PyTorch.",
        judge=_libraries,
        praise="The mean is the quickest check; a wrong p raises no error.",
    ),
    "7.3": Exercise(
        asks="Give three numbers: mean, variance, and the share of zeros of the NB that has both.",
        judge=_stories,
        praise="Two moments do not make a distribution; the zeros differ by a quarter of the cells.",
    ),
    "7.4": Exercise(
        asks="Give two numbers: the fitted π and the p-value.",
        judge=_off,
        praise="A mixture of two kinds of cells and a loss of counts are one and the same distribution.",
    ),
    "7.5": Exercise(
        asks="Define poisson_lognormal(x, m, sigma) and hand in the function.",
        judge=_lognormal,
        praise="Any distribution of rates can be put in the place of the Gamma like this.",
    ),
}
"""Number of an exercise -> the exercise."""
