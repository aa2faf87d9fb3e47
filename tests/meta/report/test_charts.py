"""Charts: every number lies inside the axes, methods differ without color, colors are the page's."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate.report.html.charts import FEWEST, Chart, Point, Series, checkpoint_charts, retention_charts
from editgate.report.html.drawing import FEW, WIDTH, plot_area
from editgate.report.html.figures import as_files, draw
from editgate.report.html.looks import COLORS, look_of, palette
from editgate.verdict.outcome import Age, Cell
from meta.report.report_cases import cell, memit, others

NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"
HALF_A_PIXEL = 0.5


def chart_of(numbers: list[float], *, y_log: bool = False, name: str = "x") -> Chart:
    """Return a chart of one method, a number per N."""
    points = tuple(Point(n + 1.0, y, None, None, passed=True, note="") for n, y in enumerate(numbers))
    ticks = tuple((point.x, str(int(point.x))) for point in points)
    return Chart("title", "across", ticks, "up", (Series(name, 0, points),), y_log=y_log)


def marks(svg: str) -> list[tuple[float, float]]:
    """Return where the markers are."""
    pattern = rf'class="mark[^"]*">.*?<use [^>]*x="{NUMBER}" y="{NUMBER}"'
    return [(float(x), float(y)) for x, y in re.findall(pattern, svg, flags=re.DOTALL)]


def frame(chart: Chart, svg: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where the panels begin and end, across and down."""
    area = plot_area(chart)
    height = float(re.findall(rf'viewBox="0 0 {WIDTH} {NUMBER}"', svg)[0])
    return (area.left, area.left + area.width), (height - area.bottom - area.height, height - area.bottom)


def many(methods: int) -> list[Cell]:
    """Return the cells of so many methods, with different names."""
    cells = [cell("mmlu", 1, 1.0), cell("mmlu", 10, 0.7, "regression")]
    return [replace(each, trajectory=f"method{index:02}-llama-mini") for index in range(methods) for each in cells]


def assert_inside(numbers: list[float], *, y_log: bool) -> None:
    """All markers lie inside the axes, larger numbers are not lower, and there are few ticks."""
    svg = draw(chart_of(numbers, y_log=y_log), "chart")
    places = marks(svg)
    assert len(places) == len(numbers)
    across, up = frame(chart_of(numbers, y_log=y_log), svg)
    assert all(across[0] <= x <= across[1] and up[0] <= y <= up[1] for x, y in places)
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
    svg = draw(chart, "chart")
    ((x, _),) = marks(svg)
    assert x == pytest.approx(sum(frame(chart, svg)[0]) / 2, abs=HALF_A_PIXEL)


def test_a_changed_model_without_edits_is_drawn() -> None:
    """N = 0 has no logarithm, and is drawn left of all others."""
    (chart,) = retention_charts([cell("mmlu", count, 1.0) for count in (0, 1, 10)])
    across = [x for x, _ in marks(draw(chart, "chart"))]
    assert plot_area(chart).left <= across[0] < across[1] < across[2]


def test_an_infinite_number_is_left_out() -> None:
    """A perplexity of infinity has a row in the tables and no place in the chart."""
    cells = [replace(cell("mmlu", count, 1.0), perplexity=value) for count, value in ((1, 4.0), (5, float("inf")))]
    (chart,) = checkpoint_charts(cells)
    assert len(marks(draw(chart, "chart"))) == 1


def test_methods_differ_without_color() -> None:
    """Thirty methods differ in marker or dashes, sixty with their colors."""
    assert len({(look_of(style).marker, look_of(style).dashes) for style in range(30)}) == 30
    assert len({look_of(style) for style in range(60)}) == 60
    assert {look_of(style).color for style in range(60)} == {f"c{index}" for index in range(COLORS)}


def lab(color: str) -> tuple[float, float, float]:
    """Return a color in Oklab, in which equal distances look alike; 1 is from black to white."""
    red, green, blue = (int(color[index : index + 2], 16) / 255 for index in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue))
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.793617785 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.428592205 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_twelve_colors_stay_apart(scheme: str) -> None:
    """Any two of the twelve colors lie further apart than shades of one color do, in both schemes."""
    colors = [lab(palette(scheme)[f"c{index}"]) for index in range(COLORS)]
    assert min(math.dist(one, other) for one, other in combinations(colors, 2)) > 0.07


