"""Two functions that let count likelihoods keep their digits: Stirling's remainder r, and the deviance term φ.

log Γ(10⁶) is about 12.8 million, and single precision holds seven digits: a formula that subtracts two such numbers
loses whole nats. What is left of log Γ without its large part is small, and so is what is left of −log(1 − t) without
its linear part. The formulas in :mod:`course_lib.likelihoods.counts` are written in these two remainders::

    r(z) = log Γ(z) − [(z − ½) log z − z + ½ log 2π]                (S1)
    φ(t) = −log(1 − t) − t                                          (S2)
"""

import math

import torch
from torch import Tensor

FRACTION = (1 / 12, 1 / 30, 53 / 210, 195 / 371, 22999 / 22737, 29944523 / 19733142)


def remainder(z: Tensor, at_least: float = 0.0) -> Tensor:
    """Stirling's remainder r(z) of log Γ(z), equation (S1).

    For z of 2 and more, six levels of its continued fraction give single precision::

        r(z) = a₀ / (z + a₁ / (z + a₂ / (z + …)))                   (S3)

    Smaller z climb there, by Γ(z + 1) = z Γ(z) put into (S1). Double precision starts from 6::

        r(z) = r(z + 1) + (z + ½) log(1 + 1/z) − 1                  (S4)

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
    NIST Digital Library of Mathematical Functions, 5.5.1 and 5.10.1.
    """
    n_steps, small = _climb(z, at_least)
    fraction, top = torch.zeros_like(z), z + n_steps * small
    for a in reversed(FRACTION):
        fraction.add_(top).reciprocal_().mul_(a)
    for s in range(n_steps):
        fraction += small * ((z + (s + 0.5)) * torch.log1p(1 / (z + s)) - 1)
    return fraction


def remainder_slope(z: Tensor, at_least: float = 0.0) -> Tensor:
    """Slope r′(z) of Stirling's remainder: the slopes of (S3), level by level, and of (S4).

    As ψ(z) is the slope of log Γ(z), this is ψ(z) − log z + 1/(2z).

    Parameters
    ----------
    z, at_least
        As in :func:`remainder`.

    Returns
    -------
    Tensor
        r′(z), as `z`: negative, about −1/(12 z²) for large z.
    """
    n_steps, small = _climb(z, at_least)
    fraction, slope, top = torch.zeros_like(z), torch.zeros_like(z), z + n_steps * small
    for a in reversed(FRACTION):
        fraction.add_(top).reciprocal_()  # 1 / (z + …)
        slope.add_(1).mul_(fraction)
        fraction.mul_(a)
        slope.mul_(fraction).neg_()
    for s in range(n_steps):
        step = z + s
        slope += small * (torch.log1p(1 / step) - (step + 0.5) / (step * (step + 1)))
    return slope


def _climb(z: Tensor, at_least: float) -> tuple[int, Tensor | int]:
    """How many times (S4) is used, and for which values (1) it is used at all (others 0)."""
    start = 6 if z.dtype == torch.float64 else 2
    n_steps = max(0, math.ceil(start - at_least))
    return n_steps, (z < 2 * start).to(z.dtype) if n_steps else 0


def deviance_term(t: Tensor, one_minus_t: Tensor) -> Tensor:
    """φ(t) = −log(1 − t) − t, equation (S2), to its last digits for every t < 1.

    Near 0 it is t²/2, and the two terms of (S2) cancel. There, with v = t / (2 − t), so that −log(1 − t) is
    2 artanh v and t = v (2 − t)::

        φ(t) = t v + 2 (v³/3 + v⁵/5 + v⁷/7 + …)                     (S5)

    Near 1, what counts is 1 − t, which has lost its digits once t is rounded: the caller gives it too.

    Parameters
    ----------
    t
        Values below 1.
    one_minus_t
        1 − t, computed without the subtraction.

    Returns
    -------
    Tensor
        φ(t) ≥ 0, as `t`.

    References
    ----------
    Loader 2000, Fast and accurate computation of binomial probabilities, section 3 (his bd0 is x φ(t) with
    t = (x − μ)/x).
    """
    v = t / (2 - t)
    square = v * v
    odd = torch.zeros_like(v)
    for j in range(13 if t.dtype == torch.float64 else 4, 0, -1):
        odd.add_(1 / (2 * j + 1)).mul_(square)
    near = odd.mul_(2).add_(t).mul_(v)
    # log(1 − t): from t down to 1 − t = ¼, and what is left of it from 1 − t
    far = one_minus_t.mul(4).clamp_(max=1).log_().add_(t.clamp(max=0.75).neg_().log1p_()).add_(t).neg_()
    return torch.where(t.abs() < 0.35, near, far)
