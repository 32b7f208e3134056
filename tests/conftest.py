"""Settings for every test and for the kernels that tests start; the browser and the built site that files share."""

import os
import shutil
import zipfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("COURSE_LIB_STATIC", "1")

import numpy as np
import pytest

from tests.pages import PAGE
from tests.sites import ROOT, build

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def missing(what: str) -> None:
    """Skip where a person lacks a part; fail where all parts are promised."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is needed to test in a browser")


@pytest.fixture(scope="module")
def browser():
    """Chromium. Not for the whole session: playwright's event loop would stand in the way of tests that run kernels."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright (pip install -e .[test])")
    if not CHROMIUM:
        missing("Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(html, tmp_path_factory) -> str:
    """The address of a bare page that shows `html`, which a file of tests has as a fixture of its own."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(PAGE.replace("BODY", html), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(browser):
    """Open a page in a context with given settings, without a network; errors and requests fail the test."""
    contexts, trouble = [], []

    def open_it(url, **settings):
        contexts.append(browser.new_context(**settings))
        contexts[-1].set_offline(True)
        page = contexts[-1].new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or trouble.append(request.url))
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture(scope="session")
def axe():
    """The accessibility checker: ``axe.run(page)``."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        missing("axe-playwright-python (pip install -e .[test])")
    return Axe()


@pytest.fixture(scope="session")
def built_site(tmp_path_factory) -> Path:
    """The book, built strictly, once for all tests; not to be changed."""
    output = tmp_path_factory.mktemp("site")
    done = build(ROOT, output)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def offline_copy(built_site, tmp_path_factory) -> Path:
    """The offline copy as a reader unpacks it."""
    [archive] = built_site.glob("*.zip")
    folder = tmp_path_factory.mktemp("offline copy")  # with a space, as in a reader's folders
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    [top] = folder.iterdir()
    return top


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture(autouse=True)
def the_formula_is_the_printed_one(request):
    """For a test that states a formula (``equations.printed``): the chapter prints the same one."""
    formula = getattr(getattr(request, "function", None), "formula", None)
    if formula is not None:
        import equations

        number = equations.equation_number(request.function.__name__)
        same = equations.normal_form(formula) == equations.normal_form(equations.PRINTED[number])
        assert same, "the printed formula changed: see to the test"
