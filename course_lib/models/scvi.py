"""SimpleScVI: a variational autoencoder for counts, with a negative binomial where the others have a Gaussian."""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import likelihoods
from course_lib.models.base import Minibatch, checked_sizes, local_seed, multilayer
from course_lib.models.vae import Variational

THETA_LR = 1e-2
"""Learning rate of log θ: it may have a long way to go, in steps that Adam makes no longer than its learning rate."""

ADAM_EPS = 1e-2
"""What Adam adds to the usual size of a gradient before it divides by it."""


class SimpleScVI(Variational):
    """z ~ N(0, I), then x_g ~ NB(ℓ ρ_g(z, s), θ_g): counts with mean μ_g = ℓ ρ_g and inverse dispersion θ_g.

    The decoder's last activation is a softmax, so that Σ_g ρ_g = 1 over the genes modelled: ρ says what the cell is
    made of, and the library size ℓ how much of it was counted. θ has one value per gene, whatever the cell. In place of
    the posterior of z stands q(z∣x) = N(μ, diag σ_z²), whose parameters the encoder computes from log(1 + x). The loss
    is −ELBO in nats per cell.

    Parameters
    ----------
    n_genes
        Number of genes G: the width of input and output.
    n_latent
        Size d of z. The encoder is G-`n_hidden`-`n_hidden`-(μ, log σ_z²), the decoder d-`n_hidden`-G, ReLU between.
    n_hidden
        Width of the hidden layers.
    gene_likelihood
        ``"nb"``; or ``"zinb"``, where a count is an extra zero with a probability π_g(z, s), decoded beside ρ_g.
    n_batches
        Number of experimental batches. From 2 on the batch s enters the decoder as a one-hot vector beside z, so that z
        need not say it. The encoder does not see it (nor does that of scvi-tools, by default).
    library
        ``"given"``: ℓ is that of the minibatch: the cell's row sum, or a column of ``obs``. ``"latent"``: ℓ is a latent
        variable like z, log ℓ ~ N(m_s, v_s), with mean and variance of the logarithm of the row sums in batch s, taken
        from the data by :meth:`initialise`. See Notes.
    seed
        Seed of the starting weights.

    Attributes
    ----------
    gene_names, batch_names
        Those of the training data, or None before training and where they came without names.

    Raises
    ------
    ValueError
        For sizes below 1, or another `gene_likelihood` or `library`.

    Notes
    -----
    With ``"zinb"`` ℓ is the scale *before* extra zeros, and the mean of a count is (1 − π) ℓ ρ. The row sum is what
    they leave over. Given as ℓ it is too small, and as Σ_g ρ_g = 1, no ρ makes up for it. So give the scale before,
    where it is known (``library_key`` in :func:`course_lib.training.fit`), or take ``library="latent"``.

    A latent ℓ is one more column behind z: u ~ N(0, 1) with log ℓ = m_s + √v_s u. To shift and scale a variable changes
    no KL divergence, so q(u∣x) against N(0, 1) is q(log ℓ∣x) against its prior, and bounds
    (:func:`course_lib.latent.elbo`) need to know of z with d + 1 columns only.

    ``make bench`` trains with ``training.fit(model, data, n_epochs=40, kl_warmup=28, lr=2e-3, schedule="cosine")``.

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2, Methods. The lecture has one library, that of the row sum.
    """

    takes_counts = True

    def __init__(
        self,
        n_genes: int,
        n_latent: int = 10,
        n_hidden: int = 128,
        gene_likelihood: str = "nb",
        n_batches: int = 1,
        library: str = "given",
        seed: int = 0,
    ):
        super().__init__()
        self.n_genes, self.n_latent, n_hidden, self.n_batches = checked_sizes(n_genes, n_latent, n_hidden, n_batches)
        _check_choice("gene_likelihood", gene_likelihood, ("nb", "zinb"))
        _check_choice("library", library, ("given", "latent"))
        self.gene_likelihood, self.library, self.gene_names, self.batch_names = gene_likelihood, library, None, None
        self._settings = {"n_genes": self.n_genes, "n_latent": self.n_latent, "n_hidden": n_hidden}
        self._settings |= {"gene_likelihood": gene_likelihood, "n_batches": self.n_batches, "library": library}

        n_code = self.n_latent + (library == "latent")
        n_input = self.n_latent + (self.n_batches if self.n_batches > 1 else 0)
        n_output = self.n_genes * (2 if gene_likelihood == "zinb" else 1)
        with local_seed(seed):
            self.encoder = multilayer([self.n_genes, n_hidden, n_hidden, 2 * n_code])
            self.decoder = multilayer([n_input, n_hidden, n_output])
        self.log_theta = nn.Parameter(torch.zeros(self.n_genes))
        self.register_buffer("log_library_prior", torch.tensor([[0.0, 1.0]]).repeat(self.n_batches, 1))  # m_s and √v_s
        self.register_buffer("initialised", torch.tensor(False))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean μ and log variance log σ_z² of q(z∣x) for counts x (batch, n_genes).

        Each is (batch, n_latent); with a latent library (batch, n_latent + 1), u last.
        """
        mu, logvar = self.encoder(torch.log1p(x)).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor, batch_index: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the proportions ρ (batch, n_genes), and the logit of π (batch, n_genes), None for ``"nb"``.

        `z` is (batch, n_latent); `batch_index` (batch,) is needed with more than one batch.
        """
        if self.n_batches > 1:
            z = torch.cat([z, F.one_hot(batch_index, self.n_batches).to(z.dtype)], dim=1)
        outputs = self.decoder(z).split(self.n_genes, dim=1)
        return torch.softmax(outputs[0], dim=1), outputs[1] if self.gene_likelihood == "zinb" else None

    def forward(self, minibatch: Minibatch, z: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the parameters of the counts given z, with as many columns as :meth:`encode` gives.

        The mean μ = ℓ ρ (batch, n_genes), before extra zeros; θ (n_genes,); and the logit of π, None for ``"nb"``.
        """
        library = minibatch.library
        if self.library == "latent":
            mean, sd = self.log_library_prior[minibatch.batch_index].split(1, dim=1)
            z, u = z.split([self.n_latent, 1], dim=1)
            library = torch.exp(mean + sd * u)
        px_scale, zi_logits = self.decode(z, minibatch.batch_index)
        return library * px_scale, torch.exp(self.log_theta), zi_logits

    def rate(self, minibatch: Minibatch, z: Tensor) -> Tensor:
        """Return the mean count μ = ℓ ρ before extra zeros, (batch, n_genes)."""
        return self(minibatch, z)[0]

    def log_likelihood(self, minibatch: Minibatch, z: Tensor) -> Tensor:
        """Return log p(x∣z, ℓ, s), (batch,), in nats: summed over genes, one z to a cell."""
        px_rate, theta, zi_logits = self(minibatch, z)
        if zi_logits is None:
            return likelihoods.log_nb_positive(minibatch.x, px_rate, theta, validate=False).sum(dim=1)
        return likelihoods.log_zinb_positive(minibatch.x, px_rate, theta, zi_logits, validate=False).sum(dim=1)

    @torch.no_grad()
    def initialise(self, minibatches: Iterable[Minibatch], gene_names=None, batch_names=None) -> None:
        """Start from the training data, which are walked through once; a model that has started is left as it is.

        The decoder's output biases become log ρ̄_g, with ρ̄_g the gene's share of all counts: with weights of 0 every
        cell would be an average one. θ_g becomes the estimate by moments around that, from
        Var x = μ + μ²/θ at μ = ℓ ρ̄_g::

            θ_g = Σ_n (ℓ_n ρ̄_g)² / Σ_n [(x_ng − ℓ_n ρ̄_g)² − x_ng]

        held between 0.01 and 100 (differences between groups count as noise here, so that it comes out too small where
        a gene has them). A latent library gets its prior. Names are kept, to be compared with those of later data.

        Parameters
        ----------
        minibatches
            All training cells, in parts.
        gene_names, batch_names
            Names in the order of the genes and of the batch codes; None where there are none.
        """
        if self.initialised:
            return
        count = square = product = library_square = 0.0
        log_library = torch.zeros(self.n_batches, 3, dtype=torch.float64, device=self.log_theta.device)
        for x, library, batch_index in minibatches:
            x, library = x.double(), library.double()
            count, square, product = count + x.sum(0), square + (x * x).sum(0), product + (library * x).sum(0)
            library_square = library_square + (library * library).sum()
            logs = torch.log(x.sum(1))
            log_library.index_add_(0, batch_index, torch.stack([torch.ones_like(logs), logs, logs * logs], dim=1))
        rho = (count + 0.5) / (count + 0.5).sum()
        mean_square = rho**2 * library_square
        excess = square - 2 * rho * product + mean_square - count
        theta = (mean_square / excess.clamp(min=1e-12)).clamp(0.01, 100.0)
        ones, first, second = log_library.unbind(dim=1)
        mean = first / ones
        self.log_theta.copy_(torch.log(theta))
        self.decoder[-1].bias[: self.n_genes] = torch.log(rho).to(self.log_theta.dtype)
        self.log_library_prior.copy_(torch.stack([mean, (second / ones - mean**2).clamp(min=1e-4).sqrt()], dim=1))
        self.gene_names = None if gene_names is None else [str(name) for name in gene_names]
        self.batch_names = None if batch_names is None else [str(name) for name in batch_names]
        self.initialised.fill_(True)

    def parameter_groups(self, lr: float) -> list[dict]:
        """Return what :class:`torch.optim.Adam` takes: log θ with its own learning rate, all the rest with `lr` and ε.

        Adam divides a gradient by its usual size plus ε. At the usual ε of 10⁻⁸ it takes the same steps for a gene of
        which almost nothing was counted as for any other, and learns noise there. scvi-tools has ε = 0.01 too.
        """
        others = [part for name, part in self.named_parameters() if name != "log_theta"]
        return [{"params": others, "lr": lr, "eps": ADAM_EPS}, {"params": [self.log_theta], "lr": THETA_LR}]

    def save(self, path: str | Path) -> None:
        """Write sizes, names and weights to a file that :meth:`load` reads."""
        names = {"gene_names": self.gene_names, "batch_names": self.batch_names}
        torch.save({"settings": self._settings, **names, "weights": self.state_dict()}, path)

    @classmethod
    def load(cls, path: str | Path) -> "SimpleScVI":
        """Read a model that :meth:`save` wrote: on the CPU, in ``eval`` mode. Nothing in the file is executed.

        Raises
        ------
        ValueError
            For a file that holds something else.
        """
        stored = torch.load(path, map_location="cpu", weights_only=True)
        expected = {"settings", "gene_names", "batch_names", "weights"}
        if not isinstance(stored, dict) or stored.keys() != expected:
            raise ValueError(f"{path} holds no SimpleScVI; give a file that model.save(path) wrote.")
        model = cls(**stored["settings"]).to(stored["weights"]["log_theta"].dtype)
        model.load_state_dict(stored["weights"])
        model.gene_names, model.batch_names = stored["gene_names"], stored["batch_names"]
        return model.eval()


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose {' or '.join(repr(choice) for choice in choices)}.")
