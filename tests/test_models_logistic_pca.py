"""Logistic PCA: its gradient, what it recovers, what it is better than, its limits, scikit-learn's conventions."""

import numpy as np
import pytest
from scipy import optimize
from scipy.linalg import subspace_angles
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from course_lib.models import LogisticPCA, logistic_pca

N, D = 400, 60


@pytest.fixture(scope="module")
def simulated():
    """Binary images (400, 60), drawn from a code of two numbers, and their true logits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(N, 2)) @ rng.normal(0, 3, size=(2, D)) + rng.normal(0, 0.5, size=D)
    return rng.binomial(1, expit(logits)).astype(float), logits


@pytest.fixture(scope="module")
def fitted(simulated):
    return LogisticPCA(2, n_iterations=500, ridge=1.0).fit(simulated[0])


def grey(n=30, d=8, seed=1) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def cross_entropy(x, p) -> float:
    """Nats per image."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1).mean()


def objective(x, z, w, b, ridge) -> float:
    """The penalised cross-entropy per image, as the class's docstring states it."""
    return cross_entropy(x, expit(z @ w + b)) + 0.5 * ridge * ((z**2).sum() + (w**2).sum()) / len(x)


class Watched:
    """Stands for scipy's minimize: keeps the function and the start it is given, and runs it."""

    def __init__(self, monkeypatch):
        self.minimize = logistic_pca.minimize
        self.calls = []
        monkeypatch.setattr(logistic_pca, "minimize", self)

    def __call__(self, function, start, **settings):
        result = self.minimize(function, start, **settings)
        self.calls.append((function, start, result))
        return result


class TestGradient:
    @pytest.mark.parametrize("held", [False, True])
    def test_it_is_that_of_the_stated_objective(self, held, monkeypatch):
        """In fit, over codes, W and b, and in transform, over codes alone; at a place away from the start."""
        x, watched = grey(), Watched(monkeypatch)
        model = LogisticPCA(2, ridge=0.3, n_iterations=5).fit(x)
        if held:
            model.transform(x)
        function, start, _ = watched.calls[-1]
        place = np.random.default_rng(2).normal(size=len(start))

        def stated(flat):
            z = flat[: 30 * 2].reshape(30, 2)
            w, b = (model.components_, model.intercept_) if held else (flat[60:76].reshape(2, 8), flat[76:])
            return objective(x, z, w, b, ridge=0.3)

        assert len(start) == (60 if held else 60 + 16 + 8)
        value, gradient = function(place)
        assert value == pytest.approx(stated(place), rel=1e-9)
        np.testing.assert_allclose(gradient, optimize.approx_fprime(place, stated), atol=1e-5)

    def test_fit_starts_near_pca_and_only_improves_on_it(self, simulated, monkeypatch):
        x, watched = simulated[0], Watched(monkeypatch)
        LogisticPCA(2).fit(x)
        function, start, result = watched.calls[0]
        w = start[2 * N : 2 * N + 2 * D].reshape(2, D)
        pca = PCA(2, svd_solver="full").fit(x)
        assert np.degrees(subspace_angles(w.T, pca.components_.T)).max() < 1e-4
        b = start[2 * N + 2 * D :]
        linear = start[: 2 * N].reshape(N, 2) @ w / 4  # the sigmoid's slope at 0 is 1/4
        np.testing.assert_allclose(linear, pca.inverse_transform(pca.transform(x)) - x.mean(0), atol=1e-10)
        np.testing.assert_allclose(expit(b), x.mean(0), rtol=1e-9)
        assert result.fun < function(start)[0]


