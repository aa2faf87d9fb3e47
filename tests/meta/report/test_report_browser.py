"""The page in a real browser: phone, tablet and desk, light and dark, on paper, with the network closed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from editgate.report.writer import write
from meta.report.report_cases import memit, others, record

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
    page = write(record([*memit(), *others(), *many]), tmp_path_factory.mktemp("out"))
    return page.as_uri()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits(width: int, scheme: str, browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """No sideways scrolling, no text beyond its box or upon another, no network request."""
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
    assert page.evaluate("() => document.querySelector('article details table').checkVisibility()")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def test_it_reads_without_script(browser: Any, address: str) -> None:  # noqa: ANN401
    """With scripts switched off all of it is there, charts too."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("figure svg .curve path").count() > 12
    assert page.get_by_text("collapse: it answers").first.is_visible()
    context.close()


def test_a_phone_shows_text_large_enough(browser: Any, address: str, requests: list[str]) -> None:  # noqa: ANN401
    """Labels in a chart are at least nine pixels high on a phone."""
    page = open_page(browser, address, requests, viewport={"width": WIDTHS[0], "height": 800})
    smallest = "() => Math.min(...[...document.querySelectorAll('figure svg')].map(s => s.clientWidth / 360 * 10.5))"
    assert page.evaluate(smallest) >= 9
    page.close()
