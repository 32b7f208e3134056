"""The lecture's SimpleScVI and its loss, for comparison: raw counts in, log θ from a standard normal."""

import torch
from torch import Tensor, nn


class LectureScVI(nn.Module):
    """G-128-128-(μ, log σ²) 10; 10-128-G; softmax times the library; the textbook negative binomial."""

    def __init__(self, n_genes: int, n_latent: int = 10, n_hidden: int = 128):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_genes, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_hidden), nn.ReLU())
        self.mean, self.logvar = nn.Linear(n_hidden, n_latent), nn.Linear(n_hidden, n_latent)
        self.decoder = nn.Sequential(nn.Linear(n_latent, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_genes))
        self.log_theta = nn.Parameter(torch.randn(n_genes))

    def loss(self, x: Tensor, log_library: Tensor) -> Tensor:
        """Return −ELBO, the mean over cells."""
        hidden = self.encoder(x)
        mean, logvar = self.mean(hidden), self.logvar(hidden)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        mu = torch.exp(log_library) * torch.softmax(self.decoder(z), dim=-1)
        kl = -0.5 * (1 + logvar - mean**2 - torch.exp(logvar)).sum(dim=1)
        return kl.mean() - textbook(x, mu, torch.exp(self.log_theta)).sum(dim=1).mean()


def textbook(x: Tensor, mu: Tensor, theta: Tensor, eps: float = 1e-8) -> Tensor:
    """Return the negative binomial log-probability as slides and scvi-tools write it."""
    if torch.any(theta <= 0):
        raise ValueError("theta must be positive.")
    log_total = torch.log(theta + mu + eps)
    value = theta * (torch.log(theta + eps) - log_total) + x * (torch.log(mu + eps) - log_total)
    return value + torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
