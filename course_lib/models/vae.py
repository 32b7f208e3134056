"""Variational autoencoders: a distribution of codes for every cell, and a density over cells to draw new ones from."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib import likelihoods
from course_lib.arguments import require_positive, whole
from course_lib.models.base import Loss, Minibatch, checked_sizes, local_seed, mean_loss, multilayer


class Variational(nn.Module):
    """What every model with an approximate posterior shares: a draw of z, and −ELBO as the loss.

    A model brings ``encode``, which returns μ and log σ_z², and ``log_likelihood``; its prior is N(0, I).
    """

    loss_unit = "nats per cell"

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Draw z = μ + σ_z ε (batch, n_latent), with ε ~ N(0, I) of its own for every cell and dimension."""
        eps = torch.randn_like(mu)
        return mu + torch.exp(0.5 * logvar) * eps

    def loss(self, minibatch: Minibatch, kl_weight: float = 1.0) -> Loss:
        """−log p(x∣z) for one drawn z, and KL(q ‖ N(0, I)), each (batch,), in nats; their mean is −ELBO at weight 1."""
        mu, logvar = self.encode(minibatch.x)
        z = self.reparameterize(mu, logvar)
        reconstruction = -self.log_likelihood(minibatch, z)
        return mean_loss(reconstruction, likelihoods.kl_standard_normal(mu, logvar), kl_weight)


class VariationalAutoencoder(Variational):
    """z ~ N(0, I), then x ~ N(decode(z), σ² I); and q(z∣x) = N(μ, diag σ_z²) in place of the posterior of z.

    The loss is −ELBO, in nats per cell: the reconstruction term is −log p(x∣z) for one z drawn from q, with its ½/σ²
    and its constant, the other the KL divergence of q from the prior. Both are sums, over genes and over latent
    dimensions; an average over cells comes last. Were one of them an average over genes, the other would weigh more
    than the ELBO says.

    What :func:`course_lib.latent.elbo` and its neighbours ask of a model is ``encode`` that returns (μ, log σ_z²),
    ``log_likelihood``, and the prior N(0, I).

    Parameters
    ----------
    encoder
        Maps (batch, n_genes) to (batch, 2 · n_latent): μ, then log σ_z².
    decoder
        Maps (batch, n_latent) to (batch, n_genes): the mean of x.
    sigma
        σ > 0, the standard deviation of every gene around its decoded mean, on the scale of x. Against the summed
        squared error the KL weighs 2σ².

    Raises
    ------
    ValueError
        For a `sigma` that is no finite number above 0.

    Notes
    -----
    log σ_z² is any real number, so the last layer's output is taken as it is and σ_z² is positive by itself. It is not
    clamped: beyond a clamp its gradient is zero, so that a unit that came there would stay, and the KL reported would
    be that of another distribution. The KL holds it: it grows as ½ exp(log σ_z²) upwards and as −½ log σ_z² downwards.
    exp overflows above 88 in single precision, where the KL is past 10³⁸ nats; the loss is then infinite, and
    :func:`course_lib.training.fit` stops and says so. Far below zero σ_z underflows to 0, and all terms stay finite.

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114, sections 2.3, 2.4 and 3, and appendices B and C.2; Rezende, Mohamed &
    Wierstra 2014, arXiv:1401.4082.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Sequential, sigma: float = 1.0):
        super().__init__()
        require_positive("sigma", sigma)
        self.encoder, self.decoder, self.sigma = encoder, decoder, float(sigma)
        self.n_genes = decoder[-1].out_features
        self.n_latent = decoder[0].in_features

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean μ and log variance log σ_z² of q(z∣x), each (batch, n_latent), for x (batch, n_genes)."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)  # (batch, 2 n_latent) -> twice (batch, n_latent)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of x given z (batch, n_latent): (batch, n_genes), on the scale of the input."""
        return self.decoder(z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the decoded mean x̂ (batch, n_genes) of one z drawn from q, and q's `mu` and `logvar`."""
        mu, logvar = self.encode(x)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar

    def log_likelihood(self, minibatch: Minibatch, z: Tensor) -> Tensor:
        """Return log p(x∣z), (batch,), in nats: summed over genes, one z (batch, n_latent) to a cell."""
        return likelihoods.log_gaussian(minibatch.x, self.decode(z), self.sigma).sum(dim=1)

    @torch.no_grad()
    def sample(self, n_cells: int, seed: int = 0, mean: bool = False) -> Tensor:
        """Draw new cells: z from the prior, then x given z.

        Parameters
        ----------
        n_cells
            Number of cells.
        seed
            Seed of both draws. The same seed gives the same noise as another generator with that seed, so give samples
            and the estimates that are made of them (:mod:`course_lib.latent`) different seeds.
        mean
            Whether to stop at the decoded means, of the same z; their variance lacks the σ² that every gene has in x.

        Returns
        -------
        Tensor
            (n_cells, n_genes), on the scale of the input.

        Raises
        ------
        ValueError
            For an `n_cells` below 1.
        """
        generator, weight = torch.Generator().manual_seed(seed), next(self.parameters())

        def noise(width: int) -> Tensor:  # drawn on the CPU, in double: the same on any device and in any precision
            drawn = torch.randn(whole("n_cells", n_cells, 1), width, generator=generator, dtype=torch.float64)
            return drawn.to(weight)

        x_hat = self.decode(noise(self.n_latent))
        return x_hat if mean else x_hat + self.sigma * noise(self.n_genes)


class GeneExprVAE(VariationalAutoencoder):
    """The course's VAE: n_genes-512-256-(μ, log σ_z²), `n_latent` numbers each, ReLU between, a mirrored decoder.

    Parameters
    ----------
    n_genes, n_latent, n_hidden, seed
        As in :class:`~course_lib.models.autoencoder.GeneExprAE`.
    sigma
        Standard deviation of every gene around its decoded mean; see :class:`VariationalAutoencoder`. With 1, values
        are best scaled to unit variance per gene before.

    Raises
    ------
    ValueError
        For sizes below 1 or a `sigma` that is no finite number above 0.
    """

    def __init__(
        self,
        n_genes: int,
        n_latent: int = 32,
        n_hidden: Sequence[int] = (512, 256),
        sigma: float = 1.0,
        seed: int = 0,
    ):
        *sizes, n_latent = checked_sizes(n_genes, *n_hidden, n_latent)
        with local_seed(seed):
            super().__init__(multilayer([*sizes, 2 * n_latent]), multilayer([n_latent, *sizes[::-1]]), sigma)
