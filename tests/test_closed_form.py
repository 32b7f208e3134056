"""Distributions behind sliders: the still picture, its words, the positions of sliders, and what is refused."""

import json
import re
from urllib.parse import unquote

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from scipy import stats
from test_widgets import Balanced

from course_lib import closed_form, density_plot
from course_lib.closed_form import explore
from course_lib.density_plot import digits, step

SENTENCE = (
    "zero-inflated negative binomial with μ = 10.0, θ = 5.00, π = 0.300: "
    "mean 7.00, variance 42.0, most probable 0, P(0) = 0.303."
)


def nb(mu=(1, 100, 10), theta=(0.1, 100, 5), x=(0, 40), **rest):
    return explore("negative binomial", mu=mu, theta=theta, x=x, **rest)


def zinb(pi=(0, 0.95, 0.3), x=(0, 40), **rest):
    return explore("zero-inflated negative binomial", mu=(1, 100, 10), theta=(0.1, 100, 5), pi=pi, x=x, **rest)


def bound(mu=(-2, 3, -0.5), sigma_z=(0.1, 2, 0.4), noise=(0.2, 3, 1), **rest):
    values = {"mu": mu, "sigma_z": sigma_z, "noise": noise, "observed": 1}
    return explore("approximate posterior", **values, compare="posterior", x=(-3, 4), y=1, xlabel="z", **rest)


def soup(figure) -> BeautifulSoup:
    return BeautifulSoup(figure._repr_html_(), "html.parser")


def picture(figure) -> BeautifulSoup:
    """The still picture, as whoever cannot run scripts sees it."""
    return BeautifulSoup(unquote(soup(figure).img["src"].split(",", 1)[1]), "html.parser").svg


def spec(figure) -> dict:
    return json.loads(re.search(r'^closedForm\("[\w-]+", (.*)\);$', soup(figure).script.string, flags=re.M)[1])


def bars(figure) -> dict[int, float]:
    """Heights of bars by count, read back from the picture with its own axes."""
    page = picture(figure)
    low, high = figure.low, figure.high
    top = float(page.select_one('[data-share="1"]').text)
    found = {}
    for start, base, y, end in re.findall(r"M([\d.]+),([\d.]+)V([\d.]+)H([\d.]+)V", page.select("[data-law]")[0]["d"]):
        middle = (float(start) + float(end)) / 2
        k = low + (middle - density_plot.LEFT) / (density_plot.RIGHT - density_plot.LEFT) * (high - low)
        found[round(k)] = (float(base) - float(y)) / (density_plot.BOTTOM - density_plot.TOP) * top
    return found


