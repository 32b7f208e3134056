"""Sliders: frames stay small and true, the flipbook is whole and safe HTML, the live view shows the same frames."""

import io
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import ipywidgets
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import seaborn as sns
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

from course_lib import plotting, widgets

VIEW = "application/vnd.jupyter.widget-view+json"
DIMENSIONS = [1, 2, 4, 8]
NASTY = """</script><!--<b onclick="x">'&amp;"""


@pytest.fixture(autouse=True)
def clean_figures():
    plt.close("all")
    with plt.rc_context({"figure.figsize": (3, 2)}):
        yield
    plt.close("all")


def line(slope):
    plt.plot([0, 1], [0, float(slope)])


def alt(value):
    return f"With {value} dimensions the line ends at {value}."


def explore(draw=line, values=DIMENSIONS, label="latent dimensions d", alt=alt, **rest):
    return widgets.explore(draw, values, label=label, alt=alt, **rest)


def picture(frame: bytes) -> Image.Image:
    return Image.open(io.BytesIO(frame))


def html(flipbook) -> str:
    return flipbook._repr_mimebundle_()["text/html"]


def soup(flipbook) -> BeautifulSoup:
    return BeautifulSoup(html(flipbook), "html.parser")


def rows(flipbook) -> list:
    """What the script is given: [picture, value, alternative text] per position."""
    return json.loads(re.search(r"^}\)\(\"[\w-]+\", (\[.*\])\);$", soup(flipbook).script.string, flags=re.S | re.M)[1])


@pytest.fixture(scope="module")
def realistic():
    """Two panels: 600 cells in six groups, and two curves with a moving mark."""
    rng = np.random.default_rng(0)
    group, noise, centres = rng.integers(0, 6, 600), rng.normal(size=(600, 2)), rng.normal(size=(6, 2)) * 3
    error = {"autoencoder": 1 / np.sqrt([[d, d + 0.3] for d in DIMENSIONS]), "PCA": [1.3, 1.0, 0.8, 0.6]}

    def draw(d):
        figure, (left, right) = plotting.pair()
        codes = noise + centres[group] * np.log2(2 * d)
        plotting.embedding(codes, [f"type {g}" for g in group], ax=left, title=f"codes of held-out cells, d = {d}")
        plotting.curve(DIMENSIONS, error, ax=right, xlabel="d", ylabel="squared error per cell", log_x=True)
        right.plot([d], [error["PCA"][DIMENSIONS.index(d)]], "ko", markersize=14, fillstyle="none")
        return figure

    with plt.rc_context():
        plotting.set_style()
        return explore(draw, start=4)


