"""The one table that is pasted: methods down, benchmarks across, each at the largest N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editgate.report import presentation
from editgate.report.conclusion import Standing, standing
from editgate.report.presentation import AREAS, NOTHING, entry_of
from editgate.report.run_report import RunReport
from editgate.report.trajectory_summary import TrajectorySummary, by_trajectory, checks_in_order
from editgate.verdict.outcome import Cell, Outcome

# Where a cell has room for words, and a reader cannot look up a sign.
MARKS = presentation.MARKS | {
    Standing.ALLOWED: "?",
    Standing.UNEXPECTED_PASS: "passes, on record as failing",
    Standing.KNOWN: "known",
}
KINDS = {
    Standing.COLLAPSE: "bad",
    Standing.REGRESSION: "bad",
    Standing.RULE_BROKEN: "bad",
    Standing.NOT_EVALUATED: "bad",
    Standing.UNDECIDED: "doubt",
    Standing.ALLOWED: "open",
    Standing.UNEXPECTED_PASS: "doubt",
    Standing.KNOWN: "known",
}


@dataclass(frozen=True)
class Field:
    """What one place of a table shows of a cell.

    Attributes:
        value: a number, or the word for why there is none.
        mark: what the number is to the gate, in a sign or words; empty for a plain pass.
        kind: bad, doubt, known, open or empty: what it looks like.
        band: of the value, such as `0.91 to 1.00`; empty if there is none.
        cell: what it shows; None where nothing was asked.
    """

    value: str
    mark: str = ""
    kind: str = ""
    band: str = ""
    cell: Cell | None = None


@dataclass(frozen=True)
class OverviewRow:
    """One method: its name, the N that is shown, its budget in short, and a field per check."""

    trajectory: str
    name: str
    edits: int
    budget: str
    rules_broken: tuple[str, ...]
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Overview:
    """The table; `areas` has one area per check."""

    checks: tuple[str, ...]
    areas: tuple[str, ...]
    rows: tuple[OverviewRow, ...]


def field_of(cell: Cell | None) -> Field:
    """Return what a table shows of a cell: a known failure says that it is known, and a pass says nothing of it."""
    if cell is None or cell.outcome is Outcome.SKIPPED:
        return Field(NOTHING, cell=cell)
    what, entry = standing(cell), entry_of(cell)
    return Field(entry.value, MARKS.get(what, ""), KINDS.get(what, ""), entry.band, cell)


def overview(report: RunReport) -> Overview:
    """Return the table, the method with the largest budget first."""
    judged = [cell for cell in report.cells if cell.area in AREAS]
    checks = [
        (check, area) for area in AREAS for check in checks_in_order(cell for cell in judged if cell.area == area)
    ]
    names = method_names(tuple(by_trajectory(judged)))
    summaries = {summary.trajectory: summary for summary in report.budgets}
    rows = []
    for trajectory, cells in by_trajectory(judged).items():
        edits = max(cell.edits for cell in cells)
        at_largest = {cell.check: cell for cell in cells if cell.edits == edits}
        summary = summaries.get(trajectory)
        fields = tuple(field_of(at_largest.get(check)) for check, _ in checks)
        broken = summary.rules_broken if summary else ()
        rows.append(OverviewRow(trajectory, names[trajectory], edits, _budget(summary), broken, fields))
    order = {
        name: (-each.budget, each.failed_at is not None and not each.undecided) for name, each in summaries.items()
    }
    rows.sort(key=lambda row: (*order.get(row.trajectory, (0, True)), row.trajectory))
    return Overview(tuple(check for check, _ in checks), tuple(area for _, area in checks), tuple(rows))


def _budget(summary: TrajectorySummary | None) -> str:
    """Return the edit budget in short: `5`, `≥ 10` where nothing ended it, or that it is undecided."""
    if summary is None or not summary.counts:
        return NOTHING
    if summary.undecided:
        return "undecided"
    return f"≥ {summary.budget}" if summary.failed_at is None else f"{summary.budget}"


def method_names(trajectories: Sequence[str]) -> dict[str, str]:
    """Return each trajectory's name without the model where all have the same: `memit` for `memit-llama-mini`."""
    ends = {name.partition("-")[2] for name in trajectories}
    if len(ends) != 1 or ends == {""}:
        return {name: name for name in trajectories}
    return {name: name.partition("-")[0] for name in trajectories}
