"""Draws a chart as inline SVG with matplotlib. Colors and font are the page's: they follow dark mode and print."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from editgate.report.html.charts import Chart, Point, Series

WIDTH, HEIGHT = 360, 250  # of a phone in pixels, which are points here: text is as large as the page's there
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 44
SWATCH = (44, 14)
COLORS = 8
MARKERS = "os^DvP"
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 2.5), (8, 3, 2, 3), (12, 3))
CURVE_WIDTH = 1.9
TICK_SIZE = 10.5
TICK_DISTANCE = 26  # of labels across, at least
NARROW = 6.0  # below this ratio a logarithmic axis has evenly spaced ticks
WIDE = 1e3  # above it only powers of ten
MARGIN = 0.03  # of the axis, beyond the outermost numbers
PAGE_COLORS = ("ink", "soft", "rule", "paper", *(f"c{index}" for index in range(COLORS)))
STAND_INS = {name: f"#{index:06x}" for index, name in enumerate(PAGE_COLORS, start=1)}  # matplotlib knows no variables
VARIABLES = {stand_in: f"var(--{name})" for name, stand_in in STAND_INS.items()}
STYLE: dict[str, str | float | bool] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,
    "path.simplify": False,
    "figure.dpi": 72,
    "font.size": 11,
    "text.color": STAND_INS["soft"],
    "axes.labelcolor": STAND_INS["ink"],
    "axes.edgecolor": STAND_INS["soft"],
    "axes.linewidth": 1,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": STAND_INS["rule"],
    "grid.linewidth": 1,
    "xtick.color": STAND_INS["soft"],
    "xtick.labelsize": TICK_SIZE,
    "xtick.major.size": 4,
    "xtick.major.width": 1,
    "ytick.color": STAND_INS["soft"],
    "ytick.labelsize": TICK_SIZE,
    "ytick.major.size": 0,
    "lines.linewidth": CURVE_WIDTH,
    "lines.markersize": 7,
    "lines.markeredgewidth": 1.4,
    "savefig.transparent": True,
}
XML_NAMESPACE = re.compile(r"\{[^}]*\}")
STAND_IN = re.compile(r"#0000\d\w")
EXPONENT = re.compile(r"e\+?(-?)0*")
FONT_FAMILY = re.compile(r"font-family: [^;]*; ")


@dataclass(frozen=True)
class Look:
    """What tells one method from the others, with color and without it."""

    color: str
    marker: str
    dashes: tuple[float, ...]


def look_of(style_number: int) -> Look:
    """Return the look of the method with this number; 120 of them differ."""
    color = STAND_INS[f"c{style_number % COLORS}"]
    return Look(color, MARKERS[style_number % len(MARKERS)], DASHES[style_number % len(DASHES)])


def draw(chart: Chart, identifier: str) -> str:
    """Return the chart as an `<svg>` element; `identifier` is unique in the page."""
    with style.context(["default", STYLE | {"svg.hashsalt": identifier}]):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        size = ((WIDTH - LEFT - RIGHT) / WIDTH, (HEIGHT - TOP - BOTTOM) / HEIGHT)
        axes = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, *size))
        _draw_axes(axes, chart)
        for series in chart.series:
            _draw_series(axes, series)
        if chart.line is not None:
            _draw_line(axes, *chart.line)
        svg = _page_svg(figure)
    notes = iter([f"{series.name}, {point.note}" for series in chart.series for point in series.points])
    for element in svg.iter():
        if element.get("class", "").startswith("mark"):
            _add_text(element, "title", next(notes))
    svg.set("role", "img")
    svg.set("aria-labelledby", f"{identifier}-t {identifier}-d")
    _add_text(svg, "desc", chart.description, f"{identifier}-d")
    _add_text(svg, "title", chart.title, f"{identifier}-t")
    return ElementTree.tostring(svg, encoding="unicode")


def draw_swatch(style_number: int) -> str:
    """Return a method's line and marker as a small `<svg>` element for the legend."""
    width, height = SWATCH
    with style.context(["default", STYLE | {"svg.hashsalt": f"swatch{style_number}"}]):
        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(0, height))
        look = look_of(style_number)
        _curve(axes, [1, width - 1], [height / 2, height / 2], look)
        _mark(axes, width / 2, height / 2, look, passed=True)
        svg = _page_svg(figure)
    svg.set("aria-hidden", "true")
    return ElementTree.tostring(svg, encoding="unicode")