class TestFrames:
    def test_a_figure_of_two_panels_takes_at_most_12_kb_a_frame_and_can_still_be_read(self, realistic):
        sizes = {picture(frame).size for frame in realistic.frames}
        assert max(map(len, realistic.frames)) <= 12_000
        assert len(sizes) == 1 and sizes.pop()[0] >= 600 and realistic.size == (1000, 370)
        assert all(picture(frame).format == "WEBP" for frame in realistic.frames)
        assert len(html(realistic)) < 4 * 16_100 + 4_000

    def test_a_simple_figure_keeps_100_dots_per_inch(self):
        plt.rcParams["figure.figsize"] = plotting.SINGLE
        flipbook = explore()
        assert flipbook.size == picture(flipbook.frames[0]).size == (600, 370)

    def test_there_is_one_frame_per_value_in_order(self):
        flipbook = explore(lambda d: plt.text(0.5, 0.5, d, size=9 * d))
        ink = [np.mean(np.asarray(picture(frame)) < 128) for frame in flipbook.frames]
        assert flipbook.values == DIMENSIONS and len(flipbook.frames) == 4 and ink == sorted(ink)

    def test_the_same_pictures_give_the_same_bytes(self):
        first, second = explore(), explore()
        assert first.frames == second.frames and html(first) == html(second) == html(first)
        assert not re.search(rb"EXIF|XMP |matplotlib", b"".join(first.frames))

    def test_flat_areas_keep_their_colour_exactly_also_half_transparent_on_white(self):
        colors = np.array(sns.color_palette("colorblind", 10))

        def draw(alpha):
            plt.bar(range(10), 1, color=colors, alpha=alpha)

        for frame, alpha in zip(explore(draw, [0.6, 1.0]).frames, (0.6, 1.0), strict=True):
            found = {tuple(pixel) for pixel in np.asarray(picture(frame).convert("RGB")).reshape(-1, 3).tolist()}
            for color in 255 * (1 - alpha * (1 - colors)):
                assert min(np.abs(np.subtract(pixel, color)).max() for pixel in found) <= 1
            assert len(found) <= widgets.COLORS

    def test_one_full_frame_lowers_the_resolution_of_all(self):
        def draw(n):
            plt.figure(figsize=(10, 3.7))
            plt.scatter(*np.random.default_rng(0).random((2, n)), s=20, c=np.arange(n) % 10, cmap="tab10", alpha=0.6)

        assert picture(explore(draw, [5, 6]).frames[0]).size == (1000, 370)
        lowered = explore(draw, [5, 700])
        sizes = {picture(frame).size for frame in lowered.frames}
        assert len(sizes) == 1 and 600 <= sizes.pop()[0] < 1000
        assert lowered.size == (1000, 370) and max(map(len, lowered.frames)) <= 12_000

    def test_a_frame_that_stays_too_large_is_an_error_that_names_it(self):
        def draw(n):
            plt.figure(figsize=plotting.PAIR)
            plt.imshow(np.random.default_rng(0).random((n, n)), aspect="auto")

        with pytest.raises(
            ValueError, match=r"draw\(300\) takes [\d,]+ bytes at 60 dpi and may take 12,000; draw fewer"
        ):
            explore(draw, [2, 300])

    @pytest.mark.parametrize("way", ["current", "own", "own unreturned", "axes", "outside pyplot", "one for all"])
    def test_every_way_of_drawing_a_picture_works(self, way):
        own = plt.figure()

        def draw(slope):
            if way == "current":
                return line(slope)
            if way == "axes":
                return plotting.curve([0, 1], {"a": [0, slope]})
            if way == "outside pyplot":
                figure = Figure()
                figure.add_subplot().plot([0, slope])
                return figure
            if way == "one for all":
                own.clear()
                own.add_subplot().set(ylim=(0, 9), xlim=(0, 1))
                own.axes[0].plot([0, 1], [0, slope])
                return own
            figure, axes = plt.subplots()
            axes.set(ylim=(0, 9))
            axes.plot([0, slope])
            return figure if way == "own" else None

        assert len(set(explore(draw).frames)) == 4

    def test_settings_for_saved_figures_do_not_change_the_size(self):
        plt.rcParams.update({"savefig.bbox": "tight", "savefig.dpi": 300, "savefig.facecolor": "black"})
        frame = picture(explore().frames[0])
        assert frame.size == tuple(round(100 * inches) for inches in plt.rcParams["figure.figsize"])
        assert frame.getpixel((1, 1)) == (255, 255, 255)

    def test_axis_labels_on_the_current_figure_are_not_cut_off(self):
        def draw(value):
            plt.plot([0, 1e-9])
            plt.ylabel("a\nlabel\nof\nmany\nlines", size=9)

        edge = np.asarray(picture(explore(draw, [1, 2]).frames[0]).convert("L"))[:, 0]
        assert (edge == 255).all()


class TestPyplot:
    """Drawing frames leaves no trace."""

    @pytest.fixture(autouse=True)
    def unchanged(self):
        figures = [plt.figure(), plt.figure()]
        plt.figure(figures[0].number)
        figures[0].add_subplot()
        rc, state = dict(plt.rcParams), np.random.get_state()[1].tolist()  # noqa: NPY002
        yield
        assert plt.get_fignums() == [figure.number for figure in figures] and plt.gcf() is figures[0]
        assert not figures[0].axes[0].has_data() and not figures[1].axes
        assert dict(plt.rcParams) == rc and np.random.get_state()[1].tolist() == state  # noqa: NPY002

    def test_figures_that_were_open_stay_open_and_untouched(self):
        explore()

    def test_figures_and_settings_of_draw_are_taken_back(self):
        def draw(slope):
            sns.set_theme(style="dark")
            plt.figure(plt.get_fignums()[1])  # looks at the other open figure
            plt.figure()
            plotting.pair()
            line(slope)

        explore(draw)

    def test_also_after_an_error(self):
        def draw(slope):
            plt.rcParams["lines.linewidth"] = 9
            plt.figure()
            line(1 / (slope - 2))

        with pytest.raises(ZeroDivisionError):
            explore(draw)


