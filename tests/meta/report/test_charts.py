"""Charts: every number lies inside the axes, methods differ without color, colors are the page's."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate.report.html.charts import Chart, Point, Series, checkpoint_charts, retention_charts
from editgate.report.html.figures import (
    BOTTOM,
    COLORS,
    HEIGHT,
    LEFT,
    RIGHT,
    STAND_INS,
    TOP,
    WIDTH,
    draw,
    draw_swatch,
    look_of,
)
from editgate.verdict.outcome import Cell
from meta.report.report_cases import cell, memit, others

NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"
HALF_A_PIXEL = 0.5


def chart_of(numbers: list[float], *, y_log: bool = False) -> Chart:
    """Return a chart of one method, a number per N."""
    points = tuple(Point(n + 1.0, y, None, None, passed=True, note="") for n, y in enumerate(numbers))
    ticks = tuple((point.x, str(int(point.x))) for point in points)
    return Chart("title", "across", ticks, "up", (Series("x", 0, points),), y_log=y_log)


def marks(svg: str) -> list[tuple[float, float]]:
    """Return where the markers are."""
    pattern = rf'class="mark[^"]*">.*?<use [^>]*x="{NUMBER}" y="{NUMBER}"'
    return [(float(x), float(y)) for x, y in re.findall(pattern, svg, flags=re.DOTALL)]


def assert_inside(numbers: list[float], *, y_log: bool) -> None:
    """All markers lie inside the axes, larger numbers are not lower, and there are few ticks."""
    svg = draw(chart_of(numbers, y_log=y_log), "chart")
    places = marks(svg)
    assert len(places) == len(numbers)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places)
    heights = [y for _, (_, y) in sorted(zip(numbers, places, strict=True))]
    assert all(above <= below + HALF_A_PIXEL for below, above in pairwise(heights))
    assert svg.count('class="ytick"') <= 12


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=6))
def test_logarithmic_axes_hold_their_numbers(numbers: list[float]) -> None:
    """Every positive number of any size is drawn inside the axes, in order."""
    assert_inside(numbers, y_log=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_linear_axes_hold_their_numbers(numbers: list[float]) -> None:
    """Every number of any sign is drawn inside the axes, in order."""
    assert_inside(numbers, y_log=False)


def test_a_single_count_lies_in_the_middle() -> None:
    """A run at one N has a chart too."""
    (chart,) = retention_charts([cell("mmlu", 10, 1.0)])
    ((x, _),) = marks(draw(chart, "chart"))
    assert x == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=HALF_A_PIXEL)


def test_a_changed_model_without_edits_is_drawn() -> None:
    """N = 0 has no logarithm, and is drawn left of all others."""
    (chart,) = retention_charts([cell("mmlu", count, 1.0) for count in (0, 1, 10)])
    across = [x for x, _ in marks(draw(chart, "chart"))]
    assert LEFT <= across[0] < across[1] < across[2]


def test_an_infinite_number_is_left_out() -> None:
    """A perplexity of infinity has a row in the tables and no place in the chart."""
    cells = [replace(cell("mmlu", count, 1.0), perplexity=value) for count, value in ((1, 4.0), (5, float("inf")))]
    (chart,) = checkpoint_charts(cells)
    assert len(marks(draw(chart, "chart"))) == 1


def test_methods_differ_without_color() -> None:
    """Forty methods differ in marker or dashes wherever their colors are the same."""
    looks = [look_of(style) for style in range(40)]
    assert len(set(looks)) == 40
    assert {look.color for look in looks} == {STAND_INS[f"c{index}"] for index in range(COLORS)}


@pytest.mark.parametrize("svg", [draw(retention_charts(memit())[0], "chart"), draw_swatch(3)], ids=["chart", "swatch"])
def test_colors_are_the_pages(svg: str) -> None:
    """Every color is a variable of the style sheet, so that dark mode and print change the charts too."""
    colors = re.findall(r"(?:fill|stroke|color): ([^;\"]+)", svg)
    assert colors
    assert {color for color in colors if color != "none" and not color.startswith("var(--")} == set()
    assert "#0000" not in svg


def test_a_chart_is_the_same_each_time() -> None:
    """The bytes depend on the cells alone: no date, no random ids."""
    charts = retention_charts([*memit(), *others()])
    assert [draw(chart, "chart") for chart in charts] == [draw(chart, "chart") for chart in charts]


def test_ids_are_unique_within_a_page() -> None:
    """Two charts of the same numbers share no id: a reference leads into its own chart."""
    chart = retention_charts([cell("mmlu", 1, 1.0)])[0]
    first, second = (set(re.findall(r' id="([^"]+)"', draw(chart, name))) for name in ("one", "two"))
    assert first
    assert not first & second


def test_the_plugin_starts_without_matplotlib() -> None:
    """A run without a report does not wait for the drawing library."""
    code = "import sys, editgate.plugin; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own interpreter


def test_a_series_without_a_number_is_no_chart() -> None:
    """What could not be evaluated has no curve."""
    assert retention_charts([each for each in others() if each.value is None]) == []
    assert checkpoint_charts([Cell(**vars(cell("mmlu", 1, 1.0)))]) == []
