"""Measure SimpleScVI beside scvi-tools and the lecture's loop; nothing here is asserted.

``make bench`` runs every part, in an environment that has scvi-tools (see :mod:`tools.scvi_environment`). One part::

    python -m tools.bench_scvi quality          (also: parity, steps, race, pbmc, batches, scaling)

All of them take half an hour on a core that has nothing else to do; `race` takes a third of that.

The settings were chosen on seeds 100 to 103; the seeds here are others.
"""

import importlib.util
import logging
import resource
import statistics
import subprocess
import sys
import time
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy import sparse, stats
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors
from torch.utils.data import DataLoader, TensorDataset

from course_lib import datasets, latent, preprocess, training
from course_lib.draws import change_factors, negative_binomial
from course_lib.minibatches import Cells
from course_lib.models import Minibatch, SimpleScVI
from tools import scvi_environment
from tools.lecture_scvi import LectureScVI

SEEDS = (300, 301, 302, 303, 304)
GROUPS = (0.30, 0.25, 0.20, 0.12, 0.08, 0.05)
SETTINGS = {"lr": 2e-3, "schedule": "cosine", "validation": 0, "progress": False, "device": "cpu"}
FULL = {"n_epochs": 40, "kl_warmup": 28} | SETTINGS
SHORT = {"n_epochs": 5, "kl_warmup": 3} | SETTINGS


def bench_set(seed: int, n_cells: int = 5000, n_genes: int = 2000, n_batches: int = 1) -> ad.AnnData:
    """Simulate the bench set: six groups, negative binomial counts, and their log-probability under the truth.

    A batch multiplies every gene by a factor LogNormal(0, 0.3) of its own.
    """
    rng = np.random.default_rng(seed)
    group = rng.choice(len(GROUPS), n_cells, p=GROUPS)
    mean = rng.gamma(0.6, 1 / 0.3, n_genes) + 1e-3
    factor = change_factors(n_genes, len(GROUPS), 0.1, (0.1, 0.4), rng)
    library = rng.lognormal(8.0, 0.35, n_cells)
    batch = rng.integers(0, n_batches, n_cells)
    batch_factor = rng.lognormal(0, 0.3 if n_batches > 1 else 0, (n_batches, n_genes))
    rate = mean * factor[:, group].T * batch_factor[batch]
    mu = library[:, None] * rate / rate.sum(axis=1, keepdims=True)
    bcv = (0.3 + 0.2 / np.sqrt(mu.mean(axis=0))) * np.sqrt(60 / rng.chisquare(60, n_genes))
    theta = 1 / bcv**2
    counts = negative_binomial(mu, theta, rng)
    truth = stats.nbinom.logpmf(counts, theta, theta / (theta + mu)).sum(axis=1)
    obs = pd.DataFrame({"group": group, "batch": batch.astype(str), "truth": truth})
    obs.index = obs.index.map("cell_{}".format)
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)
    adata.var["true_theta"] = theta
    return adata


def ours(train: ad.AnnData, seed: int, batch_key: str | None = None, **settings) -> tuple[SimpleScVI, float]:
    """Train SimpleScVI; return it and the seconds of processor time."""
    n_batches = train.obs[batch_key].nunique() if batch_key else 1
    start = time.process_time()
    model = SimpleScVI(train.n_vars, n_batches=n_batches, seed=seed)
    training.fit(model, train, seed=seed, batch_key=batch_key, **{**FULL, **settings})
    return model, time.process_time() - start


