"""A chart as inline SVG: lines, bands and markers at their places; colors and dashes are the style sheet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editgate.report.html.charts import Chart, Point, Series
from editgate.report.html.scales import Axis

WIDTH, HEIGHT = 360, 250  # of a phone: text is as large as the page's there
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 44
COLORS = 8
MARKERS = (
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",  # circle
    "M-3.2-3.2h6.4v6.4h-6.4z",  # square
    "M0-4.2L4 3H-4z",  # triangle
    "M0-4.4L4.4 0L0 4.4L-4.4 0z",  # diamond
    "M0 4.2L4-3H-4z",  # triangle on its head
    "M-1.4-4h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",  # cross
)
DASHES = ("", "6 3", "2 2.5", "8 3 2 3", "12 3")
LETTER = 11  # height of a label
LABEL = 26  # least distance of two tick labels across


@dataclass(frozen=True)
class Look:
    """How one method is told from the others without color, and with it."""

    color: int
    marker: str
    dash: str


@dataclass(frozen=True)
class Curve:
    """A series in the drawing's coordinates; `band` is a closed path, empty if there is no band."""

    name: str
    look: Look
    path: str
    band: str
    marks: tuple[tuple[float, float, bool, str], ...]


@dataclass(frozen=True)
class Drawing:
    """What the template needs, in pixels of a WIDTH x HEIGHT picture."""

    chart: Chart
    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    line: tuple[float, float, str] | None


def look_of(style: int) -> Look:
    """Return the look of the method with this number; 120 of them differ."""
    return Look(style % COLORS, MARKERS[style % len(MARKERS)], DASHES[style % len(DASHES)])


def draw(chart: Chart) -> Drawing:
    """Place everything."""
    line = None if chart.line is None else _line(chart.y, *chart.line)
    return Drawing(
        chart=chart,
        curves=tuple(_curve(chart, series) for series in chart.series),
        x_ticks=_apart([(_across(chart.x, number), text) for number, text in chart.x.ticks]),
        y_ticks=tuple((_up(chart.y, number), text) for number, text in chart.y.ticks),
        line=line,
    )


def _line(axis: Axis, number: float, text: str) -> tuple[float, float, str]:
    """The line's height, its text's, and the text: below the line, or above where the axis is near."""
    place = _up(axis, number)
    return place, place - 4 if place > HEIGHT - BOTTOM - 2 * LETTER else place + LETTER, text


def _curve(chart: Chart, series: Series) -> Curve:
    marks = tuple((*_at(chart, p.x, p.y), p.passed, f"{series.name}, {p.note}") for p in series.points)
    path = "M" + "L".join(f"{x} {y}" for x, y, *_ in marks)
    return Curve(series.name, look_of(series.style), path, _band(chart, series.points), marks)


def _band(chart: Chart, points: Sequence[Point]) -> str:
    """Along the upper ends and back along the lower ones; a single point has whiskers instead."""
    ends = [(p.x, p.low, p.high) for p in points if p.low is not None and p.high is not None]
    if not ends or len(ends) < len(points):
        return ""
    there = [_at(chart, x, high) for x, _, high in ends]
    back = [_at(chart, x, low) for x, low, _ in reversed(ends)]
    if len(ends) == 1:
        (x, top), (_, bottom) = there[0], back[0]
        return f"M{x - 6} {top}h12v{round(bottom - top, 1)}h-12z"
    return "M" + "L".join(f"{x} {y}" for x, y in (*there, *back)) + "z"


def _at(chart: Chart, x: float, y: float) -> tuple[float, float]:
    return _across(chart.x, x), _up(chart.y, y)


def _across(axis: Axis, number: float) -> float:
    return round(LEFT + axis.place(number) * (WIDTH - LEFT - RIGHT), 1)


def _up(axis: Axis, number: float) -> float:
    return round(HEIGHT - BOTTOM - axis.place(number) * (HEIGHT - TOP - BOTTOM), 1)


def _apart(ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Leave out the texts that would run into the one before; their ticks stay."""
    kept: list[tuple[float, str]] = []
    last = float("-inf")
    for place, text in ticks:
        fits = place - last >= max(LABEL, 7 * len(text) + 4)
        kept.append((place, text if fits else ""))
        last = place if fits else last
    return tuple(kept)
