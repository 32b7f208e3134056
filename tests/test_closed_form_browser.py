"""Distributions in a browser, with the network cut: exact, moved by every means, told in words, in both themes."""

import itertools
import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
from pages import PAGE, PHONE, PUT, point
from scipy import stats
from test_closed_form import bound, picture, soup

from course_lib import closed_form
from course_lib.closed_form import explore
from course_lib.density_plot import digits
from course_lib.distributions import FAMILIES

SCRIPT = Path(closed_form.__file__).with_suffix(".js").read_text("utf-8")
MEANS, DISPERSIONS, EXTRA = (1e-3, 0.03, 1, 10, 123.4, 1e4), (1e-2, 0.3, 1, 5, 500, 1e4, 1e6), (0, 1e-3, 0.3, 0.999)
ZINB = "zero-inflated negative binomial"
PRIOR = ("normal", {"mu": 0, "sigma": 1})


def zinb(mu=10, theta=5, pi=0.3, name="zinb"):
    ranges = {"mu": (1, 100, mu), "theta": (0.1, 100, theta), "pi": (0, 0.95, pi)}
    return explore(ZINB, **ranges, compare="negative binomial", x=(0, 40), y=0.5, name=name)


def gaussian(mu=0.5, sigma=0.7, name="gaussian"):
    ranges = {"mu": (-3, 3, mu), "sigma": (0.1, 5, sigma)}
    return explore("normal", **ranges, compare=PRIOR, x=(-5, 5), y=1, xlabel="z", name=name)


def mixing(theta=5):
    return explore("negative binomial", mu=10, theta=(0.2, 1000, theta), compare="gamma", x=(0, 40), y=0.1, name="mix")


def poisson(mu=3.5):
    return explore("Poisson", mu=(0.01, 400, mu), x=(0, 500), y=0.05, name="poisson")


def gamma(mu=3, theta=0.8):
    return explore("gamma", mu=(0.1, 10, mu), theta=(0.1, 50, theta), x=(0, 12), y=1, name="gamma")


def elbo(mu=-0.5, sigma_z=0.4, noise=1):
    return bound(mu=(-2, 3, mu), sigma_z=(0.1, 2, sigma_z), noise=(0.2, 3, noise), name="elbo")


@pytest.fixture(scope="module")
def html() -> str:
    return zinb()._repr_html_() + gaussian()._repr_html_()


@pytest.fixture
def open_page(open_page, url):
    """The page of this file, opened with given settings."""
    return lambda url=url, **settings: open_page(url, **settings)


def shown(page, name: str, nth: int = 0) -> dict:
    """What a reader of one figure has before them."""
    figure = page.locator(f"#explore-{name}").nth(nth)
    svg = figure.locator("svg")
    assert svg.is_visible() and svg.get_attribute("role") == "img"
    return {
        "drawn": svg.locator("[data-law]").evaluate_all("paths => paths.map(path => path.getAttribute('d'))"),
        "texts": svg.locator("text").all_text_contents(),
        "alt": svg.get_attribute("aria-label"),
        "lines": figure.locator("[data-line]").all_text_contents(),
        "values": figure.locator("output").all_text_contents(),
        "words": [slider.get_attribute("aria-valuetext") for slider in figure.get_by_role("slider").all()],
    }


def expected(figure) -> dict:
    """The same, as Python draws a figure that starts there."""
    page, drawn = soup(figure), picture(figure)
    values = [digits(slider.values[slider.start]) for slider in figure.sliders]
    return {
        "drawn": [path["d"] for path in drawn.select("[data-law]")],
        "texts": [text.text for text in drawn.select("text")],
        "alt": page.img["alt"],
        "lines": [line.text for line in page.select("[data-line]")],
        "values": values,
        "words": values,
    }


def law(page, name: str, cases: list) -> np.ndarray:
    """The page's log-probabilities at [x, parameters] each."""
    return np.array(
        page.evaluate(
            f"""([name, cases]) => {{ {SCRIPT}
            return cases.map(([x, values]) => distributions()[name].log(x, values)); }}""",
            [name, cases],
        )
    )


def around(mean: float, deviation: float) -> list[int]:
    return sorted({0, 1, 2, *(max(0, int(mean + i * deviation)) for i in (-2, -1, 0, 1, 3))})


def exact_nb(k: int, mu: float, theta: float):
    with mpmath.workdps(50):
        k, mu, theta = map(mpmath.mpf, (k, mu, theta))
        ways = mpmath.loggamma(k + theta) - mpmath.loggamma(theta) - mpmath.loggamma(k + 1)
        return ways + theta * mpmath.log(theta / (theta + mu)) + k * mpmath.log(mu / (theta + mu))


