"""Every slip of the page "Slips in the slides": what the slides say and what is so, both evaluated.

``test_slip_n`` belongs to entry n. Each number that an entry prints is computed here and looked up in its text; one
that nothing computes fails the test, except the settings of an example, which the test names with `given`.
"""

import ast
import itertools
import math
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch.nn import functional

from course_lib import preprocess

PAGE = (Path(__file__).parent.parent / "chapters" / "appendix" / "slips.md").read_text("utf-8")
ENTRIES = {int(n): text for n, text in re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M)}
NUMBER = r"\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+|\d{3,}"
BATCH, GENES = 128, 1000

# log(counts per cell) as the slides print it, beside the counts
NB_TABLE = [
    ([15, 23, 16, 16, 14, 18, 16], 4.7707),
    ([20, 18, 27, 19, 16, 21, 11], 4.8828),
    ([11, 16, 17, 9, 7, 15, 16], 4.5109),
    ([17, 4, 18, 20, 15, 13, 24], 4.7095),
    ([14, 18, 13, 19, 17, 17, 16], 4.7362),
    ([21, 16, 18, 18, 11, 13, 15], 4.7185),
    ([15, 19, 13, 13, 15, 11, 17], 4.6347),
    ([17, 22, 14, 16, 20, 15, 15], 4.7791),
    ([13, 20, 18, 15, 19, 13, 17], 4.7449),
    ([13, 15, 14, 18, 18, 19, 17], 4.7362),
]
ZINB_TABLE = [
    ([0, 14, 0, 0, 0, 0, 0], 2.6391),
    ([0, 0, 0, 0, 0, 0, 17], 2.8332),
    ([20, 15, 16, 0, 18, 7, 0], 4.3307),
    ([0, 11, 0, 0, 0, 0, 0], 2.3979),
    ([19, 0, 0, 0, 0, 0, 0], 2.9444),
    ([0, 0, 0, 11, 0, 0, 0], 2.3979),
    ([16, 0, 0, 0, 17, 21, 0], 3.9890),
    ([0, 0, 0, 0, 0, 0, 15], 2.7081),
    ([0, 0, 0, 0, 0, 0, 24], 3.1781),
    ([0, 0, 0, 0, 0, 0, 0], -18.4207),
]


def plain(text: str) -> str:
    """An entry without addresses and numbers of sections, with minus signs and thousands as Python writes them."""
    text = re.sub(r"\]\([^)]*\)|(?i:section|equation) \(?\d+\.\d+", "]", text)
    return text.replace("{,}", ",").replace("−", "-")


class Entry:
    """The text of an entry, and which of its numbers have been accounted for."""

    def __init__(self, n: int):
        self.text, self.known = plain(ENTRIES[n]), set()

    def prints(self, value: float, form: str) -> None:
        """The entry shows `value` in this format."""
        shown = format(value, form)
        assert re.search(rf"(?<![\d.]){re.escape(shown)}(?![\d]|\.\d)", self.text), f"{shown} is not in the entry"
        self.known.add(shown.lstrip("-"))

    def given(self, *settings: str) -> None:
        """Numbers that an example starts from."""
        self.known |= set(settings)

    def unaccounted(self) -> list[str]:
        return sorted(set(re.findall(NUMBER, self.text)) - self.known)


@pytest.fixture
def entry(request):
    entry = Entry(int(request.node.name.removeprefix("test_slip_")))
    yield entry
    assert entry.unaccounted() == [], "the entry prints numbers that nothing computes"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def double(values) -> torch.Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64)


def lectures_loss(x_out, x, mu, logvar):
    """The slides' vae_loss."""
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return functional.mse_loss(x_out, x, reduction="mean"), kl


def test_slip_1(entry):
    outputs = np.array([2.0, 1.0, 0.0])
    printed = np.exp(-outputs) / np.exp(-outputs).sum()
    for usual, slide in zip(special.softmax(outputs), printed, strict=True):
        entry.prints(usual, ".3f")
        entry.prints(slide, ".3f")
    assert special.softmax(outputs).argmax() == 0 and printed.argmax() == 2


def test_slip_2(entry, rng):
    x, x_out = (double(rng.normal(size=(BATCH, GENES))) for _ in range(2))
    mu, logvar = (double(rng.normal(size=(BATCH, 32))) for _ in range(2))
    mse, kl = lectures_loss(x_out, x, mu, logvar)
    per_cell = ((x - x_out) ** 2).sum(1).mean()
    kl_per_cell = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    entry.prints(((kl / mse) / (kl_per_cell / per_cell)).item(), ",.0f")
    entry.prints(((kl / mse) / (kl_per_cell / (per_cell / 2))).item(), ",.0f")
    entry.given("128", "1,000")