def _draw_axes(axes: Axes, chart: Chart) -> None:
    """Scales, ticks, labels and the grid."""
    numbers = [*chart.y_includes, *(number for series in chart.series for number in _numbers(series.points))]
    numbers += [chart.line[0]] if chart.line else []
    low, high = min(numbers), max(numbers)
    first, last = chart.x_ticks[0][0], chart.x_ticks[-1][0]
    axes.set_xscale("log" if chart.x_log else "linear")
    axes.set_xlim((first / 1.15, last * 1.15) if chart.x_log else (first - 0.4, last + 0.4))
    evenly_spaced = MaxNLocator(6, steps=[1, 2, 5, 10])
    if chart.y_log:
        margin = max((high / low) ** MARGIN, 1.01)
        axes.set_yscale("log")
        axes.set_ylim(low / margin, high * margin)
        steps = (1.0, 2.0, 5.0) if high / low < WIDE else (1.0,)
        axes.yaxis.set_major_locator(evenly_spaced if high / low < NARROW else LogLocator(subs=steps, numticks=9))
    else:
        margin = (high - low or 1.0) * MARGIN
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(evenly_spaced)
    axes.yaxis.set_major_formatter(FuncFormatter(_tick_text))
    axes.set_xticks([position for position, _ in chart.x_ticks], list(_apart(axes, chart.x_ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.yaxis.set_label_coords(-33 / (WIDTH - LEFT - RIGHT), 0.5)


def _tick_text(number: float, _: int | None = None) -> str:
    """Return a number of at most five characters or so: `0.25`, `1000`, `1e5`."""
    text = f"{number:.6g}" if abs(number) < 1e4 else f"{number:.3g}"
    return EXPONENT.sub(r"e\1", text)


def _apart(axes: Axes, ticks: Sequence[tuple[float, str]]) -> Iterator[str]:
    """Yield the labels, empty where one would run into the one before."""
    last = -math.inf
    for position, text in ticks:
        across = float(axes.transData.transform((position, 1))[0])
        fits = across - last >= max(TICK_DISTANCE, 7 * len(text) + 4)
        last = across if fits else last
        yield text if fits else ""


def _numbers(points: Iterable[Point]) -> Iterator[float]:
    for point in points:
        yield from (number for number in (point.y, point.low, point.high) if number is not None)


def _draw_series(axes: Axes, series: Series) -> None:
    """Draw the band if every point has one, then the curve, then the markers."""
    look, points = look_of(series.style), series.points
    bands = [(point.x, point.low, point.high) for point in points if point.low is not None and point.high is not None]
    if len(bands) == len(points):
        if len(bands) == 1:  # a column as wide as a whisker
            x, low, high = bands[0]
            band: Artist = axes.plot([x, x], [low, high], color=look.color, linewidth=12, solid_capstyle="butt")[0]
        else:
            x_values, low_ends, high_ends = (list(values) for values in zip(*bands, strict=True))
            band = axes.fill_between(x_values, low_ends, high_ends, color=look.color, linewidth=0)
        band.set(alpha=0.14, zorder=2, gid="band")
    _curve(axes, [point.x for point in points], [point.y for point in points], look)
    for point in points:
        _mark(axes, point.x, point.y, look, passed=point.passed)


def _curve(axes: Axes, x_values: Sequence[float], y_values: Sequence[float], look: Look) -> None:
    (line,) = axes.plot(x_values, y_values, color=look.color, zorder=3, gid="curve")
    if look.dashes:
        line.set_dashes([length / CURVE_WIDTH for length in look.dashes])


def _mark(axes: Axes, x: float, y: float, look: Look, *, passed: bool) -> None:
    """Draw a marker, hollow unless the verdict passes."""
    (mark,) = axes.plot([x], [y], marker=look.marker, color=look.color)
    mark.set(zorder=4, gid="mark" if passed else "mark open")
    mark.set_markerfacecolor(look.color if passed else STAND_INS["paper"])


def _draw_line(axes: Axes, number: float, text: str) -> None:
    """Draw a horizontal line, its text below it, or above where the axis is near."""
    axes.axhline(number, color=STAND_INS["soft"], linewidth=1.2, dashes=(2.5, 2.5), zorder=2.5, gid="line")
    above = axes.transData.transform((1, number))[1] < BOTTOM + 2 * TICK_SIZE
    offset = (3, 4) if above else (3, -TICK_SIZE - 1)
    axes.annotate(text, (0, number), offset, axes.get_yaxis_transform(), "offset points", fontsize=TICK_SIZE)


def _page_svg(figure: Figure) -> ElementTree.Element:
    """Return the figure as an element for the page: classes instead of ids, the page's colors and font, no metadata."""
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    svg = ElementTree.fromstring(written.getvalue())  # noqa: S314 - matplotlib wrote it
    for child in list(svg):
        if child.tag.endswith(("metadata", "defs")):  # the latter are clip paths and a style sheet
            svg.remove(child)
    for element in svg.iter():
        element.tag = XML_NAMESPACE.sub("", element.tag)
        element.attrib = {XML_NAMESPACE.sub("", name): value for name, value in element.items() if name != "clip-path"}
        if element.tag == "g" and "id" in element.attrib:
            element.set("class", re.sub(r"_\d+$", "", element.attrib.pop("id")))
        if "style" in element.attrib:
            written_style = FONT_FAMILY.sub("", element.get("style", ""))
            element.set("style", STAND_IN.sub(lambda color: VARIABLES[color[0]], written_style))
    svg.attrib = {"viewBox": svg.get("viewBox", "")}
    return svg


def _add_text(element: ElementTree.Element, tag: str, text: str, identifier: str = "") -> None:
    child = ElementTree.Element(tag, {"id": identifier} if identifier else {})
    child.text = text
    element.insert(0, child)
