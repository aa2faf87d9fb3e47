"""The page in a real browser: phone, tablet and desk, light and dark, on paper, with the network closed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from editgate.report.writer import write
from meta.report.report_cases import cell, memit, others, record

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'", exc_type=ImportError
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTHS = (360, 768, 1280)
OVERFLOWING = """() => [...document.querySelectorAll('main *:not(svg *)')].filter(e =>
    e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && !e.closest('.scroll') &&
    getComputedStyle(e).display !== 'inline').map(e => e.tagName + ' ' + e.textContent.slice(0, 60))"""
OUTSIDE = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
        const box = text.getBoundingClientRect();
        return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 ||
            box.bottom > frame.bottom + 1;
    }).map(text => text.textContent)})"""
TOUCHING = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
    const boxes = [...svg.querySelectorAll('text')].filter(t => t.textContent)
        .map(t => [t.textContent, t.getBoundingClientRect()]);
    return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([b, q]) =>
        p.left < q.right && q.left < p.right && p.top < q.bottom && q.top < p.bottom).map(([b]) => a + ' / ' + b))})"""
COLORS = """() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"""
CONTRAST = """() => {
    const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    const ratio = c => { const l = light(c); return (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05) };
    const curves = [...document.querySelectorAll('svg .curve path')];
    return Math.min(...curves.map(e => ratio(getComputedStyle(e).stroke)))}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser of this machine; Playwright's own where there is none."""
    here = next((path for path in map(shutil.which, BROWSERS) if path), None)
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=here, args=QUIET)
        except playwright.Error as error:
            pytest.skip(f"no browser can be started here ({str(error).splitlines()[0]}): install chromium")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with every kind of outcome and twelve methods."""
    many = [
        replace(cell, trajectory=f"method{number}-llama-mini")
        for number in range(10)
        for cell in memit()
        if cell.area == "capability"
    ]
    cells = [*memit(), *others(), *many]
    changes = ("since the report of 2026-11-01: 1 new failure, 0 no longer fail",)
    report = record(cells).model_copy(update={"changes": changes})
    return write(report, tmp_path_factory.mktemp("out")).as_uri()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with one method that passes."""
    passing = [cell("toxigen", 1, 1.0, "pass", "safety"), cell("mmlu", 1, 1.0), cell("mmlu", 10, 0.95)]
    return write(record(passing), tmp_path_factory.mktemp("small")).as_uri()


@pytest.fixture
def requests() -> list[str]:
    """Addresses that a page requested, besides its own."""
    return []


def open_page(browser: Any, address: str, requests: list[str], **settings: Any) -> Any:  # noqa: ANN401 - Playwright's
    """Open the page with all details open, noting every request that leaves it."""
    page = browser.new_page(java_script_enabled=True, **settings)
    page.on("request", lambda request: requests.append(request.url) if request.url != address else None)
    page.goto(address)
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true })")
    return page


