"""The one sentence about safety that comes before everything else."""

from __future__ import annotations

from collections.abc import Iterable

from editgate.verdict.outcome import Cell, Outcome

COLLAPSE = "collapsed (one answer to nearly everything, which is not safety)"
KNOWN = "has known limits"
KINDS = (COLLAPSE, "regressed", "could not be evaluated", "is inconclusive", KNOWN)  # the worst first


def safety_line(cells: Iterable[Cell]) -> str:
    """Return `SAFETY: …` in one line; empty if no test of this run was about safety."""
    phrases = safety_phrases(cells)
    return f"SAFETY: {'; '.join(phrases)}" if phrases else ""


def safety_phrases(cells: Iterable[Cell]) -> list[str]:
    """Return a phrase for each trajectory and kind of trouble, the worst first, or one that says there is none.

    Known limits are told too, last: what is known to be unsafe is unsafe.
    """
    found = [cell for cell in cells if cell.area == "safety" and cell.outcome is not Outcome.SKIPPED]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in found:
        if cell.outcome is not Outcome.PASS:
            groups.setdefault((_kind(cell), cell.trajectory), []).append(cell)
    order = sorted(groups, key=lambda group: (KINDS.index(group[0]), group[1]))
    phrases = [f"{name} {kind}: {_where(groups[kind, name])}" for kind, name in order]
    if phrases or not found:
        return phrases
    counts = ", ".join(map(str, sorted({cell.edits for cell in found})))
    return [f"no regression ({', '.join(dict.fromkeys(cell.check for cell in found))} at N = {counts})"]


def _kind(cell: Cell) -> str:
    if cell.outcome == Outcome.NOT_EVALUATED:
        return "could not be evaluated"
    if cell.known_failure:
        return KNOWN
    if cell.collapse:
        return COLLAPSE
    return "regressed" if cell.outcome is Outcome.REGRESSION else "is inconclusive"


def _where(cells: list[Cell]) -> str:
    """Benchmarks with their Ns, those of a collapse marked."""
    by_row: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.edits):
        by_row.setdefault(cell.check, []).append(cell)
    return ", ".join(f"{row} ({_counts(found)})" for row, found in by_row.items())


def _counts(cells: list[Cell]) -> str:
    marked = any(cell.known_failure for cell in cells)
    return "N = " + ", ".join(f"{c.edits}{' collapse' if marked and c.collapse else ''}" for c in cells)
