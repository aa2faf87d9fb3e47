"""Draws charts with matplotlib: few methods in one panel with labels at their ends, many in a panel each.

A panel of many shows its own method in color and the others behind it in gray. All sizes are in pixels of a phone 360
wide, which are points here: text is as large as the page's there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from editgate import inert
from editgate.report.html.charts import Chart, Point, Series
from editgate.report.html.looks import Look, Palette, look_of

FEW = 4  # methods in one panel: more bands and labels cover each other
COLUMNS = 3  # of panels
WIDTH, PLOT_HEIGHT, PANEL_HEIGHT = 360, 196, 56
LEFT, TOP, BOTTOM, TITLE, NOTE, GAP = 42, 28, 40, 20, 16, 22
LABEL, SWATCH, LINE = 14, 20, 13  # characters of a label, its sample of the curve, its height
LETTER = 5.9  # width of one on average
CURVE_WIDTH = 1.9
TEXT_SIZE = 10.5
OVERHANG = 8  # of a label across, beyond its panel
NARROW = 6.0  # below this ratio a logarithmic axis has evenly spaced ticks
WIDE = 1e3  # above it only powers of ten
MARGIN = 0.03  # of the axis, beyond the outermost numbers
NO_XML = re.compile("[\ufffe\uffff]")
EXPONENT = re.compile(r"e\+?(-?)0*")
FONTS = ["DejaVu Sans", "sans-serif"]


@dataclass(frozen=True)
class Area:
    """Where the panels are: pixels from the left and from the bottom."""

    left: float
    bottom: float
    width: float
    height: float


def plot_area(chart: Chart) -> Area:
    """Return the rectangle that holds every panel; the labels of few methods stand to the right of it."""
    if len(chart.series) > FEW:
        rows = math.ceil(len(chart.series) / COLUMNS)
        return Area(LEFT, BOTTOM + _extra(chart), WIDTH - LEFT - 8, rows * PANEL_HEIGHT + (rows - 1) * GAP)
    longest = max([len(_short(series.label or series.name)) for series in chart.series] + [_line_length(chart)])
    return Area(LEFT, BOTTOM + _extra(chart), WIDTH - LEFT - longest * LETTER - SWATCH - 18, PLOT_HEIGHT)


def build(chart: Chart, colors: Palette, *, alone: bool = False) -> Figure:
    """Return the chart as a figure.

    Args:
        chart: what is drawn.
        colors: by name, as in the style sheet.
        alone: the figure leaves the page, and has its title and what its marks mean in itself.
    """
    area = plot_area(chart)
    many = len(chart.series) > FEW
    height = area.bottom + area.height + TOP + (LINE if many else 0)
    below, above = (NOTE, TITLE) if alone else (0, 0)
    whole = height + below + above
    with style.context(["default", _style(colors)]):
        figure = Figure(figsize=(WIDTH / 72, whole / 72))
        canvas = _Canvas(figure, WIDTH, whole, below, colors)
        canvas.text(8, height - 13, chart.y_label, color=colors["ink"])
        canvas.text(area.left + area.width / 2, 5, chart.x_label, align="center", color=colors["ink"])
        if many:
            _draw_panels(canvas, chart, area)
        else:
            _draw_panel(canvas, chart, area)
        if alone:
            canvas.text(8, height + 4, chart.title, color=colors["ink"], weight="bold")
            canvas.text(8, 4 - below, _meaning(chart), color=colors["soft"], size=8)
    return figure


class _Canvas:
    """A figure in which places are given in pixels from the lower left, whatever its resolution."""

    def __init__(self, figure: Figure, width: float, height: float, below: float, colors: Palette) -> None:
        self.figure, self.width, self.height, self.below, self.colors = figure, width, height, below, colors

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Return new axes in this rectangle."""
        place = (left / self.width, (bottom + self.below) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place)

    def text(
        self, x: float, y: float, text: str, *, color: str, align: str = "left", size: float = TEXT_SIZE,
        weight: str = "normal", middle: bool = False,
    ) -> None:  # fmt: skip
        """Write a text whose base line, or middle, is at this height."""
        self.figure.text(
            x / self.width, (y + self.below) / self.height, drawable(text), color=color, ha=align, size=size,
            weight=weight, va="center_baseline" if middle else "baseline",
        )  # fmt: skip

    def sample(self, x: float, y: float, look: Look) -> None:
        """Draw a piece of a method's curve with its marker."""
        at = (y + self.below) / self.height
        color = self.colors[look.color]
        line = Line2D([x / self.width, (x + SWATCH - 4) / self.width], [at, at], color=color, gid="sample")
        _dash(line, look)
        mark = Line2D([(x + SWATCH / 2 - 2) / self.width], [at], marker=look.marker, color=color, markersize=6)
        mark.set_gid("sample")
        for artist in (line, mark):
            self.figure.add_artist(artist)

    def height_of(self, axes: Axes, number: float) -> float:
        """Return where a number of the vertical axis is."""
        display = axes.transData.transform((axes.get_xlim()[0], number))
        return float(self.figure.transFigure.inverted().transform(display)[1]) * self.height - self.below


