"""Linear-Gaussian models, in which everything a VAE approximates is exact: probabilistic PCA and the linear VAE."""

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.arguments import require_positive, whole
from course_lib.likelihoods import kl_standard_normal
from course_lib.models.base import Loss, Minibatch, checked_sizes, local_seed, mean_loss, multilayer
from course_lib.models.vae import VariationalAutoencoder


class LinearGaussian(VariationalAutoencoder):
    """z ~ N(0, I), x ~ N(W z + m, σ² I), so that x ~ N(m, W Wᵀ + σ² I): what the two models below share.

    With M = WᵀW + σ² I, the posterior of z is N(M⁻¹ Wᵀ (x − m), σ² M⁻¹). The expectation over q in the ELBO has a
    closed form too, so the loss here is without noise.

    Parameters
    ----------
    encoder, decoder, sigma
        As in :class:`~course_lib.models.vae.VariationalAutoencoder`; the decoder is one linear layer.

    References
    ----------
    Tipping & Bishop 1999, doi:10.1111/1467-9868.00196, section 3.1; Bishop 2006, Pattern Recognition and Machine
    Learning, section 12.2 and equations (12.43) and (12.48): marginal and posterior.
    """

    @property
    def weight(self) -> Tensor:
        """W, (n_genes, n_latent)."""
        return self.decoder[0].weight

    @property
    def mean(self) -> Tensor:
        """m, (n_genes,), the mean of x."""
        return self.decoder[0].bias

    def loss(self, minibatch: Minibatch, kl_weight: float = 1.0) -> Loss:
        """−E_q log p(x∣z) in closed form, and KL(q ‖ N(0, I)), each (batch,), in nats.

        E_q (x − Wz − m)² is the squared error at z = μ, and σ_i² times the squared length of column i of W for each
        dimension i.
        """
        mu, logvar = self.encode(minibatch.x)
        spread = torch.exp(logvar) @ (self.weight**2).sum(dim=0)  # (batch, n_latent) -> (batch,)
        reconstruction = spread / (2 * self.sigma**2) - self.log_likelihood(minibatch, mu)
        return mean_loss(reconstruction, kl_standard_normal(mu, logvar), kl_weight)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (batch, n_latent) and covariance (n_latent, n_latent), the same for all x, of p(z∣x)."""
        factor = torch.linalg.cholesky(self._m())
        mean = torch.cholesky_solve(self.weight.T @ (x - self.mean).T, factor).T
        return mean, self.sigma**2 * torch.cholesky_inverse(factor)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), (batch,), in nats, for x (batch, n_genes).

        No n_genes × n_genes matrix is inverted: with C = W Wᵀ + σ² I, C⁻¹ = (I − W M⁻¹ Wᵀ) / σ², and
        log det C = (n_genes − n_latent) log σ² + log det M.
        """
        centred, (mean, _) = x - self.mean, self.posterior(x)
        distance = (centred * (centred - mean @ self.weight.T)).sum(dim=1) / self.sigma**2  # (x − m)ᵀ C⁻¹ (x − m)
        log_det = (self.n_genes - self.n_latent) * 2 * np.log(self.sigma) + torch.logdet(self._m())
        return -0.5 * (distance + log_det + self.n_genes * np.log(2 * np.pi))

    def elbo(self, x: Tensor, mu: Tensor, covariance: Tensor) -> Tensor:
        """Return the exact ELBO of q = N(μ, Σ), in nats: log p(x) − KL(q ‖ posterior), with no use of either.

        Parameters
        ----------
        x
            Cells, (batch, n_genes).
        mu
            Means of q, (batch, n_latent).
        covariance
            Covariance Σ of q, positive definite: one (n_latent, n_latent), or one for each cell.

        Returns
        -------
        Tensor
            (batch,).
        """
        fit = self.log_likelihood(Minibatch(x, None, None), mu)
        spread = (self.weight.T @ self.weight * covariance).sum(dim=(-2, -1)) / (2 * self.sigma**2)
        trace = covariance.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        kl = 0.5 * (trace + (mu**2).sum(dim=1) - self.n_latent - torch.logdet(covariance))
        return fit - spread - kl

    def _m(self) -> Tensor:
        return self.weight.T @ self.weight + self.sigma**2 * torch.eye(self.n_latent).to(self.weight)


