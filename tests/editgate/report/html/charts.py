"""Which curves a report shows: one chart per benchmark with all methods in it, as the paper's figures 2 to 6."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from editgate.inputs.benchmarks import ALL
from editgate.measure.edit_quality import KINDS
from editgate.report.conclusion import standing
from editgate.report.data.overview import method_names
from editgate.report.data.tables import DataTable, Value
from editgate.report.presentation import band_of
from editgate.report.trajectory_summary import by_trajectory, checks_in_order
from editgate.verdict.failure_message import GROWN
from editgate.verdict.outcome import Age, Cell, Outcome

EDITS = "edits applied (N, log scale)"
RETENTION = "retention (1: all, 0: guessing)"
SHARE = "share of prompts, after all N"
NORM = "norm / norm before (log scale)"
PERPLEXITY = "perplexity per token (log scale)"
SMALLEST_NORM_RATIO = 1e-6  # where a weight of norm zero is drawn
NO_EDITS = 0.5  # where N = 0 is drawn on the logarithmic axis
FEWEST = 2  # edits of one age: the share of a single edit is 0 or 1 and says nothing
BAND_ENDS = (-0.5, 1.5)  # bands widen a shared axis up to here; what is beyond is cut off, points never are
WHY_NORMS_GROW = (
    "A norm that grew many times is not yet damage. ROME and its kin compute an update in closed form, and divide by "
    "the covariance of ordinary keys. Directions that ordinary text hardly uses get the largest share: there the "
    "update can be a thousand times the matrix, while ordinary prompts see little of it. Small models have many such "
    "directions. Whether it hurt is what retention says; a norm that grows with every edit often comes before a "
    "collapse."
)


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
        data: the number's row in the table beside the chart.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    passed: bool
    note: str
    data: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Series:
    """One method's curve; `style` is the same number for the same method in all charts."""

    name: str
    style: int
    points: tuple[Point, ...]
    label: str = ""  # the name in short, for the figure


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
        name: of its files, without an ending.
        columns: heads of the table of its numbers.
        explanation: what a reader stumbles over, in words; empty if nothing.
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
    name: str = "chart"
    columns: tuple[str, ...] = ()
    explanation: str = ""

    @property
    def description(self) -> str:
        """The chart in words, for readers who cannot see it."""
        curves = [f"{series.name}: " + ", ".join(point.note for point in series.points) for series in self.series]
        return f"{self.y_label} against {self.x_label}. " + ". ".join(curves) + "."

    @property
    def table(self) -> DataTable:
        """Its numbers."""
        rows = tuple((series.name, *point.data) for series in self.series for point in series.points)
        return DataTable(self.name, self.title, ("method and model", *self.columns), rows)


def styles(cells: Iterable[Cell]) -> dict[str, int]:
    """Return each trajectory's style."""
    return {trajectory: index for index, trajectory in enumerate(by_trajectory(cells))}


def retention_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Return one chart per benchmark and quality, safety first, with all trajectories in each.

    The charts of a kind share one vertical axis: what fell most looks like it.
    """
    measured = [cell for cell in cells if cell.value is not None and math.isfinite(cell.value)]
    charts = []
    for group in (("safety", "capability"), ("quality",)):
        found = [cell for cell in measured if cell.area in group]
        charts += [
            _retention(cells, area, [cell for cell in found if cell.area == area and cell.check == check], found)
            for area in group
            for check in checks_in_order(cell for cell in found if cell.area == area)
        ]
    return charts


def checkpoint_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Return weight norms and perplexity along the trajectory, and efficacy by the age of the edit."""
    charts = (_norm_ratio(cells), _perplexity(cells), _efficacy_by_age(cells))
    return [chart for chart in charts if chart is not None]


def _retention(cells: Sequence[Cell], area: str, found: Sequence[Cell], group: Sequence[Cell]) -> Chart:
    check = found[0].check
    floors = {cell.floor for cell in found if cell.floor is not None}
    floor = floors.pop() if len(floors) == 1 else None
    title = ALL[check].title if check in ALL else check.capitalize() if check in KINDS else check
    lowest, highest = BAND_ENDS
    ends = [max(cell.low, lowest) for cell in group if cell.low is not None]
    ends += [min(cell.high, highest) for cell in group if cell.high is not None]
    values = [cell.value for cell in group if cell.value is not None]
    series = _series(cells, found, lambda cell: cell.value, verdicts=True)
    return Chart(
        title=f"{title} ({'edit quality' if area == 'quality' else area})",
        x_label=EDITS,
        x_ticks=_count_ticks(found),
        y_label=SHARE if area == "quality" else RETENTION,
        series=series,
        line=None if floor is None else (floor, f"floor {floor:.2g}"),
        y_includes=(min(0.0, *ends, *values), max(1.0, *ends, *values)),
        name=check,
        columns=("N", "value", "low", "high", "standing"),
    )


