"""A code as a message: how many bits it takes, what a noisy line can carry, and the least error for a Gaussian.

Rates and entropies are in bits. A distortion Δ is a squared error: per number, or summed over a vector where one is
given.
"""

from typing import NamedTuple

import numpy as np

from course_lib.arguments import whole

HIGHEST = 24
"""Bits per number at most."""


class Quantizer(NamedTuple):
    """2^`n_bits` equal steps from `low` to `high`, for each column its own; values beyond are taken to the last step.

    Attributes
    ----------
    low, high
        (n_latent,): ends of the range.
    n_bits
        Bits per number.
    """

    low: np.ndarray
    high: np.ndarray
    n_bits: int

    @property
    def step(self) -> np.ndarray:
        """Width of a step, (n_latent,)."""
        return (self.high - self.low) / 2**self.n_bits

    def encode(self, z: np.ndarray) -> np.ndarray:
        """Return which step each number falls into: whole numbers from 0 to 2^n_bits − 1, shape of `z`."""
        z = np.asarray(z, dtype=np.float64)
        return np.clip(np.floor((z - self.low) / self.step), 0, 2**self.n_bits - 1).astype(np.int64)

    def decode(self, symbols: np.ndarray) -> np.ndarray:
        """Return the middle of each step, shape of `symbols`."""
        return self.low + (symbols + 0.5) * self.step


def uniform_quantizer(z: np.ndarray, n_bits: int) -> Quantizer:
    """Make a quantiser whose range is that of some codes.

    Parameters
    ----------
    z
        Codes, (n_cells, n_latent): those of training cells.
    n_bits
        Bits per number, from 0 (the middle of the range for everyone) to 24.

    Returns
    -------
    Quantizer
        With ``encode`` and ``decode``.

    Raises
    ------
    ValueError
        For codes that are not a finite matrix, a column of equal numbers, or `n_bits` out of range.
    """
    z, n_bits = _matrix("z", z), whole("n_bits", n_bits, 0)
    if n_bits > HIGHEST:
        raise ValueError(f"n_bits is {n_bits}; give at most {HIGHEST}.")
    low, high = z.min(axis=0), z.max(axis=0)
    if np.any(low == high):
        raise ValueError(f"column {np.argmax(low == high)} of z has one value only; a quantiser needs a range.")
    return Quantizer(low, high, n_bits)


def entropy(symbols: np.ndarray) -> float:
    """Entropy of the observed frequencies, summed over columns.

    Parameters
    ----------
    symbols
        Whole numbers, (n_cells, n_latent).

    Returns
    -------
    float
        −Σ p log₂ p for each column, summed: bits per cell of a code that treats the columns one by one. For few cells
        it is too low: no more than log₂ n_cells can be seen in a column.

    Raises
    ------
    ValueError
        For anything but a matrix of finite numbers.
    """
    total = 0.0
    for column in _matrix("symbols", symbols).T:
        counts = np.unique(column, return_counts=True)[1]
        p = counts / counts.sum()
        total -= float((p * np.log2(p)).sum())
    return total


def code_length(symbols: np.ndarray, reference: np.ndarray, n_bits: int) -> float:
    """Bits per cell for `symbols` under a code made for the frequencies of `reference`.

    Each symbol has the probability (count + 1) / (n_cells + 2^n_bits), counted in the reference, so that one which does
    not occur there can be sent as well. It costs −log₂ of that: what an arithmetic coder needs, up to rounding. For
    held-out cells this is an honest price, since the code cannot have been fitted to them.

    Parameters
    ----------
    symbols, reference
        Whole numbers from 0 to 2^n_bits − 1, (n_cells, n_latent) each: cells to send, and training cells.
    n_bits
        Bits per number of the quantiser.

    Returns
    -------
    float
        Mean over the cells of the bits summed over columns.

    Raises
    ------
    ValueError
        For different numbers of columns, or symbols out of range.
    """
    symbols, reference = _matrix("symbols", symbols), _matrix("reference", reference)
    n_symbols = 2 ** whole("n_bits", n_bits, 0)
    if symbols.shape[1] != reference.shape[1]:
        raise ValueError(f"symbols has {symbols.shape[1]} columns and reference {reference.shape[1]}; give the same.")
    for name, values in (("symbols", symbols), ("reference", reference)):
        low, high = values.min(), values.max()
        if low < 0 or high >= n_symbols or np.any(values % 1):
            raise ValueError(f"{name} runs from {low:g} to {high:g}; with {n_bits} bits give 0 to {n_symbols - 1}.")
    total = 0.0
    for sent, seen in zip(symbols.T.astype(np.int64), reference.T.astype(np.int64), strict=True):
        counts = np.bincount(seen, minlength=n_symbols) + 1
        total -= float(np.log2(counts[sent] / counts.sum()).mean())
    return total


