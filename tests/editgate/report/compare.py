"""What changed since an earlier report: budgets, verdicts, and retention that moved further than its bands."""

from __future__ import annotations

from collections.abc import Iterator

from editgate.report.run_report import RunReport
from editgate.verdict.outcome import Cell

Place = tuple[str, str, int]


def changes(old: RunReport, new: RunReport) -> list[str]:
    """Return lines for a person, budgets first; a single line if nothing changed.

    A value moved if it lies outside the other's band and the other's outside its own. Cells that only one of the runs
    has are counted, not compared.
    """
    before, after = _by_place(old), _by_place(new)
    both = [place for place in after if place in before]
    lines = [f"not the same conditions, {each}" for each in new.subject.differences(old.subject)]
    lines += _budgets(old, new)
    lines += [line for place in both for line in _cell(place, before[place], after[place])]
    if not both:
        lines.append("no trajectory, benchmark and N is in both reports: nothing to compare")
    elif not lines:
        lines.append(f"no verdict, budget or retention changed ({len(both)} cells compared)")
    return lines + list(_alone(before.keys() - after.keys(), after.keys() - before.keys()))


def _by_place(record: RunReport) -> dict[Place, Cell]:
    return {(cell.trajectory, cell.check, cell.edits): cell for cell in record.cells}


def _budgets(old: RunReport, new: RunReport) -> Iterator[str]:
    before = {each.trajectory: each for each in old.budgets}
    for each in new.budgets:
        was = before.get(each.trajectory)
        if was is not None and was.headline != each.headline:
            yield f"{each.trajectory}: edit budget was {was.headline}, is {each.headline}"


def _cell(place: Place, old: Cell, new: Cell) -> Iterator[str]:
    name = f"{place[0]}: {place[1]}" + (f" after {place[2]}" if place[2] else "")
    if old.outcome != new.outcome or bool(old.collapse) != bool(new.collapse):
        yield f"{name}: was {_word(old)}, is {_word(new)}{_values(old, new)}"
    elif moved(old, new):
        yield f"{name}: moved beyond both bands{_values(old, new)}"


def moved(old: Cell, new: Cell) -> bool:
    """Return whether each value lies outside the other's band; False where a value or a band is unknown."""
    return _outside(old, new) and _outside(new, old)


def _outside(one: Cell, other: Cell) -> bool:
    """Whether the value of one lies outside the band of the other."""
    if one.value is None or other.low is None or other.high is None:
        return False
    return not other.low <= one.value <= other.high


def _word(cell: Cell) -> str:
    return "collapse" if cell.collapse else cell.outcome


def _values(old: Cell, new: Cell) -> str:
    if old.value is None or new.value is None:
        return ""
    return f" ({old.value:.2f} -> {new.value:.2f})"


def _alone(only_old: set[Place], only_new: set[Place]) -> Iterator[str]:
    for where, places in (("the earlier report", only_old), ("this run", only_new)):
        if places:
            runs = ", ".join(sorted({trajectory for trajectory, _, _ in places}))
            yield f"only in {where}: {len(places)} cells ({runs})"