class PPCA(LinearGaussian):
    """Probabilistic PCA with given parameters; ``PPCA.fit`` finds those of greatest likelihood.

    Its q is not learned: ``encode`` computes the best one with independent dimensions. Where the columns of W are at
    right angles, as ``fit`` makes them, that is the posterior. W R with a rotation R describes the same x, but its
    posterior has correlated dimensions, and the gap is ½ (Σ log M_ii − log det M).

    Parameters
    ----------
    weight
        W, (n_genes, n_latent).
    mean
        m, (n_genes,).
    sigma
        Standard deviation σ > 0 of every gene around W z + m.

    Raises
    ------
    ValueError
        For shapes that do not fit each other, or a `sigma` that is no finite number above 0.

    References
    ----------
    Tipping & Bishop 1999, doi:10.1111/1467-9868.00196. The best q with independent dimensions: Bishop 2006, Pattern
    Recognition and Machine Learning, section 10.1.2.
    """

    def __init__(self, weight, mean, sigma: float):
        weight, mean = (torch.as_tensor(part, dtype=torch.float64).detach().clone() for part in (weight, mean))
        if weight.ndim != 2 or mean.shape != weight.shape[:1]:
            raise ValueError(
                f"weight has shape {tuple(weight.shape)} and mean {tuple(mean.shape)}; give (n_genes, n_latent) "
                "and (n_genes,)."
            )
        layer = nn.Linear(*weight.shape[::-1], dtype=torch.float64, device="meta")  # no weights drawn in vain
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(mean)
        super().__init__(nn.Identity(), nn.Sequential(layer), sigma)

    @classmethod
    def fit(cls, x, n_latent: int, sigma: float | None = None) -> "PPCA":
        """Return the model of greatest likelihood for x, exactly.

        With eigenvalues λ_1 ≥ λ_2 ≥ … and eigenvectors u_i of the covariance matrix of x (divided by n_cells), column i
        of W is u_i √(λ_i − σ²), and σ² the mean of the n_genes − n_latent smallest eigenvalues. With σ given, a
        direction whose eigenvalue is below σ² is not used: its column is zero, its posterior is the prior, its KL is 0.
        That is posterior collapse, without any network or bound.

        Parameters
        ----------
        x
            Tensor or array (n_cells, n_genes), dense.
        n_latent
            Size d of the code, below n_genes.
        sigma
            σ, held fixed; None fits it.

        Returns
        -------
        PPCA
            In double precision. In each column the entry of largest size is positive.

        Raises
        ------
        ValueError
            For values that are no table or not finite, an `n_latent` that is not below n_genes, or where nothing is
            left for σ², since x lies in `n_latent` dimensions.

        References
        ----------
        Tipping & Bishop 1999, doi:10.1111/1467-9868.00196, section 3.2 and appendix A; Bishop 2006, Pattern Recognition
        and Machine Learning, equations (12.45) and (12.46). The threshold, and that a linear VAE has the same: Lucas,
        Tucker, Grosse & Norouzi 2019, arXiv:1911.02469.
        """
        x = torch.as_tensor(x).detach().to("cpu", torch.float64)
        if x.ndim != 2 or len(x) < 2 or not torch.isfinite(x).all():
            raise ValueError(f"x has shape {tuple(x.shape)}; give finite values (n_cells, n_genes), 2 cells at least.")
        if whole("n_latent", n_latent, 1) >= x.shape[1]:
            raise ValueError(f"n_latent is {n_latent}; with {x.shape[1]} genes choose from 1 to {x.shape[1] - 1}.")
        n_latent, mean = int(n_latent), x.mean(dim=0)
        eigenvalues, eigenvectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))  # rising
        if sigma is None:
            sigma = eigenvalues[:-n_latent].mean().clamp(min=0).sqrt().item()
            if sigma**2 <= 1e-12 * eigenvalues[-1]:
                raise ValueError(f"x lies in n_latent={n_latent} dimensions and leaves no noise; give sigma.")
        require_positive("sigma", sigma)
        directions = eigenvectors[:, -n_latent:].flip(1)
        directions = directions * directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
        beyond = (eigenvalues[-n_latent:].flip(0) - sigma**2).clamp(min=0)
        return cls(directions * beyond.sqrt(), mean, sigma)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each (batch, n_latent), of the best q with independent dimensions.

        Its mean is the posterior's; its variances are σ² / M_ii, at most those of the posterior.
        """
        mu, _ = self.posterior(x)
        return mu, torch.log(self.sigma**2 / self._m().diagonal()).expand_as(mu)


class LinearVAE(LinearGaussian):
    """A VAE with one linear layer each way and q(z∣x) = N(V x + c, diag σ_z²), σ_z² the same for all cells.

    Its ELBO has its maximum where log p(x) has: at pPCA's W, turned so that its columns are at right angles and the
    posterior has independent dimensions. The loss is exact, not sampled.

    A direction of the data is used where its eigenvalue (of their covariance matrix) is above σ²; the others collapse.
    With a weight β on the KL the threshold is β σ².

    Parameters
    ----------
    n_genes, n_latent, seed
        As in :class:`~course_lib.models.vae.GeneExprVAE`.
    sigma
        Standard deviation σ > 0 of every gene around W z + m, held fixed.

    Raises
    ------
    ValueError
        For sizes below 1 or a `sigma` that is no finite number above 0.

    References
    ----------
    Lucas, Tucker, Grosse & Norouzi 2019, arXiv:1911.02469 (there V (x − m) stands for V x + c, the same at the
    optimum).
    """

    def __init__(self, n_genes: int, n_latent: int, sigma: float = 1.0, seed: int = 0):
        n_genes, n_latent = checked_sizes(n_genes, n_latent)
        with local_seed(seed):
            super().__init__(multilayer([n_genes, n_latent]), multilayer([n_latent, n_genes]), sigma)
        self.logvar = nn.Parameter(torch.zeros(n_latent))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return μ = V x + c and log σ_z², each (batch, n_latent), for x (batch, n_genes)."""
        mu = self.encoder(x)
        return mu, self.logvar.expand_as(mu)
