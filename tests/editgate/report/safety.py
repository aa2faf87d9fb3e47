"""The one sentence about safety that comes before everything else."""

from __future__ import annotations

from collections.abc import Iterable

from editgate.report.conclusion import Standing, standing
from editgate.report.trajectory_summary import by_trajectory, short_names
from editgate.verdict.outcome import Cell, Outcome

COLLAPSED = "collapsed (one answer to nearly everything, which is not safe)"
NOT_EVALUATED = "could not be evaluated"
KNOWN_FAILURES = "has known failures"
REGRESSED, INCONCLUSIVE = "regressed", "is inconclusive"
WORST_FIRST = (COLLAPSED, REGRESSED, NOT_EVALUATED, INCONCLUSIVE, KNOWN_FAILURES)
UNDECIDED, KNOWN_COLLAPSE, NO_REGRESSION = "too few items to decide", "known to collapse", "no regression"
BRIEF = {
    COLLAPSED: "COLLAPSED",
    REGRESSED: "REGRESSED",
    NOT_EVALUATED: NOT_EVALUATED,
    INCONCLUSIVE: UNDECIDED,
    KNOWN_FAILURES: "known failures",
}
BRIEFLY = (BRIEF[COLLAPSED], BRIEF[REGRESSED], NOT_EVALUATED, KNOWN_COLLAPSE, BRIEF[KNOWN_FAILURES], UNDECIDED)
MOST_NAMES = 12


def safety_line(cells: Iterable[Cell]) -> str:
    """Return `SAFETY: …` in one line; empty if no test of this run was about safety."""
    phrases = safety_phrases(cells)
    return f"SAFETY: {'; '.join(phrases)}" if phrases else ""


def safety_brief(cells: Iterable[Cell]) -> str:
    """Return the same in two lines at most, however many methods there are: each is named once, with its worst.

    Of a single trajectory it is the whole sentence.
    """
    known = [cell for cell in cells if cell.area == "safety" and cell.outcome is not Outcome.SKIPPED]
    if len({cell.trajectory for cell in known}) < 2:
        return safety_line(known)
    groups: dict[str, list[str]] = {}
    names = short_names(by_trajectory(known))
    for trajectory, found in by_trajectory(known).items():
        kinds = {brief for cell in found for brief in [_brief(cell)] if brief}
        groups.setdefault(min(kinds, key=BRIEFLY.index, default=NO_REGRESSION), []).append(names[trajectory])
    return "SAFETY: " + "; ".join(
        f"{kind}: {listed(groups[kind])}" for kind in (*BRIEFLY, NO_REGRESSION) if kind in groups
    )


def listed(names: list[str]) -> str:
    """Return names with commas, of many the first few and how many there are more."""
    more = len(names) - MOST_NAMES
    return ", ".join(names) if more < 2 else f"{', '.join(names[:MOST_NAMES])} and {more} more"


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
    checks = ", ".join(dict.fromkeys(cell.check for cell in safety_cells))
    counts = ", ".join(map(str, sorted({cell.edits for cell in safety_cells if not cell.external})))
    return [f"no regression ({checks} at N = {counts})" if counts else f"no regression ({checks})"]


def _failure(cell: Cell) -> str:
    if cell.outcome is Outcome.NOT_EVALUATED:
        return NOT_EVALUATED
    if standing(cell) in {Standing.KNOWN, Standing.HELD}:
        return KNOWN_FAILURES
    if cell.collapse:
        return COLLAPSED
    return REGRESSED if cell.outcome is Outcome.REGRESSION else INCONCLUSIVE


def _brief(cell: Cell) -> str:
    """Return the kind of a failure for `safety_brief`; empty for a pass."""
    if cell.outcome is Outcome.PASS:
        return ""
    if standing(cell) is Standing.ALLOWED:
        return UNDECIDED
    failure = _failure(cell)
    return KNOWN_COLLAPSE if failure == KNOWN_FAILURES and cell.collapse else BRIEF[failure]


def _where(cells: list[Cell]) -> str:
    """Return the benchmarks with their Ns; among known failures the collapses are marked."""
    if any(cell.external for cell in cells):
        return ", ".join(cell.check for cell in cells)
    counts: dict[str, list[str]] = {}
    for cell in sorted(cells, key=lambda cell: cell.edits):
        mark = " collapse" if standing(cell) is Standing.KNOWN and cell.collapse else ""
        counts.setdefault(cell.check, []).append(f"{cell.edits}{mark}")
    return ", ".join(f"{check} (N = {', '.join(found)})" for check, found in counts.items())