class TestNumbers:
    """The page's log-probabilities have a relative error of at most 1e-9, also where θ is large (beside 0, 1e-14)."""

    def close(self, found, wanted):
        assert len(found) > 20
        np.testing.assert_allclose(found, np.array(wanted, dtype=float), rtol=1e-9, atol=1e-14)

    def test_normal(self, open_page):
        cases = [[x, {"mu": m, "sigma": s}] for x in (-3, 0, 0.7) for m in (-2.5, 0, 4) for s in (1e-2, 1, 30)]
        wanted = [stats.norm.logpdf(x, values["mu"], values["sigma"]) for x, values in cases]
        self.close(law(open_page(), "normal", cases), wanted)

    def test_the_bound_its_gap_and_the_posterior(self, open_page):
        cases = [
            ["approximate posterior", {"mu": mu, "sigma_z": width, "noise": noise, "observed": x}]
            for mu, width, noise, x in itertools.product((-2, 0.35), (0.1, 0.8, 2), (0.2, 1, 3), (-1.5, 1))
        ]
        cases += [["posterior", {"noise": noise, "observed": x}] for noise in (0.2, 1, 3) for x in (-1.5, 1)]
        found = open_page().evaluate(
            f"cases => {{ {SCRIPT}; return cases.map(([name, values]) => distributions()[name].facts(values)); }}",
            cases,
        )
        wanted = [FAMILIES[name].law(**values).facts for name, values in cases]
        assert [list(facts) for facts in found] == [list(facts) for facts in wanted]
        self.close(*([value for facts in both for value in facts.values()] for both in (found, wanted)))
        for name, values in cases[::7]:
            density = FAMILIES[name].law(**values).density(0.4)
            assert law(open_page(), name, [[0.4, values]]) == pytest.approx(np.log(density), rel=1e-9)

    def test_poisson(self, open_page):
        cases = [[k, {"mu": mu}] for mu in MEANS for k in around(mu, mu**0.5)]
        self.close(law(open_page(), "Poisson", cases), [stats.poisson.logpmf(k, v["mu"]) for k, v in cases])

    def test_negative_binomial(self, open_page):
        cases = [
            [k, {"mu": mu, "theta": theta}]
            for mu in MEANS
            for theta in DISPERSIONS
            for k in around(mu, (mu + mu**2 / theta) ** 0.5)
        ]
        found = law(open_page(), "negative binomial", cases)
        self.close(found, [exact_nb(k, **values) for k, values in cases])
        mild = [i for i, (_, values) in enumerate(cases) if values["theta"] <= 5]  # beyond, scipy itself loses digits
        theirs = [stats.nbinom.logpmf(k, v["theta"], v["theta"] / (v["theta"] + v["mu"])) for k, v in cases]
        self.close(found[mild], np.array(theirs)[mild])

    def test_zero_inflated(self, open_page):
        cases = [
            [k, {"mu": mu, "theta": theta, "pi": pi}]
            for mu in MEANS
            for theta in DISPERSIONS
            for pi in EXTRA
            for k in around(mu, (mu + mu**2 / theta) ** 0.5)
        ]
        wanted = []
        with mpmath.workdps(50):
            for k, values in cases:
                nb, pi = mpmath.exp(exact_nb(k, values["mu"], values["theta"])), mpmath.mpf(values["pi"])
                wanted.append(mpmath.log((1 - pi) * nb + (pi if k == 0 else 0)))
        self.close(law(open_page(), ZINB, cases), wanted)

    def test_gamma(self, open_page):
        cases = [
            [mu * ratio, {"mu": mu, "theta": theta}]
            for mu in MEANS
            for theta in DISPERSIONS
            for ratio in (1e-9, 0.03, 0.4, 0.6, 0.999, 1.001, 7)
        ]
        wanted = []
        with mpmath.workdps(50):
            for x, values in cases:
                x, mu, theta = map(mpmath.mpf, (x, values["mu"], values["theta"]))
                terms = theta * mpmath.log(theta / mu), (theta - 1) * mpmath.log(x), -theta * x / mu
                wanted.append(sum(terms) - mpmath.loggamma(theta))
        self.close(law(open_page(), "gamma", cases), wanted)