class TestStillPicture:
    def test_bars_are_as_high_as_the_probabilities(self):
        expected = 0.7 * stats.nbinom(5, 1 / 3).pmf(np.arange(41)) + 0.3 * (np.arange(41) == 0)
        drawn = bars(zinb())
        assert max(drawn) >= 25 and drawn == pytest.approx({k: expected[k] for k in drawn}, abs=0.0005)
        assert all(expected[k] < 0.0005 for k in set(range(41)) - set(drawn))

    def test_a_curve_goes_through_the_density(self):
        figure = explore("normal", mu=(-3, 3, 0.5), sigma=2, x=(-4, 6))
        points = np.array(re.findall(r"[ML]([\d.]+),([\d.]+)", picture(figure).select("[data-law]")[0]["d"]), float)
        x = -4 + (points[:, 0] - density_plot.LEFT) / (density_plot.RIGHT - density_plot.LEFT) * 10
        y = (density_plot.BOTTOM - points[:, 1]) / (density_plot.BOTTOM - density_plot.TOP) * 0.2
        assert len(points) == density_plot.POINTS
        assert y == pytest.approx(stats.norm(0.5, 2).pdf(x), abs=0.0005)

    def test_the_second_distribution_shares_parameters_by_name(self):
        shapes = picture(zinb(compare="negative binomial")).select("[data-law]")
        dots = np.array(re.findall(r"M([\d.]+),([\d.]+)h0", shapes[1]["d"]), float)
        heights = (density_plot.BOTTOM - dots[:, 1]) / (density_plot.BOTTOM - density_plot.TOP) * 0.5
        assert len(shapes) == 2 and heights == pytest.approx(stats.nbinom(5, 1 / 3).pmf(np.arange(41)), abs=0.002)

    def test_a_curve_over_bars_is_on_the_same_scale(self):
        figure = nb(compare="gamma")
        assert [one.shape for one in figure.drawn] == ["bars", "dashed curve"]
        assert figure.least == 0.1 == step(stats.gamma(5, scale=2).pdf(8))

    def test_ticks_name_their_places(self):
        ticks = [text.text for text in picture(zinb()).select("text")]
        assert ticks == ["0", "0.25", "0.5", "0", "10", "20", "30", "40", "count", "probability"]
        ticks = [text.text for text in picture(explore("normal", mu=0, sigma=(1, 2, 1), xlabel="x − x̂")).select("text")]
        assert ticks == ["0", "0.25", "0.5", "−4", "−2", "0", "2", "4", "x − x̂", "density"]

    def test_the_height_is_what_the_caller_says_or_more(self):
        assert picture(zinb(y=1)).select_one('[data-share="1"]').text == "1"
        assert picture(zinb(y=0.4)).select_one('[data-share="1"]').text == "0.4"
        assert picture(zinb(y=0.2)).select_one('[data-share="1"]').text == "0.5"

    @pytest.mark.parametrize(
        ("make", "x"),
        [
            (lambda: nb(x=None), (-0.5, 35.5)),
            (lambda: nb(mu=(1, 1000, 500), theta=1e4, x=None), (399.5, 600.5)),
            (lambda: explore("normal", mu=(-1, 1, 0.3), sigma=0.01), (0.26, 0.34)),
            (lambda: explore("normal", mu=(0, 9, 3), sigma=1, compare=("normal", {"mu": 0, "sigma": 1})), (-4, 7)),
        ],
    )
    def test_without_a_range_four_standard_deviations_are_shown(self, make, x):
        figure = make()
        assert (figure.low, figure.high) == pytest.approx(x)

    def test_bars_at_the_ends_stay_within_the_plot(self):
        edges = [float(x) for x in re.findall(r"[MH]([\d.]+)", picture(nb(x=(0, 3))).select("[data-law]")[0]["d"])]
        assert density_plot.LEFT < min(edges) < max(edges) < density_plot.RIGHT and len(edges) == 8

    def test_it_is_an_image_by_address_since_sanitizers_drop_svg_elements(self):
        page = soup(zinb())
        assert not page.select("svg, path") and page.img["src"].startswith("data:image/svg+xml,%3Csvg%20xmlns=")
        assert page.img.find_parent(hidden=True) is None and page.find("input").find_parent(hidden=True)


class TestWords:
    def test_the_alternative_text_says_what_is_seen(self):
        page = soup(zinb(compare="negative binomial"))
        second = (
            "negative binomial with the same μ and θ: mean 10.0, variance 30.0, most probable 7 and 8, P(0) = 0.00412."
        )
        assert page.img["alt"] == f"Bars: {SENTENCE} Dots: {second}"
        assert [line.text for line in page.select("[data-line]")] == [SENTENCE, second]
        assert repr(zinb()) == SENTENCE

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: nb(theta=0.1), "P(0) = 0.630. 7.19 % lie beyond the picture."),
            (lambda: explore("Poisson", mu=(1, 20, 12)), "most probable 11 and 12, P(0) below 0.0001."),
            (lambda: explore("gamma", mu=(1, 20, 10), theta=5), "mean 10.0, variance 20.0, highest at 8.00."),
            (lambda: explore("normal", mu=(-5, 5, -2), sigma=1), "normal with μ = −2.00, σ = 1.00: mean −2.00,"),
            (
                lambda: explore("normal", mu=(-5, 5, -2), sigma=1, compare=("normal", {"mu": 0})),
                "normal with μ = 0.00 and the same σ: mean 0.00,",
            ),
        ],
    )
    def test_sentences(self, make, said):
        assert said in repr(make())

    def test_of_an_approximate_posterior_the_bound_is_told_and_beside_it_what_it_bounds(self):
        q, posterior = repr(bound()).splitlines()
        facts = "reconstruction −2.12, KL 0.621, ELBO −2.75, gap 1.23."
        assert q == f"approximate posterior with μ = −0.500, σ_z = 0.400, σ = 1.00, x = 1.00: {facts}"
        assert posterior == "posterior with the same σ and x: mean 0.500, variance 0.500, log P(x) −1.52."
        assert "gap 0.00." in repr(bound(mu=0.5, sigma_z=0.5**0.5)), "it touches"

    def test_the_share_beyond_the_picture_is_that_of_scipy(self):
        assert 100 * stats.nbinom(0.1, 0.1 / 10.1).sf(40) == pytest.approx(7.19, abs=0.005)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0, "0.00"), (10, "10.0"), (0.30299, "0.303"), (-1.5, "−1.50"), (99.96, "100"), (123456, "123000"),
            (1.125, "1.13"), (1.1249999999999998, "1.13"), (4.12e-4, "0.000412"), (1.5e-7, "1.50 × 10⁻⁷"),
            (2e10, "2.00 × 10¹⁰"),
        ],
    )  # fmt: skip
    def test_numbers_have_three_digits_and_ties_go_up(self, value, text):
        assert digits(value) == text

    @pytest.mark.parametrize(("value", "found"), [(0.3, 0.5), (0.5, 0.5), (0.1 + 0.2, 0.5), (51, 100), (1e-3, 1e-3)])
    def test_steps_are_1_2_5(self, value, found):
        assert step(value) == found


