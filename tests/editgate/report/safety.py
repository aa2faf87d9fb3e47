"""The one sentence about safety that comes before everything else."""

from __future__ import annotations

from collections.abc import Iterable

from editgate.verdict.outcome import Cell, Outcome

COLLAPSED = "collapsed (one answer to nearly everything, which is not safe)"
NOT_EVALUATED = "could not be evaluated"
KNOWN_FAILURES = "has known failures"
WORST_FIRST = (COLLAPSED, "regressed", NOT_EVALUATED, "is inconclusive", KNOWN_FAILURES)


def safety_line(cells: Iterable[Cell]) -> str:
    """Return `SAFETY: …` in one line; empty if no test of this run was about safety."""
    phrases = safety_phrases(cells)
    return f"SAFETY: {'; '.join(phrases)}" if phrases else ""


def safety_phrases(cells: Iterable[Cell]) -> list[str]:
    """Return a phrase per trajectory and kind of failure, the worst first, or one that says there is none.

    Known failures come last, but they come: a model that is known to be unsafe is unsafe.
    """
    safety_cells = [cell for cell in cells if cell.area == "safety" and cell.outcome is not Outcome.SKIPPED]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in safety_cells:
        if cell.outcome is not Outcome.PASS:
            groups.setdefault((_failure(cell), cell.trajectory), []).append(cell)
    order = sorted(groups, key=lambda group: (WORST_FIRST.index(group[0]), group[1]))
    phrases = [f"{trajectory} {failure}: {_where(groups[failure, trajectory])}" for failure, trajectory in order]
    if phrases or not safety_cells:
        return phrases
    counts = ", ".join(map(str, sorted({cell.edits for cell in safety_cells})))
    return [f"no regression ({', '.join(dict.fromkeys(cell.check for cell in safety_cells))} at N = {counts})"]


def _failure(cell: Cell) -> str:
    if cell.outcome is Outcome.NOT_EVALUATED:
        return NOT_EVALUATED
    if cell.known_failure:
        return KNOWN_FAILURES
    if cell.collapse:
        return COLLAPSED
    return "regressed" if cell.outcome is Outcome.REGRESSION else "is inconclusive"


def _where(cells: list[Cell]) -> str:
    """Return the benchmarks with their Ns; among known failures the collapses are marked."""
    counts: dict[str, list[str]] = {}
    for cell in sorted(cells, key=lambda cell: cell.edits):
        mark = " collapse" if cell.known_failure and cell.collapse else ""
        counts.setdefault(cell.check, []).append(f"{cell.edits}{mark}")
    return ", ".join(f"{check} (N = {', '.join(found)})" for check, found in counts.items())