def test_without_open_figures_none_is_left():
    explore()
    assert plt.get_fignums() == []


class Balanced(HTMLParser):
    """Fails for a tag that is not closed, or closed out of turn."""

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice: {names}"
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestHtml:
    @pytest.mark.parametrize("label", ["latent dimensions d", NASTY], ids=["plain", "nasty"])
    def test_tags_are_balanced(self, label):
        parser = Balanced()
        parser.feed(html(explore(label=label, alt=lambda d: f"{NASTY} {d}")))
        parser.close()
        assert parser.open == [] and len(parser.ids) == 1

    def test_the_slider_has_a_label_a_range_and_a_value_in_words(self, realistic):
        page = soup(realistic)
        assert [tag.name for tag in page.find_all(True, recursive=False)] == ["figure"]
        slider, label, output = page.find("input"), page.label, page.output
        assert slider["type"] == "range" and slider.find_parent("label") is label
        assert (slider["min"], slider["max"], slider["value"]) == ("0", "3", "2")
        assert slider["aria-valuetext"] == "4 (3 of 4)" and "height:44px" in slider["style"]
        assert label.get_text(strip=True) == "latent dimensions d" and output.get_text() == "4"

    def test_without_scripts_the_start_frame_is_a_picture_and_the_slider_is_hidden(self, realistic):
        page = soup(realistic)
        assert page.img["src"] == widgets._uri(realistic.frames[2]) and page.img["alt"] == alt(4)
        assert (page.img["width"], page.img["height"]) == ("1000", "370")
        assert page.img.find_parent(hidden=True) is None and page.find("input").find_parent(hidden=True)

    def test_one_polite_region_speaks_and_the_visible_value_does_not(self, realistic):
        page = soup(realistic)
        assert page.p["aria-live"] == "polite" and page.p.get_text() == "" and page.output["aria-live"] == "off"

    def test_each_frame_comes_with_its_value_and_alternative_text_and_none_twice(self, realistic):
        given = rows(realistic)
        assert [row[1:] for row in given] == [[str(d), alt(d)] for d in DIMENSIONS]
        sources = [row[0] or soup(realistic).img["src"] for row in given]
        assert sources == [widgets._uri(frame) for frame in realistic.frames]
        assert html(realistic).count("data:image/webp;base64,") == 4

    def test_nothing_is_fetched_and_nothing_is_global(self, realistic):
        text = re.sub(r"data:image/webp;base64,[\w+/=]+", "", html(realistic))
        assert not re.search(r"https?:|//|url\(|@import|<link|<style|\bon\w+=|window|var ", text)
        assert soup(realistic).script.string.startswith("((id, frames) => {")

    def test_ids_come_from_the_label_or_the_name(self):
        assert soup(explore()).figure["id"] == "explore-latent-dimensions-d"
        assert soup(explore(label="β (weight of the KL)")).figure["id"] == "explore-β-weight-of-the-kl"
        assert soup(explore(name='Two "b"')).figure["id"] == "explore-two-b"

    def test_two_names_give_two_ids_and_no_other_id_is_there(self):
        page = BeautifulSoup(html(explore(name="one")) + html(explore(name="two")), "html.parser")
        assert [tag["id"] for tag in page.select("[id]")] == ["explore-one", "explore-two"]

    def test_the_same_name_twice_is_no_error(self):
        assert html(explore(name="one")) == html(explore(name="one"))

    def test_label_values_and_alternative_text_are_escaped(self):
        flipbook = explore(
            values=["0", NASTY], draw=lambda v: line(1), label=NASTY, alt=lambda v: NASTY + v, start=NASTY
        )
        page = soup(flipbook)
        assert page.label.get_text(strip=True) == NASTY and page.output.get_text() == NASTY
        assert page.img["alt"] == NASTY * 2 and page.find("input")["aria-valuetext"] == f"{NASTY} (2 of 2)"
        assert [row[1:] for row in rows(flipbook)] == [["0", NASTY + "0"], [NASTY, NASTY * 2]]
        assert len(page.find_all("script")) == 1 and not page.find("b") and "<!--" not in html(flipbook)

    @pytest.mark.parametrize(
        ("values", "start", "shown", "first"),
        [
            ((1, 2, 128), 128, ["1", "2", "128"], 2),
            (range(2, 5), None, ["2", "3", "4"], 0),
            (np.linspace(0, 0.3, 4), 0.3, ["0", "0.1", "0.2", "0.3"], 3),
            (np.array([1, 2]), 2.0, ["1", "2"], 1),
            (np.array([0.5, 1], dtype=np.float32), 1, ["0.5", "1"], 1),
            (["PCA", "autoencoder"], "autoencoder", ["PCA", "autoencoder"], 1),
            ((word for word in "ab"), None, ["a", "b"], 0),
        ],
        ids=["tuple", "range", "floats", "array", "float32", "strings", "generator"],
    )
    def test_values_are_numbers_or_strings_of_any_kind(self, values, start, shown, first):
        flipbook = explore(lambda value: line(1), values, start=start)
        assert [row[1] for row in rows(flipbook)] == shown and flipbook.start == first


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"values": []}, r"values holds 0 value\(s\): \[\]; a slider needs at least two"),
            ({"values": [8]}, r"values holds 1 value\(s\): \[8\]"),
            ({"values": 8}, r"values holds 1 value\(s\): \[8\]"),
            ({"values": "abc"}, r"values holds 1 value\(s\): \['abc'\]"),
            ({"values": [1, 2, 1]}, "values holds 1 more than once"),
            ({"values": [1, "1"]}, "values holds 1 more than once"),
            ({"values": [0.1, 0.1 + 1e-12]}, "values holds 0.1 more than once"),
            ({"values": [1, None]}, "values holds None; give numbers"),
            ({"values": [1, (2, 3)]}, r"values holds \(2, 3\); give numbers"),
            ({"values": ["a", " "]}, "values holds ' '; give numbers, or strings that are not empty"),
            ({"start": 3}, "start is 3, which is not among the values 1, 2, 4, 8; choose one"),
            ({"start": "two"}, "start is 'two', which is not among"),
            ({"label": ""}, "label is ''; say in words"),
            ({"label": " ", "name": "one"}, "label is ' '; say in words"),
            ({"label": None}, "label is None; say in words"),
            ({"alt": lambda d: "" if d == 4 else "fine"}, r"alt\(4\) is ''; say in words"),
            ({"alt": lambda d: "  "}, r"alt\(1\) is '  '"),
            ({"alt": lambda d: d}, r"alt\(1\) is 1; say in words"),
            ({"draw": lambda d: None}, r"draw\(1\) draws nothing; return a figure, or draw on plt.gca\(\)"),
            ({"draw": lambda d: plt.gca()}, r"draw\(1\) draws nothing"),
            ({"draw": lambda d: Figure()}, r"draw\(1\) draws nothing"),
            ({"draw": lambda d: (line(d), plt.close())}, r"draw\(1\) draws nothing"),
            ({"draw": lambda d: line(1) if d < 4 else None}, r"draw\(4\) draws nothing"),
            (
                {"draw": lambda d: (plt.figure(figsize=(d, 3)), line(1))},
                r"draw\(2\) has size \(200, 300\), the first \(100, 300\); use one size",
            ),
        ],
    )
    def test_bad_input_is_named(self, change, said):
        with pytest.raises(ValueError, match=said):
            explore(**change)
        assert plt.get_fignums() == []

    def test_nothing_is_drawn_before_the_input_is_checked(self):
        with pytest.raises(ValueError, match="start is"):
            explore(lambda d: pytest.fail("drawn"), start=3)


