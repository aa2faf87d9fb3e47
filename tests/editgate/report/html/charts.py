"""Which curves a record holds: one chart a benchmark, the methods side by side in it: the paper's figures 2 to 6."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from editgate.inputs.benchmarks import ALL
from editgate.report.html.scales import Axis, class_axis, count_axis, linear_axis, log_axis
from editgate.report.presentation import AREAS
from editgate.report.trajectory_summary import checks_in_order
from editgate.verdict.outcome import Cell, Outcome

EDITS = "edits applied (N, log scale)"
RETENTION = "retention (1: all, 0: guessing)"
SHARE = "share of prompts, after all N"
NORM = "norm / norm before (log scale)"
VANISHED = 1e-6  # where a weight of norm zero lies on that scale


@dataclass(frozen=True)
class Point:
    """One measured number; `passed` decides how its marker is filled, `note` is for a pointer that rests on it."""

    x: float
    y: float
    low: float | None
    high: float | None
    passed: bool
    note: str


@dataclass(frozen=True)
class Series:
    """One method's curve; `style` is the same number for the same method in all charts."""

    name: str
    style: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """Everything that a drawing needs, and a table could be made of.

    Attributes:
        title: what is shown.
        x: the axis across.
        y: the axis up.
        series: the curves.
        line: a horizontal line, as (number, text); None if there is none.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    line: tuple[float, str] | None = None

    @property
    def description(self) -> str:
        """The chart in words, for who cannot see it."""
        told = [f"{s.name}: " + ", ".join(point.note for point in s.points) for s in self.series]
        return f"{self.y.label} against {self.x.label}. " + ". ".join(told) + "."


def retention_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Return one chart a benchmark and quality, safety first, with all trajectories in each."""
    rows = [
        (area, row)
        for area in AREAS
        for row in checks_in_order(cell for cell in cells if cell.area == area and cell.value is not None)
    ]
    return [_retention(cells, area, row) for area, row in rows]


def along_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Return weight norms and perplexity along the trajectory, and efficacy by the age of the edit."""
    charts = [_growth(cells), _perplexity(cells), _ages(cells)]
    return [chart for chart in charts if chart is not None]


def styles(cells: Iterable[Cell]) -> dict[str, int]:
    """Return each trajectory's style."""
    return {name: place for place, name in enumerate(sorted({cell.trajectory for cell in cells}))}


def _retention(cells: Sequence[Cell], area: str, row: str) -> Chart:
    found = [cell for cell in cells if cell.check == row and cell.value is not None]
    bands = [end for cell in found for end in (cell.low, cell.high, cell.value) if end is not None]
    floors = {cell.floor for cell in found if cell.floor is not None}
    title = ALL[row].title if row in ALL else row.capitalize()
    return Chart(
        title=f"{title} ({'edit quality' if area == 'quality' else area})",
        x=_counts(found),
        y=linear_axis(SHARE if area == "quality" else RETENTION, [0.0, 1.0, *bands]),
        series=_series(cells, found, lambda cell: cell.value, banded=True),
        line=(floors.pop(), "floor") if len(floors) == 1 else None,
    )


def _growth(cells: Sequence[Cell]) -> Chart | None:
    found = _one_each([cell for cell in cells if cell.norm_ratio])
    if not found:
        return None
    series = _series(cells, found, lambda cell: max(next(iter(cell.norm_ratio.values())), VANISHED))
    y = log_axis(NORM, [1.0, *(point.y for each in series for point in each.points)])
    return Chart("Norm of the edited weight that moved most", _counts(found), y, series, (1.0, "unedited"))


def _perplexity(cells: Sequence[Cell]) -> Chart | None:
    found = _one_each([cell for cell in cells if cell.perplexity is not None])
    if not found:
        return None
    series = _series(cells, found, lambda cell: cell.perplexity)
    before = {round(cell.perplexity_before, 6) for cell in found if cell.perplexity_before is not None}
    y = log_axis("perplexity per token (log scale)", [*before, *(p.y for each in series for p in each.points)])
    line = (before.pop(), "unedited") if len(before) == 1 else None
    return Chart("Perplexity of ordinary text", _counts(found), y, series, line)


def _ages(cells: Sequence[Cell]) -> Chart | None:
    latest: dict[str, Cell] = {}
    for cell in sorted((cell for cell in cells if cell.efficacy_by_age), key=lambda cell: cell.edits):
        latest[cell.trajectory] = cell
    if not latest:
        return None
    classes = sorted({(age.first, age.last) for cell in latest.values() for age in cell.efficacy_by_age})
    names = [str(first) if first == last else f"{first}–{last}" for first, last in classes]
    order = styles(cells)
    series = tuple(_by_age(name, order[name], cell, classes, names) for name, cell in sorted(latest.items()))
    x = class_axis("age: edits that came after it", names)
    y = linear_axis("share of edits that still take", [0.0, 1.0])
    most = max(cell.edits for cell in latest.values())
    return Chart(f"Efficacy by age of the edit, after {most} edits", x, y, series)


def _by_age(name: str, style: int, cell: Cell, classes: Sequence[tuple[int, int]], names: Sequence[str]) -> Series:
    points = []
    for age in cell.efficacy_by_age:
        place, share = classes.index((age.first, age.last)), age.took / age.edits
        note = f"age {names[place]}: {age.took} of {age.edits}"
        points.append(Point(place, share, None, None, passed=True, note=note))
    return Series(name, style, tuple(points))


def _series(
    cells: Sequence[Cell], found: Sequence[Cell], number: Callable[[Cell], float | None], *, banded: bool = False
) -> tuple[Series, ...]:
    """One curve a trajectory, over N; a point whose verdict is no pass is marked where there are verdicts."""
    curves: dict[str, list[Point]] = {}
    for cell in sorted(found, key=lambda cell: (cell.trajectory, cell.edits)):
        y = number(cell)
        if y is not None:
            curves.setdefault(cell.trajectory, []).append(_point(cell, y, banded=banded))
    order = styles(cells)
    return tuple(Series(name, order[name], tuple(points)) for name, points in curves.items())


def _point(cell: Cell, y: float, *, banded: bool) -> Point:
    note = f"N = {cell.edits}: {y:.3g}"
    if not banded:
        return Point(cell.edits, y, None, None, passed=True, note=note)
    if cell.low is not None and cell.high is not None:
        note += f" ({cell.low:.2f} to {cell.high:.2f})"
    note += f", {'collapse' if cell.collapse else cell.outcome}"
    return Point(cell.edits, y, cell.low, cell.high, passed=cell.outcome is Outcome.PASS, note=note)


def _one_each(cells: Sequence[Cell]) -> list[Cell]:
    """One cell a trajectory and N: what is true of the checkpoint stands in each of its cells."""
    return list({(cell.trajectory, cell.edits): cell for cell in cells}.values())


def _counts(cells: Sequence[Cell]) -> Axis:
    return count_axis(EDITS, sorted({cell.edits for cell in cells}))