def _style(colors: Palette) -> dict[str, str | float | bool | list[str]]:
    return {
        "font.family": FONTS,
        "text.parse_math": False,
        "figure.dpi": 72,
        "font.size": TEXT_SIZE,
        "text.color": colors["soft"],
        "axes.edgecolor": colors["soft"],
        "axes.linewidth": 1,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.facecolor": "none",
        "grid.color": colors["rule"],
        "grid.linewidth": 1,
        "xtick.color": colors["soft"],
        "xtick.labelsize": TEXT_SIZE,
        "xtick.major.size": 4,
        "xtick.major.width": 1,
        "ytick.color": colors["soft"],
        "ytick.labelsize": TEXT_SIZE,
        "ytick.major.size": 0,
        "lines.linewidth": CURVE_WIDTH,
        "lines.markersize": 7,
        "lines.markeredgewidth": 1.4,
    }


def _draw_panel(canvas: _Canvas, chart: Chart, area: Area) -> None:
    """Draw few methods: curves and bands in one panel, each named at its right end."""
    axes = canvas.axes(area.left, area.bottom, area.width, area.height)
    _draw_axes(axes, chart, area.width, ticks=6)
    labels: list[tuple[float, str, Look | None]] = []
    if chart.line is not None:
        _draw_line(axes, chart.line[0], canvas.colors)
        labels.append((canvas.height_of(axes, chart.line[0]), chart.line[1], None))
    for series in chart.series:
        _draw_series(axes, series, canvas.colors, size=7)
        name = _short(series.label or series.name)
        labels.append((canvas.height_of(axes, series.points[-1].y), name, look_of(series.style)))
    right = area.left + area.width + 6
    heights = _spread([height for height, _, _ in labels], area.bottom, area.bottom + area.height)
    for (_, text, look), height in zip(labels, heights, strict=True):
        if look is None:
            canvas.text(right, height, text, color=canvas.colors["soft"], middle=True)
        else:
            canvas.sample(right, height, look)
            canvas.text(right + SWATCH, height, text, color=canvas.colors["ink"], middle=True)


def _draw_panels(canvas: _Canvas, chart: Chart, area: Area) -> None:
    """Draw many methods: each in a panel of its own, named above it, with all others in gray behind."""
    width = (area.width - (COLUMNS - 1) * 10) / COLUMNS
    for index, series in enumerate(chart.series):
        row, column = divmod(index, COLUMNS)
        left = area.left + column * (width + 10)
        bottom = area.bottom + area.height - row * (PANEL_HEIGHT + GAP) - PANEL_HEIGHT
        axes = canvas.axes(left, bottom, width, PANEL_HEIGHT)
        _draw_axes(axes, chart, width, ticks=3)
        axes.tick_params(labelleft=column == 0, labelbottom=index + COLUMNS >= len(chart.series))
        if chart.line is not None:
            _draw_line(axes, chart.line[0], canvas.colors)
        others = [[(point.x, point.y) for point in other.points] for other in chart.series if other is not series]
        behind = LineCollection(others, colors=canvas.colors["rule"], linewidths=1, zorder=1.5)
        axes.add_collection(behind, autolim=False)
        _draw_series(axes, series, canvas.colors, size=5)
        canvas.sample(left, bottom + PANEL_HEIGHT + 9, look_of(series.style))
        name = _short(series.label or series.name)
        canvas.text(left + SWATCH, bottom + PANEL_HEIGHT + 9, name, color=canvas.colors["ink"], middle=True)


def _draw_axes(axes: Axes, chart: Chart, width: float, *, ticks: int) -> None:
    """Scales, ticks and the grid."""
    numbers = [*chart.y_includes, *(point.y for series in chart.series for point in series.points)]
    numbers += [chart.line[0]] if chart.line else []
    if not chart.y_includes:
        numbers += [end for series in chart.series for point in series.points for end in _band(point)]
    low, high = min(numbers), max(numbers)
    first, last = chart.x_ticks[0][0], chart.x_ticks[-1][0]
    axes.set_xscale("log" if chart.x_log else "linear")
    axes.set_xlim((first / 1.15, last * 1.15) if chart.x_log else (first - 0.6, last + 0.6))
    evenly_spaced = MaxNLocator(ticks, steps=[1, 2, 5, 10])
    if chart.y_log:
        margin = max((high / low) ** MARGIN, 1.01)
        axes.set_yscale("log")
        axes.set_ylim(low / margin, high * margin)
        steps = (1.0, 2.0, 5.0) if high / low < WIDE and ticks > FEW else (1.0,)
        logarithmic = LogLocator(subs=steps, numticks=ticks + 3 if ticks > FEW else ticks)
        axes.yaxis.set_major_locator(evenly_spaced if high / low < NARROW else logarithmic)
    else:
        margin = (high - low or 1.0) * MARGIN
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(evenly_spaced)
    axes.yaxis.set_major_formatter(FuncFormatter(_tick_text))
    axes.set_xticks([position for position, _ in chart.x_ticks], _apart(axes, chart.x_ticks, width))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())