def _norm_ratio(cells: Sequence[Cell]) -> Chart | None:
    found = _one_per_checkpoint(cell for cell in cells if cell.norm_ratio)
    series = _series(cells, found, lambda cell: max(next(iter(cell.norm_ratio.values())), SMALLEST_NORM_RATIO))
    if not series:
        return None
    largest = max(point.y for each in series for point in each.points)
    return Chart(
        title="Norm of the edited weight that changed most",
        x_label=EDITS,
        x_ticks=_count_ticks(found),
        y_label=NORM,
        series=series,
        line=(1.0, "unedited"),
        y_log=True,
        name="norms",
        columns=("N", "norm after / before"),
        explanation=WHY_NORMS_GROW if largest >= GROWN else "",
    )


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
        name="perplexity",
        columns=("N", "perplexity"),
    )


def _efficacy_by_age(cells: Sequence[Cell]) -> Chart | None:
    """Return the share of edits that still take by their age; ages of a single edit are left out."""
    found = by_trajectory(cell for cell in cells if any(age.edits >= FEWEST for age in cell.efficacy_by_age))
    if not found:
        return None
    latest = {trajectory: max(of_it, key=lambda cell: cell.edits) for trajectory, of_it in found.items()}
    ages = {
        trajectory: [age for age in cell.efficacy_by_age if age.edits >= FEWEST] for trajectory, cell in latest.items()
    }
    classes = sorted({(age.first, age.last) for known in ages.values() for age in known})
    names = {(first, last): str(first) if first == last else f"{first}–{last}" for first, last in classes}
    style, labels = styles(cells), method_names(tuple(by_trajectory(cells)))
    series = []
    for trajectory, known in ages.items():
        points = tuple(_age_point(age, classes.index((age.first, age.last)), names) for age in known)
        series.append(Series(trajectory, style[trajectory], points, labels[trajectory]))
    sizes: dict[tuple[int, int], set[int]] = {}
    for age in (age for known in ages.values() for age in known):
        sizes.setdefault((age.first, age.last), set()).add(age.edits)
    ticks = tuple(
        (float(index), f"{names[ends]}\nn={'–'.join(map(str, sorted({min(sizes[ends]), max(sizes[ends])})))}")
        for index, ends in enumerate(classes)
    )
    return Chart(
        title=f"Efficacy by age of the edit, after {max(cell.edits for cell in latest.values())} edits",
        x_label="age: number of edits after it",
        x_ticks=ticks,
        y_label="share of edits that still take",
        series=tuple(series),
        x_log=False,
        y_includes=(0.0, 1.0),
        name="efficacy-by-age",
        columns=("age from", "age to", "edits", "still take", "share"),
    )


def _age_point(age: Age, position: int, names: dict[tuple[int, int], str]) -> Point:
    share = age.took / age.edits
    note = f"age {names[age.first, age.last]}: {age.took} of {age.edits}"
    data = (age.first, age.last, age.edits, age.took, share)
    return Point(position, share, None, None, passed=True, note=note, data=data)


def _series(
    cells: Sequence[Cell], found: Iterable[Cell], number: Callable[[Cell], float | None], *, verdicts: bool = False
) -> tuple[Series, ...]:
    """Return one curve per trajectory over N, with bands and outcomes if the numbers have verdicts."""
    style, labels = styles(cells), method_names(tuple(by_trajectory(cells)))
    series = []
    for trajectory, of_it in by_trajectory(found).items():
        points = []
        for cell in sorted(of_it, key=lambda cell: cell.edits):
            y = number(cell)
            if y is None or not math.isfinite(y):
                continue
            note = f"N = {cell.edits}: {y:.3g}"
            point = Point(_count_position(cell.edits), y, None, None, passed=True, note=note, data=(cell.edits, y))
            points.append(_judged(point, cell) if verdicts else point)
        if points:
            series.append(Series(trajectory, style[trajectory], tuple(points), labels[trajectory]))
    return tuple(series)


def _judged(point: Point, cell: Cell) -> Point:
    """Return the point with its band and its verdict."""
    band = f" ({band_of(cell)})" if band_of(cell) else ""
    return replace(
        point,
        low=cell.low,
        high=cell.high,
        passed=cell.outcome is Outcome.PASS,
        note=f"{point.note}{band}, {'collapse' if cell.collapse else cell.outcome}",
        data=(*point.data, cell.low, cell.high, standing(cell).value),
    )


def _one_per_checkpoint(cells: Iterable[Cell]) -> list[Cell]:
    """Return one cell per trajectory and N: each cell of a checkpoint has what is true of the checkpoint."""
    return list({(cell.trajectory, cell.edits): cell for cell in cells}.values())


def _count_ticks(cells: Iterable[Cell]) -> tuple[tuple[float, str], ...]:
    return tuple((_count_position(count), str(count)) for count in sorted({cell.edits for cell in cells}))


def _count_position(count: int) -> float:
    return max(float(count), NO_EDITS)
