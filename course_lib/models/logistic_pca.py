"""Logistic PCA: a linear code behind a sigmoid, with a code of its own fitted to every image."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA

from course_lib.arguments import whole


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
        Weight of ½‖z‖² per image, beside the cross-entropy in nats. Without it codes of images in black and white
        grow without bound, since a sigmoid reaches 0 and 1 only at infinity.

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
            For values outside [0, 1], or a code wider than images or pixels.
        """
        x, d = _checked(x), whole("n_components", self.n_components, 1)
        if d > min(x.shape):
            raise ValueError(
                f"n_components is {d}; with {x.shape[0]} images of {x.shape[1]} pixels, {min(x.shape)} at most."
            )
        linear = PCA(d, svd_solver="full").fit(x)
        scale = np.sqrt(linear.explained_variance_)
        weight, intercept = 4 * scale[:, None] * linear.components_, logit(np.clip(x.mean(axis=0), 1e-3, 1 - 1e-3))
        parts = [linear.transform(x) / scale, weight, intercept]  # a start near PCA: the sigmoid's slope at 0 is 1/4
        _, self.components_, self.intercept_ = self._minimize(x, parts, lambda z, w, b: (z, w, b))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return the codes z (n_images, d) that fit x (n_images, D) best.

        Raises
        ------
        ValueError
            For values outside [0, 1].
        """
        w, b = self.components_, self.intercept_
        (z,) = self._minimize(_checked(x), [np.zeros((len(x), len(w)))], lambda z: (z, w, b))
        return z

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """Return x̂ (n_images, D), between 0 and 1."""
        return expit(z @ self.components_ + self.intercept_)

    def _minimize(self, x: np.ndarray, start: list[np.ndarray], complete) -> list[np.ndarray]:
        """Minimise the mean penalised cross-entropy over the arrays `start`; `complete` makes them (z, W, b)."""
        shapes = [part.shape for part in start]
        ends = np.cumsum([part.size for part in start])[:-1]

        def unpack(flat):
            return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]

        def value_and_gradient(flat):
            z, w, b = complete(*unpack(flat))
            a = z @ w + b
            value = (np.logaddexp(0, a) - x * a).sum() + 0.5 * self.ridge * (z**2).sum()
            slope = expit(a) - x  # derivative of the cross-entropy by a
            gradients = [slope @ w.T + self.ridge * z, z.T @ slope, slope.sum(axis=0)][: len(start)]
            return value / len(x), np.concatenate([g.ravel() for g in gradients]) / len(x)

        flat = np.concatenate([part.ravel() for part in start])
        options = {"maxiter": self.n_iterations, "maxfun": 2 * self.n_iterations}
        return unpack(minimize(value_and_gradient, flat, jac=True, method="L-BFGS-B", options=options).x)


def _checked(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"x has shape {x.shape} and runs from {x.min():.3g} to {x.max():.3g}; give rows of values 0 to 1."
        )
    return x