def test_slip_3(entry):
    cells, logvar = 10 * BATCH, torch.zeros(BATCH, 6, dtype=torch.float64)
    x, mu = torch.zeros(BATCH, GENES, dtype=torch.float64), torch.ones_like(logvar)
    mse, kl = lectures_loss(x + 1, x, mu, logvar)
    assert mse.item() == 1 and kl.item() / BATCH == 3
    printed = sum((mse + kl).item() for _ in range(10)) / cells
    assert printed == pytest.approx(1 / BATCH + 3, rel=1e-12)
    entry.prints(cells, ",")
    entry.prints(printed, ".4f")
    entry.given("128")


def test_slip_4(entry, rng):
    x, mu = rng.normal(size=(2, 50))
    squared = ((x - mu) ** 2).sum()
    for variance, weight in ((0.5, 1), (1.0, 2)):
        minus_log = -stats.norm(0, variance**0.5).logpdf(x - mu).sum() + stats.norm(0, variance**0.5).logpdf(0) * 50
        assert squared / minus_log == pytest.approx(weight, rel=1e-12)  # so much more the squared error weighs
    entry.prints(math.sqrt(BATCH * GENES / 2), ".0f")
    entry.given("128,000", "0.5")


def bound(q, logarithm: bool, x: float = 1.0) -> float:
    """E_q of P(x, z) / q(z), or of its logarithm, for z ~ N(0, 1) and x | z ~ N(z, 1)."""

    def integrand(z):
        log_ratio = stats.norm.logpdf(z) + stats.norm.logpdf(x, z) - q.logpdf(z)
        return q.pdf(z) * (log_ratio if logarithm else np.exp(log_ratio))

    return integrate.quad(integrand, -12, 12)[0]


def test_slip_5(entry):
    evidence = stats.norm(0, 2**0.5)
    for q in (stats.norm(0, 1), stats.norm(0.3, 0.8**0.5)):
        assert bound(q, logarithm=False) == pytest.approx(evidence.pdf(1), rel=1e-8)
        elbo = bound(q, logarithm=True)
        assert elbo < evidence.logpdf(1) - 0.1
        entry.prints(elbo, ".3f")
    assert bound(stats.norm(0.5, 0.5**0.5), logarithm=True) == pytest.approx(evidence.logpdf(1), rel=1e-8)
    entry.prints(evidence.pdf(1), ".4f")
    entry.prints(evidence.logpdf(1), ".3f")
    entry.given("0.3", "0.8")


def test_slip_6(entry):
    q = stats.norm(0, 1)
    reconstruction = integrate.quad(lambda z: -q.pdf(z) * stats.norm.logpdf(1, z), -12, 12)[0]
    entry.prints(reconstruction, ".3f")
    assert reconstruction == pytest.approx(-bound(q, logarithm=True), rel=1e-8)
    normal, one = torch.distributions.Normal, torch.ones(1)
    mu, logvar = one, 0 * one
    codes = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    standard = torch.distributions.kl_divergence(normal(mu, one), normal(0 * one, one))
    moved = torch.distributions.kl_divergence(normal(mu, one), normal(one, one))
    assert codes == standard and moved == 0
    entry.prints(codes.item(), ".1f")


def test_slip_7(entry):
    logvar = torch.tensor(-2.0, dtype=torch.float64)
    sd = torch.exp(0.5 * logvar).item()
    entry.prints(sd, ".3f")
    entry.prints(logvar.exp().item(), ".3f")
    for normal in (torch.distributions.Normal(0.0, sd).stddev.item(), stats.norm(0, sd).std()):
        assert normal**2 == pytest.approx(logvar.exp().item(), rel=1e-6)
    entry.given("0.5")


def test_slip_8(entry):
    counts, printed = NB_TABLE[0]
    assert str(tuple(counts)) in entry.text
    entry.prints(sum(counts), "d")
    assert round(math.log(sum(counts)), 4) == printed
    entry.prints(printed, ".4f")
    slide = np.log1p(counts).sum()
    entry.prints(slide, ".2f")
    entry.prints(np.exp(slide), ",.0f")
    large = np.log1p(np.full(GENES, 15)).sum()
    entry.prints(large, ",.1f")
    assert torch.isinf(torch.exp(double(large)))
    entry.given("1,000")


