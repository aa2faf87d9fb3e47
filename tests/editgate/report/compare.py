"""What changed since an earlier report: edit budgets, outcomes, and values that moved beyond both bands."""

from __future__ import annotations

from collections.abc import Sequence

from editgate.report.conclusion import NEW, standing
from editgate.report.run_report import RunReport
from editgate.verdict.outcome import Cell

CellKey = tuple[str, str, int]  # trajectory, check, N


def changes(old: RunReport, new: RunReport) -> list[str]:
    """Return one line per change, edit budgets first; a single line if nothing changed.

    A value moved if each of the two lies outside the other's band. Cells that only one report has are counted, not
    compared.
    """
    before, after = _by_key(old), _by_key(new)
    in_both = [key for key in after if key in before]
    lines = [f"different conditions, {difference}" for difference in new.subject.differences(old.subject)]
    lines += _budget_changes(old, new)
    changed = [(key, line) for key in in_both for line in _cell_changes(key, before[key], after[key])]
    changed.sort(key=lambda each: standing(after[each[0]]) not in NEW)  # what fails now comes first
    lines += [line for _, line in changed]
    if not in_both:
        lines.append("the reports share no trajectory, benchmark and N: nothing to compare")
    elif lines:
        lines.insert(0, _failures_since(old, [(before[key], after[key]) for key in in_both]))
    else:
        lines.append(f"no verdict, budget or retention changed ({len(in_both)} cells compared)")
    for where, keys in (
        ("the earlier report", before.keys() - after.keys()),
        ("this run", after.keys() - before.keys()),
    ):
        if keys:
            trajectories = ", ".join(sorted({trajectory for trajectory, _, _ in keys}))
            cells = "1 cell" if len(keys) == 1 else f"{len(keys)} cells"
            lines.append(f"only in {where}: {cells} ({trajectories})")
    return lines


def _failures_since(old: RunReport, cells: Sequence[tuple[Cell, Cell]]) -> str:
    """Return how many cells fail now and did not, and the other way round: what a reader wants to know first."""
    fails = [(standing(before) in NEW, standing(after) in NEW) for before, after in cells]
    new, gone = fails.count((False, True)), fails.count((True, False))
    failures = "1 new failure" if new == 1 else f"{new} new failures"
    no_longer = "1 no longer fails" if gone == 1 else f"{gone} no longer fail"
    return f"since the report of {old.created}: {failures}, {no_longer}"


def _by_key(report: RunReport) -> dict[CellKey, Cell]:
    return {(cell.trajectory, cell.check, cell.edits): cell for cell in report.cells}


def _budget_changes(old: RunReport, new: RunReport) -> list[str]:
    before = {summary.trajectory: summary.headline for summary in old.budgets}
    return [
        f"{summary.trajectory}: edit budget was {before[summary.trajectory]}, is {summary.headline}"
        for summary in new.budgets
        if before.get(summary.trajectory, summary.headline) != summary.headline
    ]


def _cell_changes(key: CellKey, old: Cell, new: Cell) -> list[str]:
    trajectory, check, edits = key
    name = f"{trajectory}: {check}" + (f" after {edits}" if edits and not new.external else "")
    values = "" if old.value is None or new.value is None else f" ({old.value:.2f} -> {new.value:.2f})"
    was, now = ("collapse" if cell.collapse else str(cell.outcome) for cell in (old, new))
    if old.outcome != new.outcome or bool(old.collapse) != bool(new.collapse):
        return [f"{name}: was {was}, is {now}{values}"]
    if _outside(old, new) and _outside(new, old):
        return [f"{name}: moved beyond both bands{values}"]
    return []


def _outside(one: Cell, other: Cell) -> bool:
    """Whether one value lies outside the other's band; False where the value or the band is unknown."""
    if one.value is None or other.low is None or other.high is None:
        return False
    return not other.low <= one.value <= other.high