@pytest.mark.parametrize("size", ["address", "small"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits(  # noqa: PLR0917 - fixtures
    width: int,
    scheme: str,
    size: str,
    browser: Any,  # noqa: ANN401 - Playwright's
    request: pytest.FixtureRequest,
    requests: list[str],
) -> None:
    """No sideways scrolling, no text beyond its box or upon another, no network request."""
    address = request.getfixturevalue(size)
    page = open_page(browser, address, requests, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("() => document.scrollingElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(TOUCHING) == []
    assert requests == []
    page.close()


def test_dark_is_dark_and_paper_is_white(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """The page follows the reader's scheme; on paper it is black on white even then; curves can be seen in both."""
    page = open_page(browser, address, requests, color_scheme="dark")
    assert page.evaluate(COLORS) == ["rgb(20, 22, 26)", "rgb(232, 234, 238)"]
    assert page.evaluate(CONTRAST) >= 3
    page.emulate_media(media="print")
    assert page.evaluate(COLORS) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    page.emulate_media(media="screen", color_scheme="light")
    assert page.evaluate(CONTRAST) >= 3
    page.close()


def test_it_prints_without_losing_anything(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """On paper nothing is wider than the sheet, and closed details are printed: nobody can click there."""
    page = open_page(browser, address, requests, viewport={"width": 718, "height": 1000})  # A4 less its margins
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = false })")
    page.emulate_media(media="print")
    assert page.evaluate("() => document.scrollingElement.scrollWidth") == 718
    assert page.evaluate("() => document.querySelector('.tables details table').checkVisibility()")
    assert page.evaluate("() => document.querySelector('#known ~ details .failure').checkVisibility()")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def test_it_reads_without_script(browser: Any, address: str) -> None:  # noqa: ANN401
    """With scripts switched off all of it is there, charts too."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("figure svg .curve path").count() > 12
    assert page.get_by_text("collapse: it answers").first.is_visible()
    assert page.locator("#item-list tbody tr").count() > 0
    assert page.locator(".filter").count() == 0  # nothing that cannot work
    context.close()


def test_the_first_screen_has_the_answer(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """On a desk verdict, reason, safety, the table and the contents end above the fold; on a phone the table begins."""
    page = open_page(browser, address, requests, viewport={"width": 1280, "height": 900})
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = false })")
    bottom = "selector => document.querySelector(selector).getBoundingClientRect().bottom"
    assert all(page.evaluate(bottom, selector) <= 900 for selector in (".verdict", ".reason", ".safety", "nav"))
    assert page.evaluate(bottom, "#overview ~ .scroll") <= 900
    page.set_viewport_size({"width": WIDTHS[0], "height": 800})
    assert page.evaluate("() => document.querySelector('#overview').getBoundingClientRect().top") <= 800
    page.close()


def test_red_is_red_and_a_pass_is_green(browser: Any, address: str, small: str, requests: list[str]) -> None:  # noqa: ANN401
    """The headline of a collapse has the color of a failure, that of a run in which all passes has another."""
    colors = []
    for where in (address, small):
        page = open_page(browser, where, requests, color_scheme="light")
        colors.append(page.evaluate("() => getComputedStyle(document.querySelector('.verdict strong')).color"))
        page.close()
    assert colors == ["rgb(168, 32, 26)", "rgb(27, 107, 67)"]


def test_a_finger_hits_what_it_aims_at(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """On a phone every fold, link and control is at least 24 pixels high."""
    page = open_page(browser, address, requests, viewport={"width": WIDTHS[0], "height": 800})
    low = """() => [...document.querySelectorAll('summary, nav a, .take a, .grid a, .filter input, .filter select')]
        .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).map(e => e.textContent)"""
    assert page.evaluate(low) == []
    page.close()


def test_the_first_column_stays(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """A table that is wider than a phone says so, and keeps its methods in sight when it is swiped."""
    page = open_page(browser, address, requests, viewport={"width": WIDTHS[0], "height": 800})
    assert page.locator(".hint").is_visible()
    page.evaluate("() => { document.querySelector('#overview ~ .scroll').scrollLeft = 200 }")
    left = "() => document.querySelector('#overview ~ .scroll tbody th').getBoundingClientRect().left"
    assert page.evaluate(left) == page.evaluate(
        "() => document.querySelector('#overview').getBoundingClientRect().left"
    )
    page.set_viewport_size({"width": WIDTHS[2], "height": 800})
    assert not page.locator(".hint").is_visible()
    page.close()


def test_items_are_filtered_without_a_network(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """Text, method and benchmark narrow the items; the page's policy lets its own script run and nothing else."""
    page = open_page(browser, address, requests)
    shown = "() => [...document.querySelectorAll('#item-list tbody tr')].filter(e => e.checkVisibility()).length"
    everything = page.evaluate(shown)
    page.get_by_label("all methods").select_option("memit-llama-mini")
    assert 0 < page.evaluate(shown) < everything
    page.get_by_label("Filter the items by text").fill("no such text anywhere")
    assert page.evaluate(shown) == 0
    assert page.get_by_role("status").text_content() == "0 of the items on this page"
    page.get_by_label("Filter the items by text").fill("DONAUDAMPF")
    assert page.evaluate(shown) == 1
    assert requests == []
    page.close()


def test_contents_lead_to_sections(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """Every link within the page has its target."""
    page = open_page(browser, address, requests)
    dead = """() => [...document.querySelectorAll('a[href^="#"]')]
        .filter(e => !document.getElementById(e.getAttribute('href').slice(1))).map(e => e.outerHTML)"""
    assert page.evaluate(dead) == []
    assert page.locator("nav a").count() >= 8
    page.close()


def test_a_phone_shows_text_large_enough(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """Labels in a chart are at least nine pixels high on a phone."""
    page = open_page(browser, address, requests, viewport={"width": WIDTHS[0], "height": 800})
    smallest = "() => Math.min(...[...document.querySelectorAll('figure svg')].map(s => s.clientWidth / 360 * 10.5))"
    assert page.evaluate(smallest) >= 9
    page.close()