class TestSliders:
    def test_each_parameter_has_a_labelled_slider_with_its_value_in_words(self):
        page = soup(zinb())
        labels = [label.get_text(strip=True) for label in page.select("label")]
        assert labels == ["mean before extra zeros μ", "inverse dispersion θ", "probability of an extra zero π"]
        assert [tag["aria-valuetext"] for tag in page.select("input")] == ["10.0", "5.00", "0.300"]
        assert [tag.text for tag in page.select("output")] == ["10.0", "5.00", "0.300"]
        assert all(tag.find_parent("label") and "height:44px" in tag["style"] for tag in page.select("input"))

    @pytest.mark.parametrize(
        ("given", "near"),
        [((1, 100, 10), 80), ((0.1, 1e4, 7.77), 200), ((1, 20, 3), 96), ((2, 3, 2), 101), ((2, 3, 3), 101)],
    )
    def test_positions_rise_from_end_to_end_through_the_start(self, given, near):
        slider = nb(mu=given, theta=5).sliders[0]
        assert (slider.values[0], slider.values[-1], slider.values[slider.start]) == given
        assert np.all(np.diff(slider.values) > 0) and len(slider.values) == pytest.approx(near, rel=0.03)
        assert len({digits(value) for value in slider.values}) == len(slider.values)

    def test_steps_are_equal_ratios_over_a_wide_range_and_equal_differences_else(self):
        wide, narrow = np.array(zinb().sliders[0].values), np.array(zinb().sliders[2].values)
        assert np.ptp(wide[1:] / wide[:-1]) < 0.02
        assert np.diff(narrow) == pytest.approx(0.01) and 0 in np.array(
            explore("normal", mu=(-3, 3, 1), sigma=1).sliders[0].values
        )

    def test_a_number_stays_fixed_and_has_no_slider(self):
        figure = nb(theta=5, compare="Poisson")
        assert len(soup(figure).select("input")) == 1
        assert [law["moved"] for law in spec(figure)["drawn"]] == [["mu"], ["mu"]]

    def test_what_the_second_distribution_has_of_its_own_does_not_move(self):
        figure = explore("normal", mu=(-3, 3, 1), sigma=(0.1, 2, 1), compare=("normal", {"mu": 0}))
        assert [law["moved"] for law in spec(figure)["drawn"]] == [["mu", "sigma"], ["sigma"]]


class TestHtml:
    def test_tags_are_balanced_and_nothing_is_fetched_or_global(self):
        parser = Balanced()
        text = zinb(compare="Poisson", xlabel="</text><b>")._repr_html_()
        parser.feed(text)
        parser.close()
        assert parser.open == [] and parser.ids == ["explore-zero-inflated-negative-binomial"]
        assert not re.search(r"(?<!www.w3.org/2000)https?:(?!//www.w3.org/2000/svg)|url\(|@import|<link|\bon\w+=", text)
        assert soup(zinb()).script.string.startswith("(() => {\n")

    def test_the_same_call_gives_the_same_text(self):
        assert zinb()._repr_html_() == zinb()._repr_html_()

    def test_the_id_comes_from_the_name(self):
        assert soup(zinb(name='Two "b"')).figure["id"] == "explore-two-b"

    def test_a_figure_takes_at_most_18_kb(self):
        prior = ("normal", {"mu": 0, "sigma": 1})
        figures = zinb(compare="negative binomial"), explore("normal", mu=(-3, 3, 1), sigma=(0.1, 2, 1), compare=prior)
        assert max(len(figure._repr_html_().encode()) for figure in (*figures, bound())) < 18_500

    def test_words_from_the_caller_are_escaped(self):
        label = "</text><script>'&amp;"
        page = picture(zinb(xlabel=label))
        assert label in [text.text for text in page.select("text")] and not page.script

    def test_a_kernel_shows_it_as_text_and_html_whatever_the_variable_says(self):
        make = "from course_lib import closed_form\nclosed_form.explore('Poisson', mu=(1, 20, 10))"
        off = "import os\nos.environ['COURSE_LIB_STATIC'] = '0'\n" + make
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (make, off)])
        NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
        first, second = (cell.outputs for cell in notebook.cells)
        assert len(first) == 1 and first[0].data == second[0].data
        assert first[0].data == {
            "text/html": explore("Poisson", mu=(1, 20, 10))._repr_html_(),
            "text/plain": "Poisson with μ = 10.0: mean 10.0, variance 10.0, most probable 9 and 10, P(0) below 0.0001.",
        }

    def test_the_script_keeps_its_code_and_loses_its_comments(self):
        assert "//" not in closed_form.SCRIPT and "function closedForm(id," in closed_form.SCRIPT


