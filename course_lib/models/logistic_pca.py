"""Logistic PCA: a linear code behind a sigmoid, with a code of its own fitted to every image."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from course_lib.arguments import require_not_negative, whole


class LogisticPCA(TransformerMixin, BaseEstimator):
    """x̂ = sigmoid(z W + b), with W, b and the codes z of all images fitted together by the greatest likelihood.

    Nothing encodes: the code of a new image is found by fitting it too, with W and b held.

    Parameters
    ----------
    n_components
        Size d of the code.
    n_iterations
        L-BFGS iterations at most.
    ridge
        Weight λ of ½λ‖z‖² per image and of ½λ‖W‖² once, beside the cross-entropy summed over the images, in nats. For
        images in black and white z W may grow without bound when λ is 0, since a sigmoid reaches 0 and 1 only at
        infinity; were W free of the penalty, small codes and large weights would evade it.

    References
    ----------
    Collins, Dasgupta & Schapire 2001, Advances in Neural Information Processing Systems 14; Schein, Saul & Ungar 2003.
    """

    def __init__(self, n_components: int, n_iterations: int = 100, ridge: float = 1e-2):
        self.n_components, self.n_iterations, self.ridge = n_components, n_iterations, ridge

    def fit(self, x: np.ndarray, y=None) -> "LogisticPCA":
        """Fit W (d, D) as ``components_``, and b (D,) as ``intercept_``, to x (n_images, D), values from 0 to 1.

        Raises
        ------
        ValueError
            For x that is no table of values in [0, 1], a code wider than images or pixels, or settings out of range.
        """
        x, d = _checked(x), whole("n_components", self.n_components, 1)
        require_not_negative("ridge", self.ridge)
        if d > min(x.shape):
            raise ValueError(
                f"n_components is {d}; with {x.shape[0]} images of {x.shape[1]} pixels, {min(x.shape)} at most."
            )
        linear = PCA(d, svd_solver="full").fit(x)
        scale = np.sqrt(linear.explained_variance_).clip(1e-6)  # 0 in a direction in which no image differs
        weight, intercept = 4 * scale[:, None] * linear.components_, logit(np.clip(x.mean(axis=0), 1e-3, 1 - 1e-3))
        parts = [linear.transform(x) / scale, weight, intercept]  # a start near PCA: the sigmoid's slope at 0 is 1/4
        _, self.components_, self.intercept_ = self._minimize(x, parts, lambda z, w, b: (z, w, b))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return the codes z (n_images, d) that fit x (n_images, D) best.

        Raises
        ------
        ValueError
            For x that is no table of values in [0, 1], or with another number of pixels than `fit` saw.
        """
        check_is_fitted(self)
        x, w, b = _checked(x), self.components_, self.intercept_
        if x.shape[1] != w.shape[1]:
            raise ValueError(f"x has {x.shape[1]} pixels, fit saw {w.shape[1]}; give images of the same size.")
        (z,) = self._minimize(x, [np.zeros((len(x), len(w)))], lambda z: (z, w, b))
        return z

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """Return x̂ (n_images, D), between 0 and 1, of codes z (n_images, d)."""
        check_is_fitted(self)
        return expit(z @ self.components_ + self.intercept_)

    def _minimize(self, x: np.ndarray, start: list[np.ndarray], complete) -> list[np.ndarray]:
        """Minimise the penalised cross-entropy over the arrays `start`; `complete` makes them (z, W, b)."""
        most = whole("n_iterations", self.n_iterations, 1)
        shapes = [part.shape for part in start]
        ends = np.cumsum([part.size for part in start])[:-1]

        def unpack(flat):
            return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]

        def value_and_gradient(flat):
            z, w, b = complete(*unpack(flat))
            a = z @ w + b
            value = (np.logaddexp(0, a) - x * a).sum() + 0.5 * self.ridge * ((z**2).sum() + (w**2).sum())
            slope = expit(a) - x  # derivative of the cross-entropy by a
            gradients = [slope @ w.T + self.ridge * z, z.T @ slope + self.ridge * w, slope.sum(axis=0)]
            return value / len(x), np.concatenate([g.ravel() for g in gradients[: len(start)]]) / len(x)

        flat = np.concatenate([part.ravel() for part in start])
        options = {"maxiter": most, "maxfun": 2 * most}
        return unpack(minimize(value_and_gradient, flat, jac=True, method="L-BFGS-B", options=options).x)


def _checked(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x has shape {x.shape}; give (n_images, n_pixels), at least one of each.")
    if not (x.min() >= 0 and x.max() <= 1):
        holds = "holds NaN" if np.isnan(x).any() else f"runs from {x.min():.3g} to {x.max():.3g}"
        raise ValueError(f"x {holds}; give values between 0 and 1.")
    return x
