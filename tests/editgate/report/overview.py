"""One table for any number of methods: methods down, benchmarks across, in each cell the largest N that holds.

N holds where nothing failed up to it, neither news nor what is on record. The mark tells the worst that happened at any
N, so that a known failure at a small N never hides a new one at a larger N. Where there is only one N, a cell is the
retention there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from editgate.report.conclusion import NEW, Standing, standing
from editgate.report.presentation import AREAS, MARKS, NOTHING, entry_of
from editgate.report.trajectory_summary import by_trajectory, checks_in_order, short_names
from editgate.verdict.outcome import Cell

ENDS = frozenset({*NEW, Standing.KNOWN}) - {Standing.UNEXPECTED_PASS}
EXPLAINED = {
    "✗": "new failure",
    "!": "no verdict",
    "?": "too few items to decide, which fails",
    "·": "too few items to decide, which this run allows",
    "+": "on record as failing always, and passed",
    "k": "known failure, on record",
}


@dataclass(frozen=True)
class OverviewCell:
    """What one cell shows: a number, and what the worst of its verdicts is to the gate; None: nothing was judged."""

    value: str
    worst: Standing | None = None

    @property
    def mark(self) -> str:
        """A sign; empty where everything passes."""
        return "" if self.worst is None else MARKS.get(self.worst, "")


@dataclass(frozen=True)
class OverviewRow:
    """One method: its name, a cell per check, and one for all of them together."""

    name: str
    cells: tuple[OverviewCell, ...]
    total: OverviewCell


@dataclass(frozen=True)
class Overview:
    """The table.

    Attributes:
        caption: what a cell is.
        checks: benchmarks and qualities, safety first.
        rows: one per method; those with news first.
        counts: the Ns; with one of them, cells are retentions, and there is no column for all checks together.
    """

    caption: str
    checks: tuple[str, ...]
    rows: tuple[OverviewRow, ...]
    counts: tuple[int, ...]

    @property
    def marks(self) -> list[str]:
        """What the marks that occur mean, such as `✗ new failure`."""
        used = {cell.mark for row in self.rows for cell in (*row.cells, row.total)}
        return [f"{mark} {meaning}" for mark, meaning in EXPLAINED.items() if mark in used]


def overview(cells: Iterable[Cell]) -> Overview | None:
    """Return the table; None where no benchmark and no quality was asked."""
    known = list(cells)
    judged = [cell for cell in known if cell.area in AREAS]
    if not judged:
        return None
    checks = [check for area in AREAS for check in checks_in_order(cell for cell in judged if cell.area == area)]
    counts = tuple(sorted({cell.edits for cell in judged}))
    groups = by_trajectory(cell for cell in known if cell.area in {*AREAS, "integrity"})
    names = short_names(groups)
    rows = [_row(names[trajectory], found, checks, alone=len(counts) == 1) for trajectory, found in groups.items()]
    rows.sort(key=lambda row: (row.total.worst not in NEW, row.name))
    return Overview(_caption(judged, counts), tuple(checks), tuple(rows), counts)


def _row(name: str, cells: Sequence[Cell], checks: Sequence[str], *, alone: bool) -> OverviewRow:
    judged = [cell for cell in cells if cell.area in AREAS]
    counts = sorted({cell.edits for cell in judged})
    by_check = {check: {cell.edits: cell for cell in judged if cell.check == check} for check in checks}
    shown = []
    for found in by_check.values():
        worst = _worst(found.values())
        if alone:
            entry = entry_of(next(iter(found.values()), None))
            shown.append(OverviewCell(entry.value, worst if entry.value != NOTHING else None))
        else:
            shown.append(OverviewCell(_holds(found, counts) if found else NOTHING, worst))
    asked = [
        found for found in by_check.values() if any(standing(cell) is not Standing.SKIPPED for cell in found.values())
    ]
    least = min((int(_holds(found, counts)) for found in asked), default=None)
    return OverviewRow(name, tuple(shown), OverviewCell(NOTHING if least is None else str(least), _worst(cells)))


def _holds(found: dict[int, Cell], counts: Sequence[int]) -> str:
    """Return the largest N up to which nothing failed; an N at which it was not asked does not hold."""
    largest = 0
    for count in counts:
        if count not in found or standing(found[count]) in ENDS:
            break
        largest = count
    return str(largest)


def _worst(cells: Iterable[Cell]) -> Standing | None:
    return min((standing(cell) for cell in cells), key=list(Standing).index, default=None)


def _caption(cells: Sequence[Cell], counts: Sequence[int]) -> str:
    if any(cell.external for cell in cells):
        return "retention: 1.00 keeps all of the lead over guessing; of efficacy, paraphrase, locality: the share"
    if len(counts) == 1:
        return f"retention at N = {counts[0]}: 1.00 keeps all of the lead over guessing; of the qualities: the share"
    judged = ", ".join(map(str, counts))
    return f"the largest N that holds, of N = {judged}: nothing failed up to it; 'all' is the least of its row"