def gaussian_rate(distortion, variance):
    """Rate–distortion function of a Gaussian number: the fewest bits for a mean squared error.

    Parameters
    ----------
    distortion
        Δ > 0, a number or an array.
    variance
        σ² > 0, broadcastable to it.

    Returns
    -------
    float or ndarray
        R(Δ) = ½ log₂ (σ²/Δ) for Δ ≤ σ², else 0; bits per number.

    Raises
    ------
    ValueError
        For values that are not above 0.

    References
    ----------
    Cover & Thomas 2006, Elements of Information Theory, theorem 10.3.2.
    """
    distortion, variance = np.asarray(distortion, dtype=float), np.asarray(variance, dtype=float)
    for name, values in (("distortion", distortion), ("variance", variance)):
        if not np.all(values > 0):
            raise ValueError(f"{name} is {values}; a squared error and a variance are above 0.")
    return np.maximum(0.5 * np.log2(variance / distortion), 0.0)[()]


class WaterFilling(NamedTuple):
    """The cheapest way to send a Gaussian vector.

    Attributes
    ----------
    rate
        Bits per vector: the sum of `bits`.
    bits
        (n,): bits for each component, 0 for one that is not worth any.
    distortions
        (n,): squared error of each component; they sum to the distortion asked for.
    level
        Squared error of every component that gets bits: the height of the water.
    """

    rate: float
    bits: np.ndarray
    distortions: np.ndarray
    level: float


def reverse_water_filling(variances: np.ndarray, distortion: float) -> WaterFilling:
    """Rate–distortion function of a Gaussian vector, with independent components.

    For any Gaussian vector take the eigenvalues of its covariance matrix.

    Parameters
    ----------
    variances
        (n,): variances σ² ≥ 0 of the components.
    distortion
        Squared error Δ summed over the components, above 0.

    Returns
    -------
    WaterFilling
        Exact, by walking through the sorted variances. Above Σ σ² no bits are needed and the error is Σ σ².

    Raises
    ------
    ValueError
        For negative variances, none above 0, or a distortion that is not above 0.

    References
    ----------
    Cover & Thomas 2006, theorem 10.3.3.
    """
    variances = np.asarray(variances, dtype=float)
    if variances.ndim != 1 or not np.all(variances >= 0) or not variances.sum() > 0:
        raise ValueError("variances is a vector of numbers ≥ 0, not all of them 0.")
    if not distortion > 0:
        raise ValueError(f"distortion is {distortion}; a squared error is above 0.")
    rising = np.sort(variances)
    below = np.concatenate([[0.0], np.cumsum(rising)[:-1]])  # what the smaller components leave in full
    filled = below + rising * np.arange(len(rising), 0, -1)  # error in all, if the water stood at each variance
    first = int(np.searchsorted(filled, distortion))
    level = rising[-1] if first == len(rising) else (distortion - below[first]) / (len(rising) - first)
    distortions = np.minimum(level, variances)
    bits = np.zeros(len(variances))
    bits[variances > level] = 0.5 * np.log2(variances[variances > level] / level)
    return WaterFilling(float(bits.sum()), bits, distortions, float(level))


def capacity(snr: float) -> float:
    """Bits that one use of a Gaussian channel can carry without error, ½ log₂ (1 + `snr`); Shannon 1948, theorem 17.

    `snr` is the variance of the signal over that of the noise; a negative one raises a ValueError.
    """
    if not snr >= 0:
        raise ValueError(f"snr is {snr}; a ratio of variances is at least 0.")
    return 0.5 * float(np.log2(1 + snr))


def _matrix(name: str, values) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"{name} has shape {values.shape}; give a matrix (n_cells, n_latent) of finite numbers.")
    return values