class TestWhatItFinds:
    def test_it_recovers_the_logits_that_the_data_were_drawn_from(self, simulated, fitted):
        x, logits = simulated
        found = logit(fitted.inverse_transform(fitted.transform(x)))
        residual = ((found - logits) ** 2).sum() / ((logits - logits.mean(0)) ** 2).sum()
        assert residual < 0.15

    def test_it_recovers_the_weights_subspace_where_axes_are_free_to_turn(self, simulated, fitted):
        x, logits = simulated
        true = np.linalg.svd(logits - logits.mean(0), full_matrices=False)[2][:2]
        angles = np.degrees(subspace_angles(fitted.components_.T, true.T))
        assert angles.max() < 12 < np.degrees(subspace_angles(PCA(2).fit(x).components_.T, true.T)).max()

    def test_it_is_likelier_than_pca_clipped_to_probabilities_and_than_the_mean(self, simulated, fitted):
        x, _ = simulated
        pca = PCA(2).fit(x)
        linear = pca.inverse_transform(pca.transform(x))
        of_pca = min(cross_entropy(x, np.clip(linear, edge, 1 - edge)) for edge in (0.001, 0.003, 0.01, 0.03))
        of_mean = cross_entropy(x, np.tile(x.mean(0), (N, 1)))
        assert cross_entropy(x, fitted.inverse_transform(fitted.transform(x))) < 0.97 * of_pca < 0.97 * of_mean

    def test_transform_gives_the_training_images_the_codes_that_fit_gave_them(self, simulated, monkeypatch):
        x, watched = simulated[0], Watched(monkeypatch)
        model = LogisticPCA(2, n_iterations=500, ridge=1.0).fit(x)
        in_fit = watched.calls[0][2].x[: 2 * N].reshape(N, 2)
        np.testing.assert_allclose(model.transform(x), in_fit, atol=0.02 * np.abs(in_fit).max())

    def test_transform_minimises_the_stated_objective_of_each_image(self, simulated, fitted):
        w, b = fitted.components_, fitted.intercept_
        x = simulated[0][:5]
        for image, code in zip(x, fitted.transform(x), strict=True):

            def stated(z, image=image):
                return cross_entropy(image[None], expit(z @ w + b)[None]) + 0.5 * (z**2).sum()

            best = optimize.minimize(stated, np.ones(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
            np.testing.assert_allclose(code, best.x, atol=1e-3)

    def test_codes_of_an_image_do_not_depend_on_the_images_beside_it(self, simulated, fitted):
        x = simulated[0][:20]
        alone = np.vstack([fitted.transform(x[[i]]) for i in range(20)])
        np.testing.assert_allclose(fitted.transform(x), alone, atol=1e-3)

    def test_inverse_transform_is_the_sigmoid_of_the_codes_times_w_plus_b(self, fitted):
        z = np.random.default_rng(0).normal(size=(3, 2))
        expected = 1 / (1 + np.exp(-(z @ fitted.components_ + fitted.intercept_)))
        np.testing.assert_allclose(fitted.inverse_transform(z), expected)


class TestLimits:
    def test_under_a_heavy_ridge_only_the_mean_is_left(self):
        x = grey()
        model = LogisticPCA(2, ridge=1e4, n_iterations=500).fit(x)
        x_hat = model.inverse_transform(model.transform(x))
        np.testing.assert_allclose(x_hat, np.tile(x.mean(0), (30, 1)), atol=1e-3)

    def test_images_that_are_all_alike_come_back(self):
        x = np.tile(grey(1), (5, 1))
        model = LogisticPCA(2).fit(x)
        np.testing.assert_allclose(model.inverse_transform(model.transform(x)), x, atol=1e-3)

    def test_a_code_as_wide_as_the_data_admit_is_fitted_though_a_direction_is_empty(self):
        x = grey(5, 8)  # five images lie on four directions around their mean
        model = LogisticPCA(5, ridge=1e-4, n_iterations=2000).fit(x)
        np.testing.assert_allclose(model.inverse_transform(model.transform(x)), x, atol=0.02)

    def test_pixels_that_never_change_do_not_keep_the_others_from_being_fitted(self, monkeypatch):
        """Their direction has a spread of 0 exactly, by which PCA's codes would be divided."""
        x, watched = np.column_stack([grey(6, 2), np.zeros((6, 2))]), Watched(monkeypatch)
        LogisticPCA(3).fit(x)
        function, start, result = watched.calls[0]
        assert np.isfinite(start).all() and result.fun < function(start)[0]

    def test_weights_stay_bounded_on_images_that_a_line_divides(self):
        """A penalty on the codes alone would be evaded by small codes and weights without bound."""
        rng = np.random.default_rng(0)
        x = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 20)) > 0).astype(float)
        longer = [LogisticPCA(2, n_iterations=n).fit(x).components_ for n in (1000, 4000)]
        np.testing.assert_allclose(np.linalg.norm(longer[0]), np.linalg.norm(longer[1]), rtol=0.02)
        assert np.abs(longer[1]).max() < 20

    def test_more_iterations_find_a_better_fit(self, simulated):
        x, _ = simulated
        few, many = (LogisticPCA(2, n_iterations=n).fit(x) for n in (2, 100))
        assert cross_entropy(x, many.inverse_transform(many.transform(x))) < cross_entropy(
            x, few.inverse_transform(few.transform(x))
        )