def test_slip_9(entry):
    table = NB_TABLE + ZINB_TABLE
    assert len(table) == 20
    for counts, printed in table:
        assert round(math.log(sum(counts) + 1e-8), 4) == printed
    entry.prints(math.log(1e-8), ".4f")
    with pytest.raises(ValueError, match="cell"):
        preprocess.check_counts(ad.AnnData(np.array([counts for counts, _ in ZINB_TABLE], dtype=np.float32)))


def test_slip_10(entry, rng):
    library, pi, theta = 100, 0.7, 5.0
    mu = library * special.softmax(rng.normal(size=50))
    entry.prints(mu.sum(), ".0f")
    k = np.arange(3000)
    means = [((1 - pi) * k * stats.nbinom.pmf(k, theta, theta / (theta + m))).sum() for m in mu]
    np.testing.assert_allclose(means, (1 - pi) * mu, rtol=1e-6)
    assert round(sum(means)) == 30 and "expected counts to 30" in entry.text
    entry.given("0.7")


def test_slip_11(entry):
    r, p = 500, 0.03
    torchs = torch.distributions.NegativeBinomial(double(r), probs=double(p))  # successes before the r-th failure
    mu, variance = torchs.mean.item(), torchs.variance.item()
    assert mu == pytest.approx(r * p / (1 - p)) and variance == pytest.approx(mu + mu**2 / r)
    scipys = stats.nbinom(r, 1 - p)
    assert scipys.mean() == pytest.approx(mu) and scipys.var() == pytest.approx(variance)
    entry.prints(mu, ".2f")
    entry.prints(variance, ".2f")
    entry.prints(variance / mu, ".2f")
    entry.prints(stats.nbinom(r, p).mean(), ",.0f")
    entry.prints(mu + mu**2 / 5, ".1f")
    shown = np.mean([counts for counts, _ in NB_TABLE])  # 70 counts: the slides' table is PyTorch's, not SciPy's
    assert abs(shown - mu) < 3 * math.sqrt(variance / 70)
    entry.given("500", "0.03")


def test_slip_12(entry):
    pair = ad.AnnData(np.array([[1, 20, 400], [10, 200, 4000]], dtype=np.float32))
    entry.prints(np.linalg.norm(pair.X[0] - pair.X[1]), ",.0f")
    logged = preprocess.log_normalize(pair, target_sum=1e4)
    np.testing.assert_allclose(logged[0], logged[1], rtol=1e-6)
    entry.prints(np.log1p(4000), ".2f")
    entry.given("200", "400", "4000", "4,000")


def test_slip_13(entry):
    counts = np.full((1, GENES), 1.0, dtype=np.float64)
    slide = np.log1p(counts / counts.sum())[0, 0]
    entry.prints(slide, ".7f")
    assert slide == pytest.approx(1 / GENES, rel=1e-3)
    usual = preprocess.log_normalize(ad.AnnData(counts), target_sum=1e4)[0, 0]
    entry.prints(usual, ".3f")
    assert usual == pytest.approx(math.log(11), rel=1e-6)


def test_slip_14(entry):
    theta, mu = 500, 500 * 0.03 / 0.97
    entry.prints(math.log(theta), ".2f")
    steps = math.ceil(math.log(theta) / 1e-3)
    entry.prints(steps, ",")
    log_theta = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([log_theta], lr=1e-3)
    for _ in range(steps):  # a gradient that always says: up
        log_theta.grad = -torch.ones_like(log_theta)
        optimizer.step()
    assert log_theta.item() == pytest.approx(math.log(theta), abs=1e-2)
    entry.prints(150 * math.ceil(6000 / BATCH), ",")
    k = np.arange(200)
    near, far = (stats.nbinom.logpmf(k, t, t / (t + mu)) for t in (500, 50))
    entry.prints((np.exp(near) * (near - far)).sum(), ".3f")
    entry.prints(mu, ".2f")
    entry.given("500", "150", "6,000", "128")


def log_nb_positive(x, mu, theta, eps=1e-8):
    """The slides' textbook form."""
    log_theta_mu = torch.log(theta + mu + eps)
    return (
        theta * (torch.log(theta + eps) - log_theta_mu)
        + x * (torch.log(mu + eps) - log_theta_mu)
        + torch.lgamma(x + theta)
        - torch.lgamma(theta)
        - torch.lgamma(x + 1)
    )