class TestMoving:
    @pytest.mark.parametrize("make", [zinb, gaussian, mixing, poisson, gamma, elbo], ids=lambda make: make.__name__)
    def test_wherever_the_sliders_are_the_page_shows_what_python_draws(self, open_page, tmp_path, make):
        """Letter by letter: paths, ticks, sentences, alternative text."""
        figure = make()
        (tmp_path / "one.html").write_text(PAGE.replace("BODY", figure._repr_html_()), encoding="utf-8")
        page = open_page((tmp_path / "one.html").as_uri())
        name = figure.html_id.removeprefix("explore-")
        sliders = page.get_by_role("slider").all()
        lengths = [len(slider.values) for slider in figure.sliders]
        drawn = set()
        for share in (0, 0.1, 0.35, 0.5, 0.77, 1):
            positions = [round((share + 0.4 * i) % 1.01 * (n - 1)) for i, n in enumerate(lengths)]
            for slider, position in zip(sliders, positions, strict=True):
                slider.fill(str(position))
            values = {s.key: s.values[position] for s, position in zip(figure.sliders, positions, strict=True)}
            found = shown(page, name)
            assert found == expected(make(**values)), values
            drawn.add(json.dumps(found))
        assert len(drawn) >= 5

    def test_by_keyboard(self, open_page):
        page = open_page()
        assert shown(page, "zinb") == expected(zinb()) and shown(page, "gaussian") == expected(gaussian())
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Home")
        assert shown(page, "zinb") == expected(zinb(theta=0.1))
        page.keyboard.press("End")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert shown(page, "zinb") == expected(zinb(theta=100, pi=0.31))
        assert shown(page, "gaussian") == expected(gaussian()), "the other figure stays"

    def test_by_click_and_drag(self, open_page):
        page = open_page()
        mu, _, pi = page.locator("#explore-zinb").get_by_role("slider").all()
        page.mouse.click(*point(pi, 0))
        assert shown(page, "zinb") == expected(zinb(pi=0))
        page.mouse.move(*point(mu, 0.5))
        page.mouse.down()
        page.mouse.move(*point(mu, 1), steps=3)
        page.mouse.up()
        assert shown(page, "zinb") == expected(zinb(mu=100, pi=0))

    def test_by_touch_on_a_phone(self, open_page):
        page = open_page(**PHONE)
        _, sigma = page.locator("#explore-gaussian").get_by_role("slider").all()
        sigma.scroll_into_view_if_needed()
        page.touchscreen.tap(*point(sigma, 1))
        assert shown(page, "gaussian") == expected(gaussian(sigma=5))

    def test_the_words_are_announced_once_after_the_last_move(self, open_page):
        page = open_page()
        told = page.locator("#explore-zinb p")
        told.evaluate("p => { p.log = []; new MutationObserver(() => p.log.push(p.textContent)).observe(p, "
                      "{ childList: true }); }")  # fmt: skip
        for _ in range(3):
            page.get_by_role("slider").nth(2).press("ArrowRight")
        page.wait_for_function("document.querySelector('#explore-zinb p').log.length")
        assert told.evaluate("p => p.log") == [expected(zinb(pi=0.33))["alt"]]
        assert page.locator("#explore-gaussian p").inner_text() == ""


class TestPage:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_axe_finds_nothing(self, open_page, axe, theme):
        page = open_page(color_scheme=theme)
        page.get_by_role("slider").first.press("End")
        page.wait_for_function("document.querySelector('#explore-zinb p').textContent")
        results = axe.run(page)
        assert len(results.response["passes"]) > 10 and results.violations_count == 0, results.generate_report()

    @pytest.mark.parametrize(("theme", "color"), [("light", "rgb(34, 34, 34)"), ("dark", "rgb(221, 221, 221)")])
    def test_text_has_the_page_s_colour(self, open_page, theme, color):
        page = open_page(color_scheme=theme)
        assert page.locator("svg text").first.evaluate("text => getComputedStyle(text).fill") == color

    def test_on_a_phone_nothing_scrolls_sideways_and_sliders_can_be_touched(self, open_page):
        page = open_page(**PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        for slider in page.get_by_role("slider").all():
            assert slider.bounding_box()["height"] >= 44 and slider.bounding_box()["width"] >= 150
        for svg in page.locator("svg").all():
            assert 280 <= svg.bounding_box()["width"] <= 320
            assert svg.locator("text").first.evaluate("t => t.getBoundingClientRect().height") >= 8

    def test_sliders_stay_where_they_are_while_values_of_other_lengths_are_shown(self, open_page):
        page = open_page()
        for slider in page.get_by_role("slider").all():
            boxes = []
            for key in ("Home", "PageUp", "End"):
                slider.press(key)
                boxes.append(slider.bounding_box())
            assert boxes[0] == boxes[1] == boxes[2]

    def test_without_scripts_pictures_stand_there_and_sliders_do_not(self, open_page):
        page = open_page(java_script_enabled=False)
        for name, figure in (("zinb", zinb()), ("gaussian", gaussian())):
            still = page.locator(f"#explore-{name} img")
            assert still.is_visible() and still.bounding_box()["width"] > 300
            assert still.evaluate("image => image.naturalWidth") == 420, "it has loaded"
            assert still.get_attribute("alt") == expected(figure)["alt"]
            assert page.locator(f"#explore-{name} [data-line]").first.is_visible()
            for part in ("input", "label", "output"):
                assert not page.locator(f"#explore-{name} {part}").first.is_visible()

    def test_put_in_later_as_jupyter_does_it_works_the_same_and_twice(self, open_page, html, tmp_path):
        (tmp_path / "empty.html").write_text(PAGE.replace("BODY", ""), encoding="utf-8")
        page = open_page((tmp_path / "empty.html").as_uri())
        before = page.evaluate("Object.keys(window)")
        for _ in range(2):
            page.evaluate(PUT, html)
        sliders = page.get_by_role("slider").all()
        assert len(sliders) == 10
        sliders[7].press("Home")
        assert shown(page, "zinb", 0) == expected(zinb()) and shown(page, "zinb", 1) == expected(zinb(pi=0))
        assert page.evaluate("Object.keys(window)") == before, "no global names"