def theirs(train: ad.AnnData, seed: int, n_epochs: int | None = None, batch_key: str | None = None, **plan):
    """Train scvi-tools' SCVI with the negative binomial and its own defaults; return it and the processor time."""
    import scvi

    for name in ("scvi", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    scvi.settings.seed = seed
    train = train.copy()
    start = time.process_time()
    scvi.model.SCVI.setup_anndata(train, batch_key=batch_key)
    model = scvi.model.SCVI(train, gene_likelihood="nb")
    model.train(n_epochs, train_size=1.0, accelerator="cpu", enable_progress_bar=False, plan_kwargs=plan or None)
    return model, time.process_time() - start


def their_elbo(model, adata: ad.AnnData, n_samples: int = 50) -> float:
    """Mean ELBO per cell, computed as :func:`course_lib.latent.elbo` does, one batch."""
    module, x = model.module.eval(), torch.tensor(adata.X.toarray())
    batch, total = torch.zeros(len(x), 1), 0.0
    with torch.inference_mode():
        inferred = module.inference(x, batch)
        for _ in range(n_samples):
            px = module.generative(inferred["qz"].sample(), inferred["library"], batch)["px"]
            total = total + px.log_prob(x).sum(dim=1)
        kl = torch.distributions.kl_divergence(inferred["qz"], torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    return (total / n_samples - kl).mean().item()


def ari(z: np.ndarray, labels) -> float:
    """Agreement of k-means, as many clusters as labels, with the labels."""
    found = KMeans(len(np.unique(labels)), n_init=10, random_state=0).fit_predict(z)
    return adjusted_rand_score(labels, found)


def theta_error(theta: np.ndarray, train: ad.AnnData) -> float:
    """Median of |log θ − log true θ| over the genes with a count."""
    seen = np.asarray(train.X.sum(axis=0)).ravel() > 0
    return float(np.median(np.abs(np.log(theta / train.var["true_theta"]))[seen]))


def quality() -> None:
    """Print distance to the truth, clusters and dispersions after 40 epochs, over five fresh sets."""
    rows = []
    for seed in SEEDS:
        data = bench_set(seed)
        train, test = preprocess.split(data, 0.1, seed=seed)
        model, seconds = ours(train, seed)
        theta = model.log_theta.detach().exp().numpy()
        gap = test.obs["truth"].mean() - latent.elbo(model, test, n_samples=50).mean()
        rows.append((gap, ari(latent.embed(model, data), data.obs["group"]), theta_error(theta, train), seconds))
        print(f"seed {seed}: truth − ELBO {gap:.2f} nats, ARI {rows[-1][1]:.3f}, |log θ error| {rows[-1][2]:.3f}")
    for name, values in zip(("truth − ELBO", "ARI", "|log θ error|", "CPU s"), zip(*rows, strict=True), strict=True):
        print(f"{name:14s} median {statistics.median(values):.3f}, {min(values):.3f} to {max(values):.3f}")


def race() -> None:
    """Print the processor time in which ours reaches the held-out ELBO that scvi-tools has after its 400 epochs."""
    seed = SEEDS[0]
    data = bench_set(seed)
    train, test = preprocess.split(data, 0.1, seed=seed)
    truth = test.obs["truth"].mean()
    model, seconds = ours(train, seed, **SHORT)
    gap = truth - latent.elbo(model, test, n_samples=50).mean()
    print(f"ours, {SHORT['n_epochs']} epochs: truth − ELBO {gap:.1f} nats, {seconds:.1f} s of CPU", flush=True)
    for n_epochs, plan in ((40, {"n_epochs_kl_warmup": None}), (400, {})):
        model, their_seconds = theirs(train, seed, n_epochs, **plan)
        gap, score = truth - their_elbo(model, test), ari(model.get_latent_representation(data), data.obs["group"])
        error = theta_error(model.module.px_r.detach().exp().numpy(), train)
        print(f"scvi-tools, {n_epochs} epochs: truth − ELBO {gap:.1f} nats, {their_seconds:.1f} s of CPU, ", end="")
        print(f"{their_seconds / seconds:.0f} × ours; ARI {score:.3f}, |log θ error| {error:.3f}", flush=True)


def steps(n_steps: int = 20, rounds: int = 7) -> None:
    """Print times of a training step, interleaved, and of its matrix products alone."""
    import scvi

    data = bench_set(SEEDS[0])
    cells, dense = Cells(data), torch.tensor(data.X.toarray())

    def fitting(compiled: bool):
        model = SimpleScVI(data.n_vars)
        model.initialise(cells.chunks())
        optimizer = torch.optim.Adam(model.parameter_groups(1e-3), fused=True)
        loss_of = torch.compile(model.loss) if compiled else model.loss
        return lambda: training._train_epoch(loss_of, optimizer, cells, torch.randperm(5000).split(128)[:n_steps], 1.0)

    def lecture():
        model = LectureScVI(data.n_vars)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        library = torch.log(dense.sum(dim=1, keepdim=True) + 1e-8)
        loader = DataLoader(TensorDataset(dense, library), batch_size=128, shuffle=True)

        def work():
            total = 0.0
            for (x, log_library), _ in zip(loader, range(n_steps), strict=False):
                optimizer.zero_grad()
                loss = model.loss(x, log_library)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(x)

        return work

    def scvi_tools():
        scvi.model.SCVI.setup_anndata(data)
        model = scvi.model.SCVI(data, gene_likelihood="nb")
        loader = model._make_data_loader(data, batch_size=128, shuffle=True)
        module = model.module.train()
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, eps=0.01, weight_decay=1e-6)

        def work():
            for tensors, _ in zip(loader, range(n_steps), strict=False):
                optimizer.zero_grad()
                module(tensors, loss_kwargs={"kl_weight": 1.0})[2].loss.backward()
                optimizer.step()

        return work

    def products():
        """Forward; slopes of weights; slopes of inputs, but for the first layer."""
        shapes = [(2000, 128), (128, 128), (128, 20), (10, 128), (128, 2000)]
        pairs = [(torch.randn(128, n), torch.randn(n, m), torch.randn(128, m)) for n, m in shapes]

        def work():
            for _ in range(n_steps):
                for k, (x, w, out) in enumerate(pairs):
                    x @ w, x.T @ out, out @ w.T if k else None

        return work

    ways = {"ours": fitting(False), "ours, compiled": fitting(True), "the lecture's loop": lecture()}
    ways |= {"scvi-tools": scvi_tools(), "matrix products": products()}
    seconds = {name: [] for name in ways}
    for n in range(rounds + 1):
        for name, work in ways.items():
            start = time.process_time()
            work()
            seconds[name] += [time.process_time() - start] if n else []  # the first round warms up and compiles
    middle = {name: statistics.median(values) / n_steps for name, values in seconds.items()}
    for name, value in middle.items():
        ratios = (middle[other] / value for other in ("scvi-tools", "the lecture's loop"))
        print(f"{name:20s} {1000 * value:6.1f} ms a step; ", end="")
        print("scvi-tools {:.2f} ×, the lecture's loop {:.2f} ×, ".format(*ratios), end="")
        print(f"{middle['matrix products'] / value:.2f} of the time is what matrix products alone take")


def parity() -> None:
    """Print the largest differences to scvi-tools in loss and slopes, with the same weights, counts and noise."""
    import scvi

    x = torch.poisson(5 * torch.rand(64, 200, generator=torch.Generator().manual_seed(0)))
    adata = ad.AnnData(x.numpy(), obs=pd.DataFrame({"batch": ["a", "b"] * 32}, index=map(str, range(64))))
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    for gene_likelihood in ("nb", "zinb"):
        plain = {"use_batch_norm": "none", "use_layer_norm": "none", "dropout_rate": 0.0}
        module = scvi.model.SCVI(adata, gene_likelihood=gene_likelihood, **plain).module
        two = scvi.nn.FCLayers(200, 128, n_layers=2, n_hidden=128, dropout_rate=0.0, use_batch_norm=False)
        module.z_encoder.encoder, module.z_encoder.var_eps = two, 0.0  # 10⁻⁴ is what scvi-tools adds to σ_z²
        model = SimpleScVI(200, gene_likelihood=gene_likelihood, n_batches=2)
        pairs = same_weights(model, module)
        for precision in (torch.float32, torch.float64):
            for each in (model.to(precision).train(), module.to(precision).train()):
                each.zero_grad()
            counts, batch = x.to(precision), torch.arange(64) % 2
            torch.manual_seed(0)
            mine = model.loss(Minibatch(counts, counts.sum(dim=1, keepdim=True), batch)).loss
            torch.manual_seed(0)
            tensors = {"X": counts, "batch": batch[:, None], "labels": torch.zeros(64, 1)}
            other = module(tensors, loss_kwargs={"kl_weight": 1.0})[2].loss
            mine.backward(), other.backward()
            slopes = [(part.grad, torch.cat([piece.grad for piece in pieces])) for part, pieces in pairs]
            worst = max(((ours - theirs).abs().max() / theirs.abs().max()).item() for ours, theirs in slopes)
            print(f"{gene_likelihood}, {precision}: loss {mine.item():.6f}, scvi-tools' {other.item():.6f}; ", end="")
            print(f"largest difference of a slope {worst:.1e} of the largest slope of its kind")


def same_weights(model: SimpleScVI, module) -> list:
    """Give `model` the weights of an scvi-tools module; return which parameter is made of which."""
    encoder, decoder = module.z_encoder, module.decoder
    (first,), (second,), (hidden,) = (
        [part for part in layer if isinstance(part, torch.nn.Linear)]
        for layer in (*encoder.encoder.fc_layers, *decoder.px_decoder.fc_layers)
    )
    outputs = [decoder.px_scale_decoder[0]] + [decoder.px_dropout_decoder] * (model.gene_likelihood == "zinb")
    layers = [(model.encoder[0], [first]), (model.encoder[2], [second]), (model.decoder[0], [hidden])]
    layers += [(model.encoder[4], [encoder.mean_encoder, encoder.var_encoder]), (model.decoder[2], outputs)]
    pairs = [(ours.weight, [each.weight for each in theirs]) for ours, theirs in layers]
    pairs += [(ours.bias, [each.bias for each in theirs]) for ours, theirs in layers]
    pairs += [(model.log_theta, [module.px_r])]
    with torch.no_grad():
        for ours, theirs in pairs:
            ours.copy_(torch.cat(theirs))
    return pairs


def pbmc() -> None:
    """Print held-out ELBO on real cells, in five splits: ours, scvi-tools at as many epochs and at its default."""
    data = datasets.pbmc()
    rows = {}
    for seed in SEEDS:
        train, test = preprocess.split(data, 0.2, seed=seed)
        model, _ = ours(train, seed, n_epochs=100, kl_warmup=50)
        rows.setdefault("ours, 100 epochs", []).append(latent.elbo(model, test, n_samples=50).mean())
        for n_epochs in (100, 400):
            model, _ = theirs(train, seed, n_epochs)
            rows.setdefault(f"scvi-tools, {n_epochs} epochs", []).append(their_elbo(model, test))
    for name, values in rows.items():
        against = [mine - value for mine, value in zip(rows["ours, 100 epochs"], values, strict=True)]
        print(f"{name:24s} ELBO median {statistics.median(values):.1f}, ", end="")
        print(f"ours better by {min(against):.1f} to {max(against):.1f}")


def batches() -> None:
    """Print how two batches mix in z, and whether groups stay apart, in three sets."""

    def mixing(z, batch):
        near = NearestNeighbors(n_neighbors=30).fit(z).kneighbors(return_distance=False)
        return np.mean(batch[near] != batch[:, None]) / np.mean(batch[:, None] != batch)

    longer = {"n_epochs": 100, "kl_warmup": 60}  # fewer cells than in the other parts, so fewer steps in an epoch
    for seed in SEEDS[:3]:
        data = bench_set(seed, 2000, 1000, n_batches=2)
        codes = {
            "ours, not told of batches": latent.embed(ours(data, seed, **longer)[0], data),
            "ours, 100 epochs": latent.embed(ours(data, seed, "batch", **longer)[0], data),
            "scvi-tools, 400 epochs": theirs(data, seed, 400, "batch")[0].get_latent_representation(),
        }
        for name, z in codes.items():
            mixed = mixing(z, data.obs["batch"].to_numpy())
            print(f"seed {seed}, {name:26s} other batch among neighbours: {mixed:.2f} of chance; ", end="")
            print(f"ARI of groups {ari(z, data.obs['group']):.3f}")


def scaling(n_cells: str = "") -> None:
    """Print seconds and memory of an epoch, beside the sparse matrix, for 3,000 to 300,000 cells × 2,000 genes."""
    if not n_cells:
        for n in (3_000, 30_000, 300_000):
            subprocess.run([sys.executable, "-m", "tools.bench_scvi", "scaling", str(n)], check=True)
        return
    n, per_cell, rng = int(n_cells), 100, np.random.default_rng(0)
    genes = np.tile(np.arange(per_cell, dtype=np.int32) * 20, n) + rng.integers(0, 20, n * per_cell, dtype=np.int32)
    bounds = np.arange(n + 1, dtype=np.int32) * per_cell
    x = sparse.csr_matrix((rng.integers(1, 9, len(genes)).astype(np.float32), genes, bounds), shape=(n, 2000))
    training.fit(SimpleScVI(2000), x[:1000], **{**SETTINGS, "n_epochs": 1})  # what torch itself takes
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    training.fit(SimpleScVI(2000), x, **{**SETTINGS, "n_epochs": 1})
    seconds = time.process_time() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    size = (x.data.nbytes + x.indices.nbytes + x.indptr.nbytes) / 1e6
    print(
        f"{n:7d} cells: {seconds:6.1f} s, {1e6 * seconds / n:.0f} µs a cell; matrix {size:.0f} MB, {more:.0f} MB more"
    )


PARTS = {part.__name__: part for part in (parity, steps, quality, pbmc, batches, scaling, race)}


def main() -> None:
    """Run the parts named on the command line, or all of them."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["scaling"]:
        return scaling(*sys.argv[2:])
    if not importlib.util.find_spec("scvi"):
        if not scvi_environment.run("tools.bench_scvi", *sys.argv[1:]):
            print("scvi-tools could not be installed: SimpleScVI is not measured beside it")
        return None
    for name in sys.argv[1:] or PARTS:
        print(f"--- {name}: {PARTS[name].__doc__}", flush=True)
        PARTS[name]()


if __name__ == "__main__":
    main()