def test_slip_15(entry):
    x, mu, theta = double(10), double(1e-8), double(5)
    wrong = log_nb_positive(x, mu, theta).item() - stats.nbinom.logpmf(10, 5, 5 / (5 + 1e-8))
    assert wrong == pytest.approx(10 * math.log(2), abs=1e-4)
    entry.prints(wrong, ".2f")
    entry.prints(special.gammaln(1e6) / 1e6, ".1f")
    assert np.spacing(np.float32(special.gammaln(1e6))) == 1
    x, mu, theta = (torch.tensor(value, dtype=torch.float32) for value in (100.0, 100.0, 1e6))
    exact = stats.nbinom.logpmf(100, 1e6, 1e6 / (1e6 + 100))
    assert abs(log_nb_positive(x, mu, theta).item() - exact) > 0.3
    assert log_nb_positive(x.double(), mu.double(), theta.double()).item() == pytest.approx(exact, abs=1e-6)
    entry.given("100", "0.3")


def test_slip_16(entry):
    k, rare, common = 1e-4, (1e-5, 2e-5), (0.0100, 0.0102)
    assert abs(rare[1] - rare[0]) < k < abs(common[1] - common[0])
    assert math.log2(rare[1] / rare[0]) == pytest.approx(1)
    entry.prints(math.log2(common[1] / common[0]), ".3f")
    entry.given("0.0100", "0.0102")


def test_slip_17(entry):
    probability = 2 / (1 + 2)
    entry.prints(probability, ".3f")
    assert 1 - probability == pytest.approx(1 / 3)
    prior = 0.1 / 0.9
    assert prior == pytest.approx(1 / 9) and "Bayes factor of 18" in entry.text
    assert 2 / prior == pytest.approx(18)


def test_slip_18(entry):
    slide, right = re.findall(r"`(class [^`]+)`", entry.text)
    with pytest.raises(SyntaxError):
        ast.parse(f"{slide}\n    pass")
    ast.parse(f"{right}\n    pass")


def test_slip_19(entry):
    x = torch.full((1, GENES), 1 / GENES, dtype=torch.float64)
    usual = -(x * x.log()).sum().item()
    assert functional.cross_entropy(torch.zeros_like(x), x).item() == pytest.approx(usual, rel=1e-9)
    entry.prints(usual, ".3f")
    entry.prints(usual / GENES, ".4f")
    entry.given("1,000", "1000")


def test_slip_20(entry):
    truth, grid = np.array([0.3, 0.7]), np.linspace(0.001, 0.999, 999)
    models = np.stack([grid, 1 - grid], axis=1)
    divergence = (truth * np.log(truth / models)).sum(1)
    expected = (truth * np.log(models)).sum(1)
    assert divergence.argmin() == expected.argmax() and grid[expected.argmax()] == pytest.approx(truth[0])
    assert divergence.min() == pytest.approx(0, abs=1e-12)
    assert divergence.min() == pytest.approx(-stats.entropy(truth) - expected.max(), abs=1e-12)
    entry.prints(truth[0], ".1f")
    entry.prints(expected.max(), ".3f")


def test_entries_are_numbered_without_gaps_and_each_has_its_test():
    assert list(ENTRIES) == list(range(1, len(ENTRIES) + 1))
    assert {f"test_slip_{n}" for n in ENTRIES} == {name for name in globals() if re.fullmatch(r"test_slip_\d+", name)}


@pytest.mark.parametrize("n", ENTRIES)
def test_each_entry_says_what_the_slides_have_what_is_so_why_it_matters_and_how_to_see_it(n):
    leads = re.findall(r"^- \*\*(.+?):\*\*", ENTRIES[n], flags=re.M)
    assert leads == ["Slides", "So", "Why it matters", "See it"]


@pytest.mark.parametrize(("text", "expected"), [("is 3.14 of 1,000", ["1,000", "3.14"]), ("is 12 and 7", [])])
def test_a_number_that_nothing_computes_is_found(text, expected):
    entry = Entry(1)
    entry.text = text
    assert entry.unaccounted() == expected


def test_a_number_is_not_found_inside_another():
    entry = Entry(1)
    for text, value in itertools.product(("0.665", "1.66", "166"), (66, 6)):
        entry.text = text
        with pytest.raises(AssertionError, match="not in the entry"):
            entry.prints(value, "d")
