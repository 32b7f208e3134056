"""Print how exact, and how fast, count likelihoods are: ours, the textbook form, scipy, torch and scvi-tools.

Run as part of ``make bench``; nothing here is asserted. scvi-tools pins its own dependencies, so it gets an environment
of its own in ``_build/scvi``, in which ``python -m tools.bench_counts`` times everything in one run.
"""

import importlib.util
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from course_lib.likelihoods import log_nb_positive, log_zinb_positive

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / "_build" / "scvi"
PACKAGES = ("torch==2.13.0", "scvi-tools==1.4.2")
ROUNDS, BATCH, N_GENES = 15, 128, 2000


def textbook(x, mu, theta, eps=1e-8):
    """The textbook form, with small numbers inside its logarithms."""
    log_total = torch.log(theta + mu + eps)
    value = theta * (torch.log(theta + eps) - log_total) + x * (torch.log(mu + eps) - log_total)
    return value + torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)


def textbook_double(x, mu, theta):
    """The same in double precision."""
    return textbook(x.double(), mu.double(), theta.double(), 0.0).float()


def textbook_zero_inflated(x, mu, theta, logits):
    """The textbook form of the ZINB, on that of the NB."""
    log_nb = textbook(x, mu, theta)
    at_zero = torch.logaddexp(F.logsigmoid(logits), F.logsigmoid(-logits) + log_nb)
    return torch.where(x == 0, at_zero, F.logsigmoid(-logits) + log_nb)


def torchs(x, mu, theta):
    """torch.distributions.NegativeBinomial."""
    odds = mu.log() - theta.log()
    return torch.distributions.NegativeBinomial(theta, logits=odds, validate_args=False).log_prob(x)


def ours(x, mu, theta):
    """Of course_lib, as a model calls it."""
    return log_nb_positive(x, mu, theta, validate=False)


def scipys(x, mu, theta):
    """scipy.stats.nbinom, in double precision."""
    from scipy import stats

    x, mu, theta = (tensor.detach().double().numpy() for tensor in (x, mu, theta))
    return torch.from_numpy(stats.nbinom.logpmf(x, theta, theta / (theta + mu)))


def print_accuracy() -> None:
    """Print the largest errors over the grid of the tests, by region."""
    from tests.count_grid import nb_grid

    ref = nb_grid()
    near = ref.value > -30
    regions = {
        "all": near | True,
        "log p > -30": near,
        "theta = 1e6": ref.theta > 9e5,
        "log p < -1000": ref.value < -1e3,
    }
    print("negative binomial, largest error against 50-digit arithmetic (single precision, scipy in double):")
    print("nats; in brackets relative to max(|log p|, 1); slopes relative")
    print(f"{'':18s}" + "".join(f"{name:>24s}" for name in regions) + f"{'∂/∂μ':>12s}{'∂/∂θ':>12s}")
    ways = {"ours": ours, "textbook": textbook, "textbook, double": textbook_double, "torch": torchs, "scipy": scipys}
    for name, function in ways.items():
        x = torch.tensor(ref.x, dtype=torch.float32)
        mu, theta = (torch.tensor(v, dtype=torch.float32, requires_grad=True) for v in (ref.mu, ref.theta))
        value = function(x, mu, theta)
        error = np.nan_to_num(np.abs(value.detach().double().numpy() - ref.value), nan=np.inf)
        relative = error / np.maximum(np.abs(ref.value), 1)
        cells = [f"{error[where].max():.1e} ({relative[where].max():.1e})" for where in regions.values()]
        slopes = ["", ""]
        if value.requires_grad:
            value.sum().backward()
            for k, (grad, exact) in enumerate(((mu.grad, ref.by_mu), (theta.grad, ref.by_theta))):
                slopes[k] = (
                    f"{np.nanmax(np.abs(grad.double().numpy() - exact)[exact != 0] / np.abs(exact[exact != 0])):.1e}"
                )
        print(f"{name:18s}" + "".join(f"{cell:>24s}" for cell in cells) + "".join(f"{s:>12s}" for s in slopes))


def print_speed() -> None:
    """Print times of forward and backward, interleaved, for sparse and for large counts."""
    ways = {"ours": ours, "ours, validated": log_nb_positive, "textbook": textbook, "textbook, double": textbook_double}
    ways["torch"] = torchs
    inflated = {
        "ours, ZINB": lambda *a: log_zinb_positive(*a, validate=False),
        "textbook, ZINB": textbook_zero_inflated,
    }
    if importlib.util.find_spec("scvi"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from scvi.distributions import _negative_binomial as scvi
        ways["scvi-tools"] = scvi.log_nb_positive
        inflated["scvi-tools, ZINB"] = scvi.log_zinb_positive
    for level in (-3.0, -1.0, 3.0):
        rng = torch.Generator().manual_seed(0)
        mu = torch.exp(level + 1.5 * torch.randn(BATCH, N_GENES, generator=rng))
        log_theta, logits = torch.randn(N_GENES, generator=rng), torch.randn(BATCH, N_GENES, generator=rng)
        x = torch.poisson(mu, generator=rng)
        print(f"forward and backward, {BATCH} × {N_GENES}, {(x > 1).float().mean():.0%} of the counts above 1, medians")
        seconds = {name: [] for name in ways | inflated}
        for _ in range(ROUNDS):
            for name, function in (ways | inflated).items():
                leaves = [tensor.clone().requires_grad_() for tensor in (mu, log_theta, logits)]
                start = time.perf_counter()
                arguments = (x, leaves[0], leaves[1].exp()) + ((leaves[2],) if name in inflated else ())
                function(*arguments).sum().backward()
                seconds[name].append(time.perf_counter() - start)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        for name, value in middle.items():
            base = middle["textbook, ZINB" if name in inflated else "textbook"]
            print(f"  {name:18s} {1000 * value:7.1f} ms   {value / base:5.2f} × the textbook form's time")


def main() -> None:
    """Print accuracy here and speed in the environment that has scvi-tools, or here where that cannot be had."""
    print_accuracy()
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
        if subprocess.run(command, check=False).returncode:
            print("scvi-tools could not be installed: speed without it")
            return print_speed()
        (ENVIRONMENT / "installed").touch()
    subprocess.run(
        [python, "-m", "tools.bench_counts"], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


if __name__ == "__main__":
    print_speed()
