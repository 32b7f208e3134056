"""Compare tests of differential expression on cells with known truth. Run as ``make bench``; nothing here is asserted.

``python -m tools.bench_de [--seeds 5] [--models FOLDER]``: a folder keeps trained models for the next run.
"""

import argparse
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.metrics import average_precision_score

from course_lib import differential, preprocess, training
from course_lib.differential.posterior import log2_ratio
from course_lib.draws import change_factors, negative_binomial
from course_lib.models import SimpleScVI

GROUPS = (0.30, 0.25, 0.20, 0.12, 0.08, 0.05)
PAIRS = (("0", "1"), ("4", "5"), ("0", "5"))
DELTA, FDR, FEW = 0.25, 0.05, 15
SETS = {  # name: kind of cells, number of them, genes, cells of a group that are compared
    "H: NB counts in six groups": ("plain", 5000, 2000, None),
    "two batches, 8 to 2 in one group and 2 to 8 in the next": ("batches", 4000, 1000, None),
    "a state that varies within groups (3 genes in 10)": ("states", 4000, 1000, None),
    f"the same, {FEW} cells from each group": ("states", 4000, 1000, FEW),
}


def simulate(seed: int, kind: str, n_cells: int, n_genes: int) -> ad.AnnData:
    """Simulate set H, or a smaller one like it with batches or with a continuous state inside the groups."""
    rng = np.random.default_rng(seed)
    group = rng.choice(len(GROUPS), n_cells, p=GROUPS)
    mean = rng.gamma(0.6, 1 / 0.3, n_genes) + 1e-3
    factor = change_factors(n_genes, len(GROUPS), 0.1, (0.1, 0.4), rng)
    library = rng.lognormal(8.0, 0.35, n_cells)
    rate, batch = (mean[:, None] * factor).T[group], np.zeros(n_cells, dtype=int)
    if kind == "batches":
        batch = (rng.random(n_cells) < np.where(group % 2 == 0, 0.8, 0.2)).astype(int)
        rate = rate * rng.lognormal(0, 0.3, (2, n_genes))[batch]
    if kind == "states":
        state = rng.normal(size=n_cells)
        slope = rng.normal(0, 0.6, n_genes) * (rng.random(n_genes) < 0.3)
        rate = rate * np.exp(state[:, None] * slope - slope**2 / 2)
    mu = library[:, None] * rate / rate.sum(axis=1, keepdims=True)
    bcv = (0.3 + 0.2 / np.sqrt(mu.mean(axis=0))) * np.sqrt(60 / rng.chisquare(60, n_genes))
    counts = negative_binomial(mu, 1 / bcv**2, rng)
    obs = pd.DataFrame({"group": group.astype(str), "batch": batch.astype(str)})
    obs.index = obs.index.map("cell_{}".format)
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)
    rho = mean[:, None] * factor
    adata.var["true_theta"], adata.varm["factor"], adata.varm["rho"] = 1 / bcv**2, factor, rho / rho.sum(axis=0)
    adata = preprocess.drop_empty(adata)
    preprocess.log_normalize(adata)
    return adata


def trained(adata: ad.AnnData, path: Path | None, batch_key: str | None) -> SimpleScVI:
    """Train for 40 epochs, or load what an earlier run left at `path`."""
    if path and path.exists():
        return SimpleScVI.load(path)
    model = SimpleScVI(adata.n_vars, n_batches=adata.obs["batch"].nunique())
    training.fit(model, adata, n_epochs=40, kl_warmup=20, validation=0, batch_key=batch_key, progress=False)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return model


def lecture(model, adata, a, b, batch_key) -> pd.DataFrame:
    """The two-cell test of ten random pairs, 100 draws each, joined."""
    rng = np.random.default_rng(0)
    chosen = [rng.choice(adata.obs_names[adata.obs["side"] == side], 10) for side in (a, b)]
    total = 0
    for pair in zip(*chosen, strict=True):
        found = differential.two_cell_test(model, adata, *pair, n_samples=100, batch_key=batch_key)
        total = total + found.loc[adata.var_names, "n_h1"]
    return pd.DataFrame({"rank": total, "calls": total > 1000 * 2 / 3})


