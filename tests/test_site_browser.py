"""The built site in a browser, as served and as unpacked from the offline zip, with every other host out of reach.

One visit of a page is used for several checks, since a book has many pages.
"""

import gzip
import json
import re
from statistics import median
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from fontTools.ttLib import TTFont

from course_lib import closed_form
from tests.pages import point
from tests.sites import ROOT, build, serve, small_book
from tools.chapters import find

PAGES = [
    path.relative_to(ROOT).with_suffix(".html").as_posix() for path in [*find(ROOT), *ROOT.glob("chapters/**/*.md")]
]
CHAPTER = "chapters/01_autoencoder.html"
WORD = "bottleneck"  # a word of chapter 1
SEARCH = "search.html?q=autoencoder"  # a word of titles too, which the search marks
KILOBYTE = 1000
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 320, "height": 640}
THEMES = ("light", "dark")

SETTLED = """async () => {
    if (window.MathJax?.startup) await MathJax.startup.promise;
    await document.fonts.ready;
    for (let i = 0; i < 2; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
}"""
"""Mathematics and fonts are there, and what follows from their sizes is drawn."""

LOW_CONTRAST = """() => {
    const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return color.startsWith("rgb(") ? color : ground(element.parentElement);
    };
    const low = new Set();
    for (const token of document.querySelectorAll("div.highlight pre span[class]")) {
        const color = getComputedStyle(token).color;
        const [a, b] = [light(color), light(ground(token))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) low.add(`${token.className}: ${color} on ${ground(token)}`);
    }
    return [...low];
}"""
"""Kinds of code tokens below WCAG's contrast of 4.5; axe would take seconds over their thousands."""

FLATTEN = """() => {
    for (const pre of document.querySelectorAll("div.highlight pre")) pre.replaceChildren(pre.textContent);
}"""

SLIDER_STATE = """slider => {
    const root = slider.closest("figure") ?? slider.closest("div.output");
    const picture = root.querySelector("img, svg");
    const text = (node) => node.getAttribute("alt") ?? node.getAttribute("aria-label") ?? "";
    const label = picture.querySelector("title, desc")?.textContent ?? "";
    return {
        picture: picture.tagName === "IMG" ? picture.src : picture.innerHTML,
        alt: text(picture) || text(picture.closest("[aria-label]") ?? picture) || label,
        value: [...root.querySelectorAll("output")].map((output) => output.textContent).join(" | "),
    };
}"""


@pytest.fixture(scope="module")
def address(built_site):
    with serve(built_site) as url:
        yield url


@pytest.fixture(scope="module", params=["served", "offline"])
def home(request, address, offline_copy) -> str:
    """Where the site lies: behind a server, or in a folder of the reader's."""
    return address if request.param == "served" else f"{offline_copy.as_uri()}/"