def _tick_text(number: float, _: int | None = None) -> str:
    """Return a number of at most five characters or so: `0.25`, `1000`, `1e5`."""
    text = f"{number:.6g}" if abs(number) < 1e4 else f"{number:.3g}"
    return EXPONENT.sub(r"e\1", text)


def _apart(axes: Axes, ticks: Sequence[tuple[float, str]], width: float) -> list[str]:
    """Return the labels, empty where one would run into another; the first and the last come first."""
    to_axes = axes.transData + axes.transAxes.inverted()
    labels, taken = [""] * len(ticks), list[tuple[float, float]]()
    for index in sorted(range(len(ticks)), key=lambda index: (index not in {0, len(ticks) - 1}, index)):
        position, text = ticks[index]
        across = float(to_axes.transform((position, axes.get_ylim()[0]))[0]) * width
        half = (max(map(len, text.split("\n"))) * LETTER + 6) / 2
        inside = across - half >= -OVERHANG and across + half <= width + OVERHANG
        if inside and all(across - half >= end or across + half <= start for start, end in taken):
            labels[index] = text
            taken.append((across - half, across + half))
    return labels


def _band(point: Point) -> list[float]:
    return [] if point.low is None or point.high is None else [point.low, point.high]


def _draw_series(axes: Axes, series: Series, colors: Palette, *, size: float) -> None:
    """Draw the band if every point has one, then the curve, then the markers."""
    look, points = look_of(series.style), series.points
    color = colors[look.color]
    bands = [(point.x, *_band(point)) for point in points if _band(point)]
    if len(bands) == len(points):
        lowest, highest = axes.get_ylim()
        cut = [(x, max(low, lowest), min(high, highest)) for x, low, high in bands]
        if len(cut) == 1:  # a column as wide as a whisker
            x, low, high = cut[0]
            drawn: Artist = axes.plot([x, x], [low, high], color=color, linewidth=12, solid_capstyle="butt")[0]
        else:
            x_values, low_ends, high_ends = (list(values) for values in zip(*cut, strict=True))
            drawn = axes.fill_between(x_values, low_ends, high_ends, color=color, linewidth=0)
        drawn.set(alpha=0.14, zorder=2, gid="band")
    (line,) = axes.plot([p.x for p in points], [p.y for p in points], color=color, zorder=3, gid="curve")
    _dash(line, look)
    for point in points:
        (mark,) = axes.plot([point.x], [point.y], marker=look.marker, markersize=size, color=color, clip_on=False)
        mark.set(zorder=4, gid="mark" if point.passed else "mark open")
        mark.set_markerfacecolor(color if point.passed else colors["paper"])


def _dash(line: Line2D, look: Look) -> None:
    if look.dashes:
        line.set_dashes([length / CURVE_WIDTH for length in look.dashes])


def _draw_line(axes: Axes, number: float, colors: Palette) -> None:
    axes.axhline(number, color=colors["soft"], linewidth=1.2, dashes=(2.5, 2.5), zorder=2.5, gid="line")


def _spread(heights: Sequence[float], lowest: float, highest: float) -> list[float]:
    """Return the heights moved apart until no two labels touch, within the panel."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed = [min(max(heights[index], lowest), highest) for index in order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + LINE)
    top = highest
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], top)
        top = placed[index] - LINE
    return [placed[order.index(index)] for index in range(len(heights))]


def _short(text: str) -> str:
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def _line_length(chart: Chart) -> int:
    """Characters of the line's label, less those for which the missing sample leaves room."""
    return 0 if chart.line is None else max(len(chart.line[1]) - int(SWATCH / LETTER), 0)


def _extra(chart: Chart) -> float:
    """Height of a second row of labels below the axis."""
    return LINE if any("\n" in text for _, text in chart.x_ticks) else 0


def _meaning(chart: Chart) -> str:
    """Return what a figure needs beside its title to be understood alone: the model, marks, band and line."""
    points = [point for series in chart.series for point in series.points]
    models = {series.name.removeprefix(series.label).removeprefix("-") for series in chart.series if series.label}
    parts = [model for model in models if model and len(models) == 1]
    parts += ["hollow: does not pass"] if any(not point.passed for point in points) else []
    parts += ["band: between two one-sided 95 % bounds"] if any(_band(point) for point in points) else []
    parts += [f"dotted: {chart.line[1]}"] if chart.line and len(chart.series) > FEW else []
    return "; ".join(parts)


def drawable(text: str) -> str:
    """Return a text without signs that act, or that an SVG cannot hold."""
    return NO_XML.sub("\ufffd", inert.html(text))


def texts_of(chart: Chart) -> Iterable[str]:
    """Yield each point in words, in the order in which their markers are drawn."""
    return (f"{series.name}, {point.note}" for series in chart.series for point in series.points)
