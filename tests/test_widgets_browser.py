"""Flipbooks in a browser, with the network cut: by keyboard, pointer and touch, without scripts, in both themes."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
from pages import PAGE, PHONE, PUT, point

from course_lib import widgets


def flipbook(name: str, label: str, values: list) -> widgets.Flipbook:
    def draw(value):
        _, axes = plt.subplots(1, 2, figsize=(10, 3.7), layout="constrained")
        axes[0].plot([0, len(str(value)) + values.index(value)])
        axes[1].scatter(range(9), [values.index(value)] * 9)

    alt = f"{label}: the line of “{{}}” is the steepest.".format
    return widgets.explore(draw, values, label=label, alt=alt, start=values[1], name=name)


@pytest.fixture(scope="module")
def books() -> dict:
    words = ["principal components", "autoencoder", "variational autoencoder with annealed KL"]
    return {"one": flipbook("one", "latent dimensions d", [1, 2, 4, 8, 16]), "two": flipbook("two", "model", words)}


@pytest.fixture(scope="module")
def html(books) -> str:
    return "\n".join(book._repr_mimebundle_()["text/html"] for book in books.values())


@pytest.fixture
def open_page(open_page, url):
    """The page of this file, opened with given settings."""
    return lambda url=url, **settings: open_page(url, **settings)


def state(page, name: str) -> dict:
    """What a reader of one flipbook has before them; the picture must have loaded."""
    figure = page.locator(f"#explore-{name}")
    picture, slider = figure.locator("img"), figure.get_by_role("slider")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    return {
        "picture": picture.get_attribute("src"),
        "alt": picture.get_attribute("alt"),
        "value": figure.locator("output").inner_text(),
        "words": slider.get_attribute("aria-valuetext"),
        "position": int(slider.input_value()),
    }


def expected(book: widgets.Flipbook, i: int) -> dict:
    return {
        "picture": widgets._uri(book.frames[i]),
        "alt": book.alts[i],
        "value": book.texts[i],
        "words": f"{book.texts[i]} ({i + 1} of {len(book.texts)})",
        "position": i,
    }


def assert_at(page, books, **positions) -> None:
    for name, i in positions.items():
        assert state(page, name) == expected(books[name], i), f"{name} at {i}"


class TestMoving:
    def test_by_keyboard(self, open_page, books):
        page = open_page()
        assert_at(page, books, one=1, two=1)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('figure').id") == "explore-one"
        for key, i in (("ArrowRight", 2), ("End", 4), ("ArrowRight", 4), ("ArrowLeft", 3), ("Home", 0), ("ArrowUp", 1)):
            page.keyboard.press(key)
            assert_at(page, books, one=i, two=1)
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert_at(page, books, one=1, two=2)

    def test_by_click_and_drag(self, open_page, books):
        page = open_page()
        first, second = page.get_by_role("slider").all()
        page.mouse.click(*point(first, 0.75))
        assert_at(page, books, one=3, two=1)
        page.mouse.move(*point(second, 0.5))
        page.mouse.down()
        page.mouse.move(*point(second, 0.1), steps=3)
        assert_at(page, books, one=3, two=0)
        page.mouse.up()
        page.mouse.move(*point(second, 0.9))
        assert_at(page, books, one=3, two=0)

    def test_by_touch_on_a_phone(self, open_page, books):
        page = open_page(**PHONE)
        first, second = page.get_by_role("slider").all()
        page.touchscreen.tap(*point(first, 1))
        assert_at(page, books, one=4, two=1)
        second.scroll_into_view_if_needed()
        page.touchscreen.tap(*point(second, 0))
        assert_at(page, books, one=4, two=0)

    def test_back_at_the_start_the_start_frame_returns(self, open_page, books):
        page = open_page()
        page.get_by_role("slider").first.press("End")
        page.get_by_role("slider").first.press("Home")
        page.get_by_role("slider").first.press("ArrowRight")
        assert_at(page, books, one=1, two=1)

    def test_value_and_alternative_text_are_announced_once_after_the_last_move(self, open_page, books):
        page = open_page()
        told = page.locator("#explore-one p")
        told.evaluate("p => { p.log = []; new MutationObserver(() => p.log.push(p.textContent)).observe(p, "
                      "{ childList: true }); }")  # fmt: skip
        assert told.inner_text() == ""
        for _ in range(3):
            page.get_by_role("slider").first.press("ArrowRight")
        page.wait_for_function("document.querySelector('#explore-one p').log.length")
        assert told.evaluate("p => p.log") == [f"16: {books['one'].alts[4]}"]
        assert page.locator("#explore-two p").inner_text() == ""
        box = told.bounding_box()
        assert max(box["width"], box["height"]) <= 1, "what is announced is not to be seen"


class TestPage:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_axe_finds_nothing(self, open_page, axe, theme):
        page = open_page(color_scheme=theme)
        page.get_by_role("slider").first.press("End")
        page.wait_for_function("document.querySelector('#explore-one p').textContent")
        results = axe.run(page)
        assert len(results.response["passes"]) > 10 and results.violations_count == 0, results.generate_report()

    def test_on_a_phone_nothing_scrolls_sideways_and_sliders_can_be_touched(self, open_page):
        page = open_page(**PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        for slider, picture in zip(page.get_by_role("slider").all(), page.locator("img").all(), strict=True):
            assert slider.bounding_box()["height"] >= 44 and slider.bounding_box()["width"] >= 150
            assert 250 <= picture.bounding_box()["width"] <= 320

    def test_the_slider_stays_where_it_is_while_values_of_other_lengths_are_shown(self, open_page):
        page = open_page()
        for slider in page.get_by_role("slider").all():
            boxes = []
            for key in ("Home", "ArrowRight", "End"):
                slider.press(key)
                boxes.append(slider.bounding_box())
            assert boxes[0] == boxes[1] == boxes[2]

    def test_a_picture_in_the_dark_stands_on_white(self, open_page):
        page = open_page(color_scheme="dark")
        assert page.locator("img").first.evaluate("i => getComputedStyle(i).backgroundColor") == "rgb(255, 255, 255)"
        colors = page.evaluate(
            "['label', 'output', 'body'].map(tag => getComputedStyle(document.querySelector(tag)).color)"
        )
        assert colors == ["rgb(221, 221, 221)"] * 3, "text has the page's colour"

    def test_without_scripts_pictures_stand_there_and_sliders_do_not(self, open_page, books):
        page = open_page(java_script_enabled=False)
        assert page.locator("input").count() == 2
        for name, book in books.items():
            figure = page.locator(f"#explore-{name}")
            assert figure.locator("img").is_visible() and figure.locator("img").bounding_box()["width"] > 300
            assert figure.locator("img").get_attribute("alt") == book.alts[1]
            for part in ("input", "label", "output"):
                assert not figure.locator(part).is_visible()

    def test_put_in_later_as_jupyter_does_it_works_the_same_and_twice(self, open_page, books, html, tmp_path):
        """Jupyter sets innerHTML, then makes each script anew; an output can be shown a second time beside itself."""
        (tmp_path / "empty.html").write_text(PAGE.replace("BODY", ""), encoding="utf-8")
        page = open_page((tmp_path / "empty.html").as_uri())
        before = page.evaluate("Object.keys(window)")
        page.evaluate(PUT, html)
        page.get_by_role("slider").first.press("End")
        assert_at(page, books, one=4, two=1)
        page.evaluate(PUT, html)
        sliders = page.get_by_role("slider").all()
        assert len(sliders) == 4
        sliders[2].press("ArrowRight")
        pictures = page.locator("#explore-one img").evaluate_all("images => images.map(image => image.src)")
        assert pictures == [widgets._uri(books["one"].frames[i]) for i in (4, 2)]
        assert page.evaluate("Object.keys(window)") == before, "no global names"