@pytest.fixture(scope="module")
def new_page(browser):
    """Open an empty page that can reach this machine only; what goes wrong is noted in its ``trouble``."""
    contexts = []

    def make(**settings):
        nowhere = {"server": "http://127.0.0.1:9", "bypass": "127.0.0.1"}
        context = browser.new_context(proxy=nowhere, reduced_motion="reduce", **{"viewport": WIDE, **settings})
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        page.on("console", lambda m: m.type in ("error", "warning") and page.trouble.append(m.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("requestfailed", lambda request: page.trouble.append(f"failed: {request.url} {request.failure}"))
        page.on(
            "response", lambda answer: answer.status >= 400 and page.trouble.append(f"{answer.status} {answer.url}")
        )
        page.on("request", lambda request: here(request.url) or page.trouble.append(f"elsewhere: {request.url}"))
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def visitor(new_page):
    """One page for all plain visits, so that shared files are loaded once."""
    return new_page()


def here(url: str) -> bool:
    return urlsplit(url).scheme in ("file", "data", "blob") or urlsplit(url).hostname == "127.0.0.1"


def visit(page, url: str, viewport=WIDE):
    """Go there, and return the page once it stands still."""
    page.trouble.clear()
    page.set_viewport_size(viewport)
    page.goto(url)
    page.evaluate(SETTLED)
    if "search.html" in url:
        page.wait_for_load_state("networkidle")  # it reads the pages that it found
    return page


def show(page, theme: str) -> None:
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)


def violations(axe, page, only=None, without=(), exclude=()) -> list[str]:
    """What axe finds, in words; there is no list of exceptions."""
    options = {"resultTypes": ["violations"], "preload": False}  # else it fetches style sheets, some from a wrong place
    options |= {"runOnly": only} if only else {"rules": {rule: {"enabled": False} for rule in without}}
    context = {"exclude": [[part] for part in exclude]} if exclude else None
    found = axe.run(page, context=context, options=options).response
    assert found["passes"], "axe looked at nothing"
    return [f"{v['id']}: {node['target']} {node['html'][:200]}" for v in found["violations"] for node in v["nodes"]]


def test_the_pages_are_those_of_the_site(built_site):
    assert sorted(PAGES) == sorted(
        path.relative_to(built_site).as_posix() for path in built_site.glob("chapters/**/*.html")
    )
    assert CHAPTER in PAGES


@pytest.mark.parametrize("name", [*PAGES, SEARCH, "404.html"])
def test_a_page_is_quiet_fits_a_phone_and_is_accessible_in_both_themes(visitor, address, axe, name):
    page = visit(visitor, address + name)
    low = {theme: (show(page, theme), page.evaluate(LOW_CONTRAST))[1] for theme in THEMES}
    assert low == {"light": [], "dark": []}
    page.set_viewport_size(PHONE)
    page.evaluate(SETTLED)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.evaluate(FLATTEN)
    assert violations(axe, page, without=["color-contrast"], exclude=["mjx-container"]) == []
    assert violations(axe, page, only=["color-contrast"], exclude=["mjx-container"]) == [], "dark"
    page.set_viewport_size(WIDE)
    show(page, "light")
    assert violations(axe, page) == []
    assert page.trouble == []


@pytest.mark.parametrize("name", [*PAGES, SEARCH])
def test_a_page_of_the_offline_copy_is_quiet_fits_and_is_accessible(visitor, offline_copy, axe, name):
    """The same pages as above: axe looks once, and not again at colours."""
    page = visit(visitor, f"{offline_copy.as_uri()}/{name}", PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.evaluate(FLATTEN)
    assert violations(axe, page, without=["color-contrast"], exclude=["mjx-container"]) == []
    assert page.trouble == []


def test_the_sites_own_address_leads_to_the_first_page(new_page, home):
    page = new_page()
    page.goto(home + "index.html")
    page.wait_for_url("**/chapters/index.html")
    assert page.get_by_role("heading", level=1).inner_text().startswith("From autoencoders to scVI")
    assert page.trouble == []


def test_mathematics_is_set_and_told_to_screen_readers(visitor, home, built_site):
    for name in PAGES:
        written = len(re.findall(r'class="math notranslate', (built_site / name).read_text("utf-8")))
        if not written and name != CHAPTER:
            continue
        page = visit(visitor, home + name)
        assert page.locator("mjx-container").count() >= written > 0
        assert page.locator("mjx-container mjx-assistive-mml math").count() == page.locator("mjx-container").count()
        assert page.locator("mjx-merror").count() == 0, name
        loaded = page.evaluate("[...document.fonts].filter(font => font.status === 'loaded').map(font => font.family)")
        assert any("MJXTEX" in family for family in loaded), loaded
        assert page.trouble == []


def all_differ(before: dict, after: dict) -> bool:
    return all(before[part] and after[part] and before[part] != after[part] for part in ("picture", "alt", "value"))


def move_sliders(page) -> int:
    """Move all sliders of a page by keyboard and pointer, see picture, value and words follow; return their number."""
    sliders = page.locator("article input[type=range]").all()
    for slider in sliders:
        states = {}
        for key in ("Home", "ArrowRight", "End", "ArrowLeft"):
            slider.press(key)
            states[key] = slider.evaluate(SLIDER_STATE) | {"position": slider.input_value()}
            picture = slider.locator("xpath=ancestor::figure[1]").locator("img").first
            if picture.count():
                assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert all_differ(states["Home"], states["End"]), states["Home"]["value"]
        assert states["Home"]["value"] != states["ArrowRight"]["value"]
        assert states["End"]["value"] != states["ArrowLeft"]["value"]
        page.mouse.click(*point(slider, 0))
        assert slider.input_value() == states["Home"]["position"], "a click at the left end"
        page.mouse.move(*point(slider, 0))
        page.mouse.down()
        page.mouse.move(*point(slider, 1), steps=3)
        page.mouse.up()
        assert all_differ(states["Home"], slider.evaluate(SLIDER_STATE)), "dragged to the right end"
    return len(sliders)


def test_every_slider_moves_by_keyboard_and_pointer_and_says_what_it_shows(visitor, home, built_site):
    moved = {}
    for name in PAGES:
        if 'type="range"' not in (built_site / name).read_text("utf-8"):
            continue
        page = visit(visitor, home + name)
        moved[name] = move_sliders(page)
        assert page.trouble == []
    assert moved.get(CHAPTER), "chapter 1 has a slider"


def test_a_slider_computed_in_the_page_moves_on_a_built_page(new_page, tmp_path):
    figure = closed_form.explore("negative binomial", mu=(1, 100, 10), theta=(0.1, 100, 5), x=(0, 40))
    outputs = [nbformat.v4.new_output("display_data", data={"text/html": figure._repr_html_()})]
    done = build(small_book(tmp_path, outputs=outputs), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = visit(new_page(), (tmp_path / "_build" / "html" / "chapters" / "one.html").as_uri())
    assert move_sliders(page) == 2
    assert page.trouble == []


def test_the_search_finds_a_word_of_chapter_1_by_keyboard_alone(new_page, home):
    page = visit(new_page(), home + "chapters/index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type(WORD)
    page.keyboard.press("Enter")
    result = page.locator("#search-results a[href*='01_autoencoder.html']").first
    result.wait_for()
    page.wait_for_load_state("networkidle")
    found, quoted = (page.locator(f"#search-results {part}").count() for part in ("li", "p.context"))
    assert quoted == (found if home.startswith("http") else 0), "a page opened from a file may not read others"
    assert page.trouble == []
    result.press("Enter")
    page.wait_for_url("**/01_autoencoder.html*")
    assert page.locator("article").get_by_text(WORD).count()


def test_the_theme_is_switched_by_keyboard_and_kept(new_page, home):
    page = visit(new_page(), home + PAGES[-1])
    grounds = {}
    for _ in range(3):
        page.get_by_role("button", name="Color mode").press("Enter")
        mode = page.evaluate("document.documentElement.dataset.mode")
        grounds[mode] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert grounds["dark"] != grounds["light"] and set(grounds) == {"light", "dark", "auto"}
    while page.evaluate("document.documentElement.dataset.mode") != "dark":
        page.get_by_role("button", name="Color mode").press("Enter")
    visit(page, home + "chapters/index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds["dark"]


def test_the_first_stop_of_the_tab_key_skips_to_the_text(new_page, home):
    page = visit(new_page(), home + PAGES[-1])
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to main content")
    assert skip.evaluate("link => link === document.activeElement")
    page.wait_for_function("document.activeElement.getBoundingClientRect().top >= 0")  # it slides in
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_copy_buttons_are_reached_by_keyboard_and_take_the_code_alone(new_page, home):
    page = visit(new_page(permissions=["clipboard-read", "clipboard-write"]), home + CHAPTER)
    assert page.locator("div.cell_output button.copybtn").count() == 0
    notebook = nbformat.read(ROOT / "chapters" / "01_autoencoder.ipynb", as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    buttons = page.locator("div.cell_input button.copybtn")
    assert buttons.count() == len(sources)
    for i in (3, len(sources) - 1):
        button = buttons.nth(i)
        button.scroll_into_view_if_needed()
        page.keyboard.press("Shift")  # the reader uses the keyboard
        button.focus()
        page.wait_for_function("button => getComputedStyle(button).opacity === '1'", arg=button.element_handle())
        button.press("Enter")
        page.evaluate("() => new Promise((resolve) => setTimeout(resolve))")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.replace("\xa0", " ").strip() == sources[i].strip()


def test_the_notebook_is_downloaded_as_it_was_committed(new_page, address):
    page = visit(new_page(), address + CHAPTER)
    page.get_by_role("button", name="Download this page").press("Enter")
    with page.expect_download() as download:
        page.get_by_role("link", name=".ipynb").press("Enter")
    assert download.value.suggested_filename == "01_autoencoder.ipynb"
    with open(download.value.path(), "rb") as file:
        assert file.read() == (ROOT / "chapters" / "01_autoencoder.ipynb").read_bytes()


def test_every_icon_is_in_the_fonts_that_were_cut_to_size(visitor, address, built_site):
    fonts = [TTFont(path) for path in built_site.rglob("fa-*.woff")]
    held = {chr(code) for font in fonts for code in font.getBestCmap() or ()}
    shown = set()
    for name in [*PAGES, SEARCH]:
        page = visit(visitor, address + name)
        shown |= set(
            page.evaluate(
                """() => [...document.querySelectorAll("body *")]
                .flatMap((element) => ["::before", "::after"].map((part) => getComputedStyle(element, part)))
                .filter((style) => style.content !== "none" && style.fontFamily.includes("Font Awesome"))
                .map((style) => style.content.replaceAll('"', ""))"""
            )
        )
    assert len(shown) >= 10 and shown <= held, [f"{ord(icon):x}" for icon in shown - held]
    assert page.evaluate("document.fonts.check('900 16px \"Font Awesome 6 Free\"', '\\uf019')")


def test_without_scripts_a_page_still_reads(new_page, home):
    page = new_page(java_script_enabled=False)
    page.goto(home + CHAPTER)
    page.wait_for_load_state()
    assert page.get_by_role("heading", name="1 · Autoencoders").first.is_visible()
    assert "\\(" in page.locator("article").inner_text(), "formulas stand there as TeX"
    for picture in page.locator("article img").all():
        picture.scroll_into_view_if_needed()
        assert picture.is_visible() and picture.bounding_box()["width"] > 200
    assert page.locator("article figure img").count()
    assert not page.locator("article input[type=range]").first.is_visible()
    solution = page.locator("article details:not(.hide)").first
    assert not solution.locator("div.highlight").first.is_visible()
    solution.locator("summary").press("Enter")
    assert solution.locator("div.highlight").first.is_visible()
    page.set_viewport_size(PHONE)
    assert page.locator("html").bounding_box()["width"] == 320
    page.mouse.move(160, 300)
    page.mouse.wheel(400, 0)
    assert page.get_by_role("heading", name="1 · Autoencoders").first.bounding_box()["x"] >= 0
    assert page.trouble == []


@pytest.mark.parametrize(
    ("under", "wrong"),
    [("/", "chapters/02_nowhere.html"), ("/", "a/b/c/d"), ("/repo/", "nowhere.html"), ("/repo/", "chapters/deep/er/")],
)
def test_a_wrong_address_at_any_depth_leads_back_into_the_book(new_page, built_site, under, wrong):
    with serve(built_site, under) as url:
        page = new_page()
        page.goto(url + wrong)
        page.wait_for_function("url => document.baseURI === url", arg=url)
        wanted = page.locator("nav a").evaluate_all("links => links.map(link => link.href)")
        for target in [*wanted, page.locator("form").evaluate("form => form.action")]:
            assert target.startswith(url) and (built_site / unquote(target.removeprefix(url))).exists(), target
        assert [line for line in page.trouble if "404" not in line] == [], "it looks for the book's folder, and no more"
        page.get_by_role("searchbox").fill(WORD)
        page.get_by_role("button", name="Search").press("Enter")
        page.locator("#search-results a").first.wait_for()


def weight(path) -> int:
    """Bytes on the way to a reader: text compressed as a host for pages does, the rest as it is."""
    content = path.read_bytes()
    return len(gzip.compress(content, 6)) if path.suffix in (".html", ".css", ".js", ".svg", ".json") else len(content)


def test_a_first_visit_stays_within_its_budget(new_page, address, built_site):
    """Shared by pages: at most 700 kB; a page's own part: at most 400 kB in the median, 1.5 MB for the heaviest.

    Counted is what Chromium really asks for while every page is opened once, search and 404 included. A page's own part
    is its HTML (with the frames of its sliders) and what lies in ``_images``. All else is shared, and counted once,
    whichever page asks for it: style sheets, scripts, search index, icons, and the parts and fonts of MathJax in use.
    """
    page, wanted = new_page(), []
    page.on("request", lambda request: wanted.append(request.url))
    shared, own = {}, {}
    for name in [*PAGES, SEARCH, "404.html"]:
        wanted.clear()
        visit(page, address + name)
        own[name] = 0
        for url in {url.partition("?")[0] for url in wanted if url.startswith(address)}:
            path = built_site / unquote(url.removeprefix(address))
            if path.relative_to(built_site).parts[0] == "_images" or path == built_site / name.partition("?")[0]:
                own[name] += weight(path)
            elif path.suffix != ".html":  # the search reads the pages that it found
                shared[path.relative_to(built_site).as_posix()] = weight(path)
    mathjax = sum(size for name, size in shared.items() if "mathjax" in name)
    told = json.dumps({"shared": sum(shared.values()), "of which MathJax": mathjax, "pages": own}, indent=1)
    print(told)
    assert mathjax > 100 * KILOBYTE and own[CHAPTER] > 50 * KILOBYTE, told
    assert sum(shared.values()) <= 700 * KILOBYTE, told
    assert median(own[name] for name in PAGES) <= 400 * KILOBYTE, told
    assert max(own.values()) <= 1500 * KILOBYTE, told
