"""Which curves a report shows: one chart per benchmark with all methods in it, as the paper's figures 2 to 6."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from editgate.inputs.benchmarks import ALL
from editgate.report.presentation import AREAS, band_of
from editgate.report.trajectory_summary import by_trajectory, checks_in_order
from editgate.verdict.outcome import Cell, Outcome

EDITS = "edits applied (N, log scale)"
RETENTION = "retention (1: all, 0: guessing)"
SHARE = "share of prompts, after all N"
NORM = "norm / norm before (log scale)"
PERPLEXITY = "perplexity per token (log scale)"
SMALLEST_NORM_RATIO = 1e-6  # where a weight of norm zero is drawn
NO_EDITS = 0.5  # where N = 0 is drawn on the logarithmic axis


@dataclass(frozen=True)
class Point:
    """One measured number.

    Attributes:
        x: where across.
        y: where up.
        low: lower end of the band; None if there is none.
        high: upper end of it.
        passed: the verdict passes, or there is none; else the marker is hollow.
        note: the number in words.
    """

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
    """Everything that a drawing needs.

    Attributes:
        title: what is shown.
        x_label: what is across.
        x_ticks: (position, text), ascending.
        y_label: what is up.
        series: the curves.
        line: a horizontal line, as (number, text); None if there is none.
        x_log: the horizontal axis is logarithmic; if not, it is one of classes.
        y_log: the vertical axis is logarithmic.
        y_includes: numbers that the vertical axis shows, whatever the points.
    """

    title: str
    x_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_label: str
    series: tuple[Series, ...]
    line: tuple[float, str] | None = None
    x_log: bool = True
    y_log: bool = False
    y_includes: tuple[float, ...] = ()

    @property
    def description(self) -> str:
        """The chart in words, for readers who cannot see it."""
        curves = [f"{series.name}: " + ", ".join(point.note for point in series.points) for series in self.series]
        return f"{self.y_label} against {self.x_label}. " + ". ".join(curves) + "."


def styles(cells: Iterable[Cell]) -> dict[str, int]:
    """Return each trajectory's style."""
    return {trajectory: index for index, trajectory in enumerate(by_trajectory(cells))}


def retention_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Return one chart per benchmark and quality, safety first, with all trajectories in each."""
    measured = [cell for cell in cells if cell.value is not None and math.isfinite(cell.value)]
    return [
        _retention(cells, area, [cell for cell in measured if cell.check == check])
        for area in AREAS
        for check in checks_in_order(cell for cell in measured if cell.area == area)
    ]


def checkpoint_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Return weight norms and perplexity along the trajectory, and efficacy by the age of the edit."""
    charts = (_norm_ratio(cells), _perplexity(cells), _efficacy_by_age(cells))
    return [chart for chart in charts if chart is not None]


def _retention(cells: Sequence[Cell], area: str, found: Sequence[Cell]) -> Chart:
    check = found[0].check
    floors = {cell.floor for cell in found if cell.floor is not None}
    title = ALL[check].title if check in ALL else check.capitalize()
    return Chart(
        title=f"{title} ({'edit quality' if area == 'quality' else area})",
        x_label=EDITS,
        x_ticks=_count_ticks(found),
        y_label=SHARE if area == "quality" else RETENTION,
        series=_series(cells, found, lambda cell: cell.value, verdicts=True),
        line=(floors.pop(), "floor") if len(floors) == 1 else None,
        y_includes=(0.0, 1.0),
    )


def _norm_ratio(cells: Sequence[Cell]) -> Chart | None:
    found = _one_per_checkpoint(cell for cell in cells if cell.norm_ratio)
    series = _series(cells, found, lambda cell: max(next(iter(cell.norm_ratio.values())), SMALLEST_NORM_RATIO))
    if not series:
        return None
    title = "Norm of the edited weight that changed most"
    return Chart(title, EDITS, _count_ticks(found), NORM, series, (1.0, "unedited"), y_log=True)


def _perplexity(cells: Sequence[Cell]) -> Chart | None:
    found = _one_per_checkpoint(cell for cell in cells if cell.perplexity is not None)
    series = _series(cells, found, lambda cell: cell.perplexity)
    if not series:
        return None
    unedited = {round(cell.perplexity_before, 6) for cell in found if cell.perplexity_before is not None}
    return Chart(
        title="Perplexity of ordinary text",
        x_label=EDITS,
        x_ticks=_count_ticks(found),
        y_label=PERPLEXITY,
        series=series,
        line=(min(unedited), "unedited") if len(unedited) == 1 else None,
        y_log=True,
        y_includes=tuple(sorted(unedited)),
    )


def _efficacy_by_age(cells: Sequence[Cell]) -> Chart | None:
    found = by_trajectory(cell for cell in cells if cell.efficacy_by_age)
    if not found:
        return None
    latest = {trajectory: max(of_it, key=lambda cell: cell.edits) for trajectory, of_it in found.items()}
    classes = sorted({(age.first, age.last) for cell in latest.values() for age in cell.efficacy_by_age})
    names = {ages: str(ages[0]) if ages[0] == ages[1] else f"{ages[0]}–{ages[1]}" for ages in classes}
    style = styles(cells)
    series = []
    for trajectory, cell in latest.items():
        points = []
        for age in cell.efficacy_by_age:
            ages = (age.first, age.last)
            note = f"age {names[ages]}: {age.took} of {age.edits}"
            points.append(Point(classes.index(ages), age.took / age.edits, None, None, passed=True, note=note))
        series.append(Series(trajectory, style[trajectory], tuple(points)))
    return Chart(
        title=f"Efficacy by age of the edit, after {max(cell.edits for cell in latest.values())} edits",
        x_label="age: number of edits after it",
        x_ticks=tuple((float(index), names[ages]) for index, ages in enumerate(classes)),
        y_label="share of edits that still take",
        series=tuple(series),
        x_log=False,
        y_includes=(0.0, 1.0),
    )


def _series(
    cells: Sequence[Cell], found: Iterable[Cell], number: Callable[[Cell], float | None], *, verdicts: bool = False
) -> tuple[Series, ...]:
    """Return one curve per trajectory over N, with bands and outcomes if the numbers have verdicts."""
    style = styles(cells)
    series = []
    for trajectory, of_it in by_trajectory(found).items():
        points = []
        for cell in sorted(of_it, key=lambda cell: cell.edits):
            y = number(cell)
            if y is None or not math.isfinite(y):
                continue
            x, note = _count_position(cell.edits), f"N = {cell.edits}: {y:.3g}"
            if verdicts:
                band = f" ({band_of(cell)})" if band_of(cell) else ""
                note += f"{band}, {'collapse' if cell.collapse else cell.outcome}"
                points.append(Point(x, y, cell.low, cell.high, passed=cell.outcome is Outcome.PASS, note=note))
            else:
                points.append(Point(x, y, None, None, passed=True, note=note))
        if points:
            series.append(Series(trajectory, style[trajectory], tuple(points)))
    return tuple(series)


def _one_per_checkpoint(cells: Iterable[Cell]) -> list[Cell]:
    """Return one cell per trajectory and N: each cell of a checkpoint has what is true of the checkpoint."""
    return list({(cell.trajectory, cell.edits): cell for cell in cells}.values())


def _count_ticks(cells: Iterable[Cell]) -> tuple[tuple[float, str], ...]:
    return tuple((_count_position(count), str(count)) for count in sorted({cell.edits for cell in cells}))


def _count_position(count: int) -> float:
    return max(float(count), NO_EDITS)