class TestConventions:
    def test_parameters_are_those_given_and_a_clone_has_them_unfitted(self):
        model = LogisticPCA(2, n_iterations=7, ridge=0.5).fit(grey())
        other = clone(model)
        assert other.get_params() == {"n_components": 2, "n_iterations": 7, "ridge": 0.5}
        assert not hasattr(other, "components_")
        assert other.set_params(ridge=1.0).ridge == 1.0

    def test_shapes_and_fit_transform(self):
        x = grey()
        model = LogisticPCA(3)
        assert model.fit(x) is model
        assert model.components_.shape == (3, 8) and model.intercept_.shape == (8,)
        np.testing.assert_array_equal(LogisticPCA(3).fit_transform(x), model.transform(x))

    def test_a_fit_is_repeatable_and_leaves_the_images_alone(self):
        x = grey()
        before = x.copy()
        first, again = (LogisticPCA(2).fit(x).components_ for _ in range(2))
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(x, before)

    def test_single_precision_images_are_fitted_in_double(self):
        single = grey().astype(np.float32)
        double = LogisticPCA(2).fit(single.astype(np.float64))
        np.testing.assert_array_equal(LogisticPCA(2).fit(single).components_, double.components_)

    def test_before_fit_it_says_so(self):
        for use in (LogisticPCA(2).transform, LogisticPCA(2).inverse_transform):
            with pytest.raises(NotFittedError, match="fit"):
                use(grey())


class TestErrors:
    @pytest.mark.parametrize("use", ["fit", "transform"])
    def test_images_that_cannot_be_taken(self, use):
        model = LogisticPCA(2).fit(grey())
        holes = grey()
        holes[3, 4] = np.nan
        for x, said in (
            (holes, "x holds NaN; give values between 0 and 1"),
            (grey() * 2, "x runs from 0.* to 2; give values between 0 and 1"),
            (grey() - 0.5, "x runs from -0.* to 0.*; give values"),
            (grey()[0], r"x has shape \(8,\); give \(n_images, n_pixels\)"),
            (grey()[:0], r"x has shape \(0, 8\); give"),
            (grey()[:, :0], r"x has shape \(30, 0\); give"),
        ):
            with pytest.raises(ValueError, match=said):
                getattr(model, use)(x)

    def test_images_of_another_size(self):
        with pytest.raises(ValueError, match="x has 7 pixels, fit saw 8"):
            LogisticPCA(2).fit(grey()).transform(grey(d=7))

    @pytest.mark.parametrize(("shape", "most"), [((30, 8), 8), ((5, 8), 5)])
    def test_a_code_wider_than_the_data(self, shape, most):
        with pytest.raises(ValueError, match=f"n_components is {most + 1}; .* {most} at most"):
            LogisticPCA(most + 1).fit(grey(*shape))

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"n_components": 0}, "n_components is 0; it is a whole number"),
            ({"n_iterations": 0}, "n_iterations is 0; it is a whole number"),
            ({"ridge": -1}, "ridge is -1; it must be a finite number, 0 or above"),
            ({"ridge": np.nan}, "ridge is nan; it must be"),
            ({"ridge": np.inf}, "ridge is inf; it must be"),
        ],
    )
    def test_settings_out_of_range(self, settings, said):
        with pytest.raises(ValueError, match=said):
            LogisticPCA(**{"n_components": 2, **settings}).fit(grey())