@pytest.fixture
def kernel(monkeypatch):
    """A running kernel, as far as the library looks."""
    monkeypatch.delenv("COURSE_LIB_STATIC", raising=False)
    monkeypatch.setattr(widgets, "get_ipython", lambda: SimpleNamespace(kernel=object()))


class TestBundle:
    def test_without_a_kernel_it_is_the_flipbook_alone(self, monkeypatch):
        for shell in (None, SimpleNamespace()):
            monkeypatch.setattr(widgets, "get_ipython", lambda shell=shell: shell)
            assert set(explore()._repr_mimebundle_()) == {"text/plain", "text/html"}

    def test_with_a_kernel_a_live_view_comes_beside_it(self, kernel):
        flipbook = explore()
        bundle = flipbook._repr_mimebundle_(include=None, exclude=None)
        assert set(bundle) == {"text/plain", "text/html", VIEW}
        assert bundle[VIEW] == {"version_major": 2, "version_minor": 0, "model_id": flipbook._widget().model_id}
        assert flipbook._repr_mimebundle_() == bundle, "shown twice, it is one widget"
        json.dumps(bundle)

    @pytest.mark.parametrize("static", ["1", "true"])
    def test_for_the_record_no_widget_is_made(self, kernel, monkeypatch, static):
        live = html(explore())
        monkeypatch.setenv("COURSE_LIB_STATIC", static)
        monkeypatch.setattr(ipywidgets, "VBox", lambda *a, **k: pytest.fail("a widget was made"))
        bundle = explore()._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html"} and bundle["text/html"] == live

    @pytest.mark.parametrize("static", ["", "0"])
    def test_an_empty_variable_or_0_is_not_for_the_record(self, kernel, monkeypatch, static):
        monkeypatch.setenv("COURSE_LIB_STATIC", static)
        assert VIEW in explore()._repr_mimebundle_()

    def test_the_live_slider_moves_picture_and_alternative_text(self, kernel):
        flipbook = explore(start=2)
        slider, shown = flipbook._widget().children
        assert isinstance(slider, ipywidgets.SelectionSlider) and slider.description == "latent dimensions d"
        assert [text for text, _ in slider.options] == ["1", "2", "4", "8"] and slider.label == "2"
        for i in (1, 3, 0, 2):
            slider.value = i
            image = BeautifulSoup(shown.value, "html.parser").img
            assert image["src"] == widgets._uri(flipbook.frames[i]) and image["alt"] == alt(DIMENSIONS[i])

    def test_text_is_short(self):
        assert explore()._repr_mimebundle_()["text/plain"] == "explore(latent dimensions d: 1, 2, …, 8)"
        assert repr(explore(values=["a", "b", "c"], draw=lambda v: line(1))) == "explore(latent dimensions d: a, b, c)"

    def test_there_is_no_second_way_to_show_html(self):
        assert not [
            name for name in dir(widgets.Flipbook) if re.match(r"_repr_(?!mimebundle_)|_ipython_display_", name)
        ]

    def test_in_a_real_kernel(self, monkeypatch):
        monkeypatch.delenv("COURSE_LIB_STATIC", raising=False)
        make = (
            "import matplotlib.pyplot as plt\nfrom course_lib import widgets\n"
            "flipbook = widgets.explore(lambda v: plt.plot([0, v]), [1, 2], label='v', alt=lambda v: f'up to {v}')\n"
        )
        static = "import os\nos.environ['COURSE_LIB_STATIC'] = '1'\nflipbook"
        cells = [make + "flipbook", static]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
        live, recorded = (cell.outputs for cell in notebook.cells)
        assert len(live) == len(recorded) == 1, "a picture or a widget is shown beside it"
        assert set(live[0].data) == {"text/plain", "text/html", VIEW}
        assert set(recorded[0].data) == {"text/plain", "text/html"}
        assert live[0].data["text/html"] == recorded[0].data["text/html"]
