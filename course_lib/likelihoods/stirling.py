"""Two functions that let count likelihoods keep their digits: Stirling's remainder r, and the deviance term h.

log Γ(10⁶) is about 12.8 million, and single precision holds seven digits: a formula that subtracts two such numbers
loses whole nats. What is left of log Γ without its large part is small, and so is what is left of log(1 + e) without
its linear part. The formulas of :mod:`course_lib.likelihoods.counts` are written in these two remainders::

    r(z) = log Γ(z) − [(z − ½) log z − z + ½ log 2π]                                    (S1)
    h(e) = e − log(1 + e)                                                               (S2)
"""

import math

import torch
from torch import Tensor

FRACTION = (1 / 12, 1 / 30, 53 / 210, 195 / 371, 22999 / 22737)
"""a₀ … a₄ of (S3)."""
NEAR = 0.2
"""Up to here on both sides of 0, h(e) is a series."""


def remainder(z: Tensor, at_least: float = 0.0) -> Tensor:
    """Stirling's remainder r(z) of log Γ(z), equation (S1).

    From z = 2 on, five levels of its continued fraction give single precision::

        r(z) = a₀ / (z + a₁ / (z + a₂ / (z + …)))                                       (S3)

    Smaller values climb there first, by Γ(z + 1) = z Γ(z) put into (S1); double precision needs 6 instead of 2::

        r(z) = r(z + 1) + (z + ½) log(1 + 1/z) − 1                                      (S4)

    Parameters
    ----------
    z
        Values above 0.
    at_least
        What no value is below: from 2 on, none has to climb in single precision.

    Returns
    -------
    Tensor
        r(z), as `z`: between 0 and 1/(12 z).

    References
    ----------
    NIST Digital Library of Mathematical Functions, 5.5.1 and 5.10.1, https://dlmf.nist.gov/5.10.
    """
    return _remainder(z, at_least, with_slope=False)[0]


def remainder_and_slope(z: Tensor, at_least: float = 0.0) -> tuple[Tensor, Tensor]:
    """Stirling's remainder r(z) with its slope r′(z), which is ψ(z) − log z + 1/(2z) with ψ the slope of log Γ.

    The slope of a level a / b of (S3) is −a b′ / b², and that of (S4) adds log(1 + 1/z) − (z + ½) / (z (z + 1)).

    Parameters
    ----------
    z, at_least
        As in :func:`remainder`.

    Returns
    -------
    tuple of Tensor
        r(z) and r′(z), as `z`.
    """
    return _remainder(z, at_least, with_slope=True)


def _remainder(z: Tensor, at_least: float, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    start = 6 if z.dtype == torch.float64 else 2
    n_steps = max(0, math.ceil(start - at_least))
    small = (z < 2 * start).to(z.dtype) if n_steps else 0.0
    top = z + n_steps * small
    one = z.new_ones(())
    below, below_slope = top, one
    for a in reversed(FRACTION[1:]):
        if with_slope:
            below_slope = torch.addcdiv(one, below_slope, below * below, value=-a)  # 1 − a b′ / b²
        below = torch.addcdiv(top, one, below, value=a)  # z + a / b
    r = FRACTION[0] / below
    slope = -r * below_slope / below if with_slope else None
    for k in range(n_steps):
        step = z + k
        log = torch.log1p(1 / step)
        r = r + small * ((step + 0.5) * log - 1)
        if with_slope:
            slope = slope + small * (log - (step + 0.5) / (step * (step + 1)))
    return r, slope


def deviance_term(e: Tensor, ratio: Tensor) -> Tensor:
    """h(e) = e − log(1 + e), equation (S2), to its last digits for every e > −1.

    Near 0 it is about e²/2, and (S2) subtracts nearly equal numbers. With c the value nearest to e in [−0.2, 0.2], and
    v = c / (2 + c), so that log(1 + c) is 2 artanh v and c is v (2 + c)::

        h(e) = h(c) + (e − c) − log(1 + (e − c) / (1 + c))                              (S5)
        h(c) = v c − 2 (v³/3 + v⁵/5 + v⁷/7 + …)                                         (S6)

    Near −1 the digits that count are those of 1 + e, and e has lost them: the caller gives both.

    Parameters
    ----------
    e
        Values above −1.
    ratio
        1 + e, computed without this sum.

    Returns
    -------
    Tensor
        h(e) ≥ 0, as `e`.

    References
    ----------
    Loader 2000, Fast and accurate computation of binomial probabilities: his deviance bd0(x, μ) is x h(e) at
    e = (μ − x) / x, and (S6) is his series.
    """
    c = e.clamp(-NEAR, NEAR)
    v = c / (2 + c)
    square = v * v
    n_terms = 8 if e.dtype == torch.float64 else 3
    series = square / (2 * n_terms + 1)
    for k in range(n_terms - 1, 0, -1):
        series = (series + 1 / (2 * k + 1)) * square
    near = v * torch.sub(c, series, alpha=2)
    # The logarithm in (S5): as far as 1 + e = ¼ from e, and beyond from the ratio.
    log = torch.log1p((e.clamp(min=-0.75) - c) / (1 + c)) + torch.log((4 * ratio).clamp(max=1))
    return near + ((e - c) - log)
