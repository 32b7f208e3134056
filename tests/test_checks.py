"""Self-checks: what they say without an answer, to a wrong one, to a right one; and that no answer makes them raise."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from course_lib import checks
from course_lib.checks import Exercise, Verdict


def about_three(answer):
    if isinstance(answer, str):
        return "A number is wanted, without quotation marks."
    return abs(answer - 3) < 0.1 or "Add one more."


class Hostile:
    """An object on which every comparison and conversion fails."""

    def __eq__(self, other):
        raise RuntimeError("no comparing")

    __hash__ = None
    __array__ = __float__ = __len__ = __bool__ = __iter__ = __sub__ = __eq__


def enumerated(logits, log_joint, log=None):
    """The exact ELBO of exercise 6.5, with log q from `log` of the softmax where one is given."""
    q = torch.softmax(logits, dim=1)
    return (q * (log_joint - (log(q) if log else torch.log_softmax(logits, dim=1)))).sum(dim=1)


STRANGE = [
    "three", "", b"3", [], {}, set(), (), object(), Hostile(), type, len, lambda: 1, lambda *_: None,
    float("nan"), (float("nan"), float("nan")), float("inf"), 3j, True, False, 10**400, np.array([]), np.ones((2, 3)),
    np.array("x"), np.array([None, 3]), pd.DataFrame({"a": [1]}), pd.Series([], dtype=float), torch.ones(3),
    torch.ones(2, requires_grad=True), ValueError("mine"), NotImplemented,
]  # fmt: skip


NUMBERS = tuple(checks.EXERCISES)


@pytest.fixture(autouse=True)
def exercise(monkeypatch):
    monkeypatch.setitem(checks.EXERCISES, "0.1", Exercise("Give one number.", about_three, "Three it is."))


class TestCheck:
    @pytest.mark.parametrize("answer", [None, ...])
    def test_without_an_answer_it_says_what_is_asked_and_is_neither_right_nor_wrong(self, answer):
        verdict = checks.check("0.1", answer)
        assert verdict == checks.check("0.1") == Verdict(None, "Give one number.")
        assert repr(verdict) == "No answer yet. Give one number." and not verdict

    @pytest.mark.parametrize("answer", [3, 3.05, np.float32(3), np.array(3.0), torch.tensor(3.0)])
    def test_a_right_answer_of_any_numeric_type_is_praised(self, answer):
        verdict = checks.check("0.1", answer)
        assert verdict and verdict.right is True and repr(verdict) == "Right. Three it is."

    @pytest.mark.parametrize(
        ("answer", "words"), [(2, "Add one more."), ("3", "without quotation marks"), (np.float64(9), "Add one more.")]
    )
    def test_a_wrong_answer_gets_a_hint(self, answer, words):
        verdict = checks.check("0.1", answer)
        assert not verdict and verdict.right is False
        assert repr(verdict).startswith("Not yet. ") and words in repr(verdict)

    @pytest.mark.parametrize("answer", [[1, 2], {"a": 3}, len, object()])
    def test_an_answer_of_the_wrong_type_is_told_what_is_asked_and_what_failed(self, answer):
        verdict = checks.check("0.1", answer)
        assert verdict.right is False and "Give one number." in verdict.message and "TypeError" in verdict.message

    @pytest.mark.parametrize("found", [False, np.False_, 0, None, np.zeros(1)])
    def test_a_judge_that_finds_it_wrong_without_a_hint_repeats_what_is_asked(self, monkeypatch, found):
        monkeypatch.setitem(checks.EXERCISES, "0.2", Exercise("Give two.", lambda _: found, "Two."))
        assert checks.check("0.2", 1) == Verdict(False, "Give two.")

    @pytest.mark.parametrize("found", [True, np.True_, np.ones(1, dtype=bool), torch.tensor(True)])
    def test_numpys_and_torchs_true_count_as_true(self, monkeypatch, found):
        monkeypatch.setitem(checks.EXERCISES, "0.2", Exercise("Give two.", lambda _: found, "Two."))
        assert checks.check("0.2", 1) == Verdict(True, "Two.")

    @pytest.mark.parametrize("error", [ValueError, ZeroDivisionError, AssertionError, RecursionError, StopIteration])
    def test_an_error_in_the_judge_becomes_a_sentence(self, monkeypatch, error):
        def judge(_):
            raise error("boom")

        monkeypatch.setitem(checks.EXERCISES, "0.2", Exercise("Give two.", judge, "Two."))
        verdict = checks.check("0.2", 1)
        assert verdict.right is False and error.__name__ in verdict.message and "boom" in verdict.message

    def test_an_interrupt_is_still_an_interrupt(self, monkeypatch):
        def judge(_):
            raise KeyboardInterrupt

        monkeypatch.setitem(checks.EXERCISES, "0.2", Exercise("Give two.", judge, "Two."))
        with pytest.raises(KeyboardInterrupt):
            checks.check("0.2", 1)

    @pytest.mark.parametrize("number", ["99.9", "", "1", 1.2, None])
    def test_an_unknown_exercise_is_answered_with_those_there_are(self, number):
        with pytest.raises(ValueError, match=r"no exercise .*0\.1"):
            checks.check(number, 3)

    def test_the_answer_is_not_changed(self):
        answer = [3.0, 1.0, 2.0]
        for number in checks.EXERCISES:
            checks.check(number, answer)
        assert answer == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("number", NUMBERS)
class TestEveryExercise:
    """What holds for each exercise of the book, whatever it asks."""

    @pytest.mark.filterwarnings("ignore")
    def test_a_strange_answer_raises_nothing_and_is_not_right(self, number):
        for answer in STRANGE:
            verdict = checks.check(number, answer)
            assert isinstance(verdict, Verdict) and verdict.message and repr(verdict)
            assert verdict.right is False or isinstance(answer, bool), type(answer)

    def test_without_an_answer_it_says_what_is_asked(self, number):
        verdict = checks.check(number)
        assert verdict.right is None and len(verdict.message) > 10

    def test_what_is_said_is_made_of_whole_sentences(self, number):
        exercise = checks.EXERCISES[number]
        for text in (exercise.asks, exercise.praise):
            assert text[0].isupper() and text.rstrip()[-1] in ".?!"

    def test_its_number_is_that_of_a_chapter_and_an_exercise(self, number):
        assert re.fullmatch(r"\d+b?\.\d+", number)


HOLE = 0.3158  # exercise 4.4: twice Φ(0.4062) − ½, and the far tails


def codes_of(sd=lambda logvar: np.exp(logvar / 2), shared=False):
    """An answer to exercise 4.5."""

    def draw_codes(mu, logvar, n, seed):
        rng = np.random.default_rng(seed)
        cell = rng.integers(len(mu), size=n)
        return mu[cell] + sd(logvar[cell]) * rng.normal(size=(n, 1 if shared else mu.shape[1]))

    return draw_codes


def lognormal(x, m, sigma):
    """What exercise 7.5 asks for, by sampling at many places."""
    places = np.linspace(-8, 8, 2001)
    weights = stats.norm.pdf(places) / stats.norm.pdf(places).sum()
    return stats.poisson(np.exp(m + sigma * places)).pmf(np.asarray(x)[:, None]) @ weights


@pytest.mark.parametrize(
    ("number", "answer", "words"),
    [
        ("2.1", 0.8, "the share that the code keeps"),
        ("2.1", 2, "divide by the total"),
        ("2.1", 0.1, "leave out"),
        ("2.2", 45, "Give two numbers"),
        ("2.2", (0, 0.7854), "radians"),
        ("2.2", (45, 0), "smaller one first"),
        ("2.2", (0, 54.74), "share a direction"),
        ("2.3", 0.5, "Give two numbers"),
        ("2.3", (0.25, 0.0), "The first is"),
        ("2.3", (0.5, -0.5), "above κ"),
        ("2.4", 0.25, "ten slopes multiply"),
        ("2.4", 2.5, "ten slopes multiply"),
        ("2.4", 0.5**10, "at most 1/4"),
        ("2.4", 0, "at most 1/4"),
        ("2.5", 0.7, "Hand in the function"),
        ("2.5", lambda x, b: ((x @ b) ** 2).sum() / (x**2).sum(), "Stretching"),
        ("2.5", lambda x, b: 1 - ((x @ np.linalg.qr(b)[0]) ** 2).sum() / (x**2).sum(), "share that is lost"),
        ("2.5", lambda x, b: ((x @ np.linalg.qr(b)[0]) ** 2).mean() / (x**2).mean(), "Project x"),
        ("3.1", (2.3026, 2.6), "in nats"),
        ("3.1", (2.53, 2.8), "standard deviation"),
        ("3.1", (3.32, 3.32), "Rounding costs"),
        ("3.2", (2.0, 0.0, 0.0), "The sum is right"),
        ("3.2", (1.3, 0.3, -0.7), "below the water"),
        ("3.3", (1.0, 0.6), "true strength"),
        ("3.3", (0.4, 0.6), "λ/2"),
        ("3.3", (0.7, 0.09), "and the penalty"),
        ("3.4", 0.55, "mean of match"),
        ("3.5", lambda z, k: z, "exactly k"),
        ("3.5", lambda z, k: z.topk(k, dim=1).values, "shape of z"),
        ("3.5", lambda z, k: torch.where(z <= z.kthvalue(k, dim=1).values[:, None], z, 0.0), "the largest"),
        ("4.1", 0.4, "Give two numbers"),
        ("4.1", (0.5, 0.2), "prior pulls"),
        ("4.1", (0.2, 0.2), "complete the square"),
        ("4.1", (0.4, 0.4472), "standard deviation"),
        ("4.1", (0.4, 5.0), "The mean is right"),
        ("4.2", 0.37, "Give two numbers"),
        ("4.2", (0.1353, 1.07), "is the variance"),
        ("4.2", (-2, 1.07), "exponentiate"),
        ("4.2", (0.5, 1.07), "exp(logvar / 2)"),
        ("4.2", (0.368, 2.135), "½"),
        ("4.2", (0.368, 0.5), "four terms"),
        ("4.3", 0.91, "Give two numbers"),
        ("4.3", (1.07, 0.7), "adds the variance"),
        ("4.3", (0.64, 0.7), "two terms"),
        ("4.3", (0.91, 0.297), "keeps"),
        ("4.3", (0.91, 0.5), "divide it by the sum"),
        ("4.4", 100 * HOLE, "per cent"),
        ("4.4", 0.0143, "weigh"),
        ("4.4", 0.9, "On a fine grid"),
        ("4.5", (1, 2), "Hand in the function"),
        ("4.5", lambda mu, logvar, n, seed: mu, "a row for each draw"),
        ("4.5", lambda mu, logvar, n, seed: np.random.default_rng(0).normal(size=(n, 2)), "The same seed"),
        ("4.5", lambda mu, logvar, n, seed: np.random.default_rng(seed).normal(mu[0], 1, (n, 2)), "same probability"),
        ("4.5", codes_of(np.exp), "σ_z²"),
        ("4.5", codes_of(lambda logvar: 0.1 + 0 * logvar), "its standard deviations"),
        ("4.5", codes_of(shared=True), "noise of its own"),
        ("5.1", 0.5338, "their sum"),
        ("5.1", 0.5 + 0.5 * (np.exp(-4) + 3), "without a factor 2"),
        ("5.1", 2.1353, "½ in front"),
        ("5.1", 3, "(5.12) for each"),
        ("5.2", -3.4, "Give two numbers"),
        ("5.2", (-2.9189, 0.6), "z varies too"),
        ("5.2", (-2.5, 1.1), "KL from the prior is 0"),
        ("5.2", (-3.4189, -1.1534), "not negative"),
        ("5.2", (-3.4189, 0.5), "its variance"),
        ("5.3", 500, "averaged over latent"),
        ("5.3", 31.25, "Half of it"),
        ("5.3", 0.064, "other way round"),
        ("5.3", 64_000, "half the sum over genes"),
        ("5.4", 2, "Give two numbers"),
        ("5.4", (3, 1.5), "threshold with a weight"),
        ("5.4", (4, 1.5), "Count the eigenvalues"),
        ("5.4", (2, 0.5 * np.log(15)), "in its logarithm"),
        ("5.4", (2, 0.1), "in the place of"),
        ("5.5", 3, "function itself"),
        ("5.5", lambda log_r: log_r, "one value for each cell"),
        ("5.5", lambda log_r: torch.logsumexp(log_r, dim=0), "log K is to be taken off"),
        ("5.5", lambda log_r: log_r.mean(dim=0), "the ELBO"),
        ("5.5", lambda log_r: log_r.max(dim=0).values, "mean over the K draws"),
        ("5.5", lambda log_r: log_r.exp().mean(dim=0).log(), "logsumexp"),
        ("6.1", (-3.0, -1.125), "three numbers"),
        ("6.1", (5.0, -1.125, 3.0), "path to μ"),
        ("6.1", (-3.0, -2.25, 3.0), "one factor of σ"),
        ("6.1", (-3.0, -3.0, 3.0), "no derivative of f"),
        ("6.1", (-3.0, -1.125, 6.0), "½ σ"),
        ("6.1", (-3.0, -1.125, 0.0), "2 z · ε"),
        ("6.2", (0.0625, 1.047), "the root"),
        ("6.2", (0.5, 1.0), "divided by B"),
        ("6.2", (0.25, 0.25), "(6.11)"),
        ("6.3", (16, 15), "mean of f"),
        ("6.3", (0, 95), "derivative of"),
        ("6.3", (18, 56), "the path's is 4"),
        ("6.3", (18, 15), "divide by 4"),
        ("6.4", lambda rate, u: 1 / rate, "one draw for each"),
        ("6.4", lambda rate, u: torch.distributions.Exponential(rate).sample(u.shape), "forgotten the rate"),
        ("6.4", lambda rate, u: -torch.log1p(-u) * rate, "Solve u"),
        ("6.4", lambda rate, u: -torch.log1p(-u) / rate.detach() + 0 * rate, "gradient is not"),
        ("6.5", lambda logits, log_joint: torch.zeros(6, 4), "one number for each cell"),
        ("6.5", lambda logits, log_joint: -enumerated(logits, log_joint), "minus the ELBO"),
        ("6.5", lambda logits, log_joint: (logits.softmax(1) * log_joint).sum(1), "entropy of q"),
        ("6.5", lambda logits, log_joint: log_joint.logsumexp(1), "Sum q"),
        ("6.5", lambda logits, log_joint: enumerated(logits.detach(), log_joint), "no gradient"),
        ("6.5", lambda logits, log_joint: enumerated(logits, log_joint, torch.log), "log_softmax in place"),
        ("7.1", 2.0, "Give three numbers"),
        ("7.1", (0.5, 0.1, 0.1), "inverse"),
        ("7.1", (4 / 3, 0.1, 0.1), "two terms"),
        ("7.1", (3.0, 0.1, 0.1), "Solve equation"),
        ("7.1", (2.0, 0.018, 0.018), "only one of the factors"),
        ("7.1", (2.0, 1 / 9, 1 / 9), "The Poisson's share"),
        ("7.2", (5, 1 / 3), "Give four numbers"),
        ("7.2", (10, 1 / 3, 10, 2 / 3), "is θ"),
        ("7.2", (5, 2 / 3, 5, 1 / 3), "the other way round"),
        ("7.2", (5, 0.5, 5, 2 / 3), "has mean 5, not 10"),
        ("7.2", (5, 1 / 3, 5, 1 / 3), "PyTorch's mean"),
        ("7.3", 3.0, "Give three numbers"),
        ("7.3", (10, 30, 0.46), "before extra zeros"),
        ("7.3", (7, 30, 0.46), "equation (7.12)"),
        ("7.3", (3, 9, 0.46), "last term"),
        ("7.3", (3, 21, 0.46), "equation (7.13)"),
        ("7.3", (3, 30, 0.7012), "the ZINB's share"),
        ("7.3", (3, 30, 0.1), "Find θ"),
        ("7.4", 0.3, "Give two numbers"),
        ("7.4", (92 / 300, 1e-20), "zeros of its own"),
        ("7.4", (0.5, 1e-20), "(300, 1)"),
        ("7.4", (0.2945, 0.5), "zero_inflation_test"),
        ("7.5", 0.2, "Hand in the function"),
        ("7.5", lambda x, m, sigma: 0.1, "one probability for each"),
        ("7.5", lambda x, m, sigma: np.full(len(x), 0.1), "Average the Poisson"),
        ("7.5", lambda x, m, sigma: np.log(lognormal(x, m, sigma)), "Those are logarithms"),
        ("7.5", lambda x, m, sigma: np.sqrt(2 * np.pi) * lognormal(x, m, sigma), "root of 2π"),
    ],
)
def test_a_likely_mistake_gets_its_own_hint(number, answer, words):
    verdict = checks.check(number, answer)
    assert verdict.right is False and words in verdict.message


def test_a_verdict_cannot_be_changed():
    with pytest.raises(AttributeError):
        checks.check("0.1", 2).right = True