def without_model(adata, a, b, batch_key) -> pd.DataFrame:
    """As the library's test, with κ by moments of the counts of the two groups (within batches) and no model."""
    batches, x = adata.obs[batch_key or "batch"].to_numpy(), adata.X.toarray().astype(np.float64)
    library, square, excess, cells = x.sum(axis=1, keepdims=True), 0.0, 0.0, {}
    for side in (a, b):
        for s in np.unique(batches):
            own = np.flatnonzero((adata.obs["side"] == side) & (batches == s))
            if len(own) > 2:
                mu = library[own] * x[own].sum(axis=0) / library[own].sum()
                square = square + (mu**2).sum(axis=0)
                excess = excess + ((x[own] - mu) ** 2).sum(axis=0) * len(own) / (len(own) - 1) - mu.sum(axis=0)
            cells[side, s] = own
    kappa = np.clip(excess / np.maximum(square, 1e-12), 0.01, 100)
    both = np.concatenate(list(cells.values()))
    rho = (x[both].sum(axis=0) + 0.5) / library[both].sum()
    sums = np.zeros((4, 2, len(np.unique(batches)), adata.n_vars))
    for i, own in enumerate(cells.values()):
        weight = 1 / (1 + kappa * library[own] * rho)
        depth = weight * library[own]
        parts = (weight * x[own], depth, weight * depth, kappa * depth**2)
        sums[:, i // sums.shape[2], i % sums.shape[2]] = [part.sum(axis=0) for part in parts]
    found = differential.shrink(*log2_ratio(*sums))
    mean, std = found.moments()
    columns = {"prob_de": found.beyond(DELTA)[0].clip(0, 1), "prob_changed": found.changed()}
    return pd.DataFrame(columns | {"lfc_mean": mean, "lfc_std": std}, index=adata.var_names)


def tests(model, adata, a, b, batch_key) -> dict[str, pd.DataFrame]:
    """Run every test; columns ``rank`` (changed at all), ``calls`` (what it calls), and estimates where it has some."""
    labels, names, out = ("side", a, b), adata.var_names, {}
    out["lecture's test, 10 pairs"] = lecture(model, adata, a, b, batch_key)
    for over in ("pairs", "means"):
        found = differential.decoded_test(model, adata, *labels, over=over, batch_key=batch_key).loc[names]
        out[f"decoded {over}"] = found.assign(rank=found["lfc_mean"].abs(), calls=found["is_de"])
    for name in ("t_test", "wilcoxon"):
        found = getattr(differential, name)(adata, *labels).loc[names]
        size = abs(found["score"] - (0.5 if name == "wilcoxon" else 0.0))
        out[name] = found.assign(
            rank=size if name == "t_test" else -found["p_value"], calls_changed=found["fdr"] <= FDR
        )
    start = time.process_time()
    ours = differential.differential_expression(model, adata, *labels, delta=DELTA, batch_key=batch_key).loc[names]
    ours.attrs["seconds"] = time.process_time() - start
    for name, found in (("without a model", without_model(adata, a, b, batch_key)), ("ours", ours)):
        calls = differential.expected_fdr(found["prob_de"]) <= FDR
        changed = differential.expected_fdr(found["prob_changed"]) <= FDR
        out[name] = found.assign(rank=found["prob_changed"], calls=calls, calls_changed=changed)
    return out


def compare(name: str, seeds: range, folder: Path | None) -> None:
    """Print one set's tables."""
    kind, n_cells, n_genes, few = SETS[name]
    batch_key, rows, genes, seconds = "batch" if kind == "batches" else None, [], [], []
    for seed in seeds:
        adata = simulate(seed, kind, n_cells, n_genes)
        model = trained(adata, folder and folder / f"{kind}_{seed}.pt", batch_key)
        rng, rho, factor = np.random.default_rng(seed), adata.varm["rho"], adata.varm["factor"]
        for a, b in (*PAIRS, (PAIRS[0][0], "null")):
            cells = [np.flatnonzero(adata.obs["group"] == side) for side in (a, b)]
            if b == "null":  # two random halves of one group; with batches, halves that hold them in unlike shares
                odds = np.where(adata.obs["batch"] == "1", 0.7, 0.3) if batch_key else np.full(adata.n_obs, 0.5)
                half = rng.random(adata.n_obs) < odds
                cells = [cells[0][half[cells[0]]], cells[0][~half[cells[0]]]]
            cells = [rng.permutation(side)[:few] for side in cells]
            side = np.full(adata.n_obs, None, dtype=object)
            side[cells[0]], side[cells[1]] = a, b
            adata.obs["side"] = side
            i, j = int(a), int(a if b == "null" else b)
            true = np.log2(rho[:, i] / rho[:, j])
            changed, large = factor[:, i] != factor[:, j], np.abs(true) > DELTA
            for test, found in tests(model, adata, a, b, batch_key).items():
                row = {"test": test, "pair": f"{a}-{b}", "seed": seed}
                if b != "null":
                    row["AP"] = average_precision_score(changed, found["rank"])
                for claim, truth in (("calls_changed", changed), ("calls", large)):
                    if claim in found:
                        call = found[claim].to_numpy()
                        row |= {claim: call.sum(), f"{claim}_false": (call & ~truth).sum(), f"{claim}_of": truth.sum()}
                        row[f"{claim}_found"] = (call & truth).sum()
                if b != "null" and "prob_de" in found:
                    inside = np.abs(true - found["lfc_mean"]) < stats.norm.ppf(0.95) * found["lfc_std"]
                    row["cover"] = inside.mean()
                    genes.append(pd.DataFrame({"test": test, "p": found["prob_de"].to_numpy(), "truth": large}))
                seconds += [found.attrs["seconds"]] if "seconds" in found.attrs else []
                rows.append(row)
    report(name, pd.DataFrame(rows), pd.concat(genes), seconds, seeds)


def report(name: str, rows: pd.DataFrame, genes: pd.DataFrame, seconds: list[float], seeds: range) -> None:
    """Print average precision, realised error rates and power, coverage, and reliability."""
    print(f"\n{name}; seeds {seeds[0]} to {seeds[-1]}; δ = {DELTA}, claimed FDR {FDR}")
    null, real = rows[rows["pair"].str.endswith("null")], rows[~rows["pair"].str.endswith("null")]
    lines = {}
    for test, own in real.groupby("test", sort=False):
        line = {f"AP {pair}": f"{part['AP'].median():.3f}" for pair, part in own.groupby("pair", sort=False)}
        for claim, short in (("calls_changed", "changed"), ("calls", "∣LFC∣ > δ")):
            n = own[claim].sum()
            line[f"FDR {short}"] = line[f"power {short}"] = line[f"worst {short}"] = "-"
            if own[claim].notna().any():
                low, high = stats.binomtest(int(own[f"{claim}_false"].sum()), max(int(n), 1)).proportion_ci()
                line[f"FDR {short}"] = f"{own[f'{claim}_false'].sum() / max(n, 1):.3f} ({low:.3f}–{high:.3f})"
                worst = own.groupby("pair")[[f"{claim}_false", claim]].sum()
                line[f"worst {short}"] = f"{(worst.iloc[:, 0] / worst.iloc[:, 1].clip(lower=1)).max():.3f}"
                line[f"power {short}"] = f"{own[f'{claim}_found'].sum() / own[f'{claim}_of'].sum():.2f}"
        line["90 % cover"] = f"{own['cover'].mean():.2f}"
        calls = null.loc[null["test"] == test, ["calls_changed", "calls"]].reindex(columns=["calls_changed", "calls"])
        line["null calls"] = " ".join(f"{value:.0f}" for value in calls.max(axis=1))
        lines[test] = line
    print(pd.DataFrame(lines).to_string())
    print(f"ours: {np.median(seconds):.1f} s of one core (median), {max(seconds):.1f} s at most")
    for test, own in genes.groupby("test", sort=False):
        table = differential.reliability(own["p"], own["truth"])
        print(f"prob_de of {test}, pooled\n{table.round(2).to_string(index=False)}")


def main() -> None:
    """Compare on every set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=201)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--only", default="", help="run the sets whose name holds this")
    settings = parser.parse_args()
    for name in SETS:
        if settings.only in name:
            compare(name, range(settings.first, settings.first + settings.seeds), settings.models)


if __name__ == "__main__":
    main()