def test_colors_are_the_pages() -> None:
    """Every color is a variable of the style sheet, so that dark mode and print change the charts too."""
    for cells in (memit(), many(FEW + 1)):
        svg = draw(retention_charts(cells)[0], "chart")
        colors = re.findall(r"(?:fill|stroke|color): ([^;\"]+)", svg)
        assert colors
        assert {color for color in colors if color != "none" and not color.startswith("var(--")} == set()
        assert "#0000" not in svg


def test_many_methods_have_a_panel_each() -> None:
    """Eleven methods are eleven panels with one band, each named; four share one."""
    eleven = draw(retention_charts(many(11))[0], "chart")
    assert eleven.count('class="axes"') == eleven.count('class="band"') == 11
    assert all(f">method{index:02}</text>" in eleven for index in range(11))
    assert draw(retention_charts(many(FEW))[0], "chart").count('class="axes"') == 1


def test_panels_of_a_group_share_their_axis() -> None:
    """The worst benchmark looks worst: its chart has the same vertical axis as all others of its kind."""
    charts = retention_charts(
        [cell("mmlu", 1, 1.0), cell("bbh", 1, -0.8, "regression"), cell("toxigen", 1, 1.0, "pass", "safety")]
    )
    assert len({chart.y_includes for chart in charts}) == 1
    heights = {
        re.findall(r'class="ytick">.*?y="([\d.]+)"', draw(chart, "chart"), flags=re.DOTALL)[0] for chart in charts
    }
    assert len(heights) == 1


def test_a_figure_in_a_file_explains_itself() -> None:
    """Title, names, floor, and what a hollow marker means are in the picture; its colors need no style sheet."""
    chart = retention_charts([*memit(), *others()])[1]
    files = as_files(chart)
    svg = files["svg"].decode()
    assert "var(--" not in svg
    for text in (chart.title, "memit", "rome", "floor 0.9", "llama-mini; hollow: does not pass"):
        assert f">{text}" in svg
    assert files["png"].startswith(b"\x89PNG")


@settings(max_examples=15, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_any_name_can_be_drawn(name: str) -> None:
    """Whatever a method is called, the picture is whole XML, and nothing in the name acts."""
    svg = draw(chart_of([0.5, 0.7], name=name), "chart")
    ElementTree.fromstring(svg)  # noqa: S314 - our own
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\ufffe\uffff]", svg)


def test_a_sign_that_no_font_has_is_no_warning() -> None:
    """A name in signs that the font lacks is drawn with boxes; under `-W error` the report is written all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_files(chart_of([0.5], name="編集 $x$ 🧪"))["png"]


def test_ages_of_one_edit_are_left_out() -> None:
    """The share of a single edit is 0 or 1 and would draw a zigzag; every other age says how many edits it has."""
    ages = (Age(0, 0, 1, 1), Age(1, 1, 1, 0), Age(2, 4, 3, 2), Age(5, 9, 5, 5))
    (chart,) = checkpoint_charts([replace(cell("efficacy", 10, 0.6, "pass", "quality"), efficacy_by_age=ages)])
    assert [text for _, text in chart.x_ticks] == ["2–4\nn=3", "5–9\nn=5"]
    assert all(row[3] >= FEWEST for row in chart.table.rows if isinstance(row[3], int))
    assert checkpoint_charts([replace(cell("efficacy", 1, 1.0, "pass", "quality"), efficacy_by_age=ages[:2])]) == []


def test_a_norm_that_grew_a_thousandfold_is_explained() -> None:
    """The chart of such a norm says why that is not yet damage; that of a small change says nothing."""
    explained = [
        checkpoint_charts([replace(cell("mmlu", 1, 1.0), norm_ratio={"w": ratio})])[0] for ratio in (1755.0, 1.2)
    ]
    assert "not yet damage" in explained[0].explanation
    assert explained[1].explanation == ""


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