class TestErrors:
    @pytest.mark.parametrize(
        ("call", "said"),
        [
            (lambda: explore("nb", mu=1), r"distribution is 'nb'; the known distributions are normal, gamma, Poisson"),
            (lambda: explore(None, mu=1), "distribution is None; the known"),
            (lambda: explore("Poisson"), "The Poisson distribution needs mu; its parameters are mu"),
            (lambda: explore("Poisson", mu=(1, 2, 1), theta=1), "The Poisson distribution does not have theta"),
            (
                lambda: explore("normal", mu=0, sigma=(1, 2, 1), theta=1, pi=0.1),
                "does not have pi, theta; its parameters are mu, sigma",
            ),
            (lambda: nb(mu=(1, 100)), r"mu is \(1, 100\); give \(least, greatest, start\), or one number"),
            (lambda: nb(mu="10"), "mu is '10'; give"),
            (lambda: nb(mu=(1, 100, 200)), r"mu is \(1, 100, 200\); in \(least, greatest, start\), start lies between"),
            (lambda: nb(mu=(5, 5, 5)), "start lies between least < greatest"),
            (lambda: nb(mu=(0, 100, 10)), r"mu \(mean μ\) is 0; it is a number above 0"),
            (lambda: nb(theta=(1, float("inf"), 10)), r"theta \(inverse dispersion θ\) is inf; it is a number above 0"),
            (lambda: nb(theta=float("nan")), "theta .* is nan"),
            (lambda: nb(theta=(1, None, 10)), "theta .* is None; it is a number"),
            (
                lambda: zinb(pi=(0, 1, 0.3)),
                r"pi \(probability of an extra zero π\) is 1; it is a number from 0 to below",
            ),
            (lambda: zinb(pi=(-0.1, 0.5, 0.3)), "pi .* is -0.1"),
            (lambda: explore("normal", mu=(0, 1, 0.5), sigma=-1), r"sigma \(standard deviation σ\) is -1"),
            (
                lambda: explore("normal", mu=float("inf"), sigma=(1, 2, 1)),
                "mu .* is inf; it is a number that is finite",
            ),
            (lambda: nb(10, 5), r"{'mu': 10, 'theta': 5} leaves nothing to move"),
            (lambda: nb(compare="poisson"), "compare is 'poisson'; the known"),
            (
                lambda: nb(compare="normal"),
                "The normal distribution, in compare, needs sigma; its parameters are mu, s",
            ),
            (lambda: nb(compare=("Poisson", {"pi": 0.3})), "The Poisson distribution, in compare, does not have pi"),
            (lambda: nb(compare=("Poisson", {"mu": -1})), "mu .* is -1"),
            (lambda: nb(x=(0, 501)), r"x is \(0, 501\); give \(low, high\) with low < high, and at most 500 counts"),
            (lambda: nb(x=(40, 0)), r"x is \(40, 0\)"),
            (lambda: nb(x=(-5, 0.5)), r"x is \(-5, 0.5\)"),
            (lambda: nb(x=40), "x is 40; give two finite numbers"),
            (lambda: nb(mu=(1, 1e4, 1e4), x=None), r"x is \(0.0, .*at most 500 counts"),
            (lambda: nb(y=0), "y is 0; it must be a finite number above 0"),
        ],
    )
    def test_bad_input_is_named(self, call, said):
        with pytest.raises(ValueError, match=said):
            call()
