"""What both the page and the Markdown show of a record: order, words and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from editgate.report.run_report import RunReport
from editgate.report.trajectory_summary import rows_of
from editgate.verdict.bisection import describe
from editgate.verdict.outcome import Cell, Outcome

AREAS = ("safety", "capability", "quality")
BUDGET = "budget"
MARKS = {Outcome.REGRESSION: "✗", Outcome.INCONCLUSIVE: "?", Outcome.NOT_EVALUATED: "!", Outcome.RULE_BROKEN: "!"}
RESULTS = {
    "pass": "Every verdict passes.",
    "regression": "Something regressed that is no known limit.",
    "not evaluated": "Nothing regressed, but something could not be evaluated: this is no pass.",
    "inconclusive": "Nothing regressed, but some verdicts are inconclusive: too few items to say.",
    "unexpected pass": "A known limit is no longer reached: its file in thresholds/ is out of date.",
    "other failures": "Every verdict passes, but tests outside the gate failed.",
    "incomplete": "The run ended early: what ran passes, the rest is not known.",
    "nothing judged": "No benchmark was judged in this run.",
}


@dataclass(frozen=True)
class Table:
    """One trajectory's verdicts: a row a benchmark, a column an N."""

    trajectory: str
    counts: tuple[int, ...]
    rows: tuple[tuple[str, str, tuple[Cell | None, ...]], ...]


def result_words(record: RunReport) -> str:
    """Return the result as a sentence."""
    known = len(known_failures(record))
    budgets = [cell for cell in record.cells if cell.area == BUDGET]
    if record.result == "pass" and budgets:
        held = ", and is at least what was asked for" if any(cell.floor for cell in budgets) else ""
        return f"Every edit budget was found{held}."
    if record.result == "pass" and known:
        return f"Every verdict passes, but for {known} known limit{'s' if known > 1 else ''}."
    return RESULTS[record.result]


def tables(record: RunReport) -> list[Table]:
    """Return one table a trajectory, safety first."""
    found = [cell for cell in record.cells if cell.area in AREAS]
    return [_table(name, [c for c in found if c.trajectory == name]) for name in sorted({c.trajectory for c in found})]


def regressions(record: RunReport) -> list[Cell]:
    """Return regressions that no known limit covers: safety first, then trajectory, row and N."""
    return _sorted(cell for cell in record.cells if cell.outcome is Outcome.REGRESSION and not cell.known_failure)


def known_failures(record: RunReport) -> list[Cell]:
    """Return what failed and was expected to."""
    return _sorted(cell for cell in record.cells if cell.known_failure and cell.outcome is not Outcome.PASS)


def unexpected_passes(record: RunReport) -> list[Cell]:
    """Return strict known limits that were not reached any more."""
    return _sorted(cell for cell in record.cells if cell.unexpected_pass)


def undecided(record: RunReport) -> list[Cell]:
    """Return inconclusive verdicts that no known limit covers."""
    return _sorted(cell for cell in record.cells if cell.outcome is Outcome.INCONCLUSIVE and not cell.known_failure)


def not_evaluated(record: RunReport) -> list[tuple[str, list[Cell]]]:
    """Return what has no verdict, broken rules among them, by the reason that they share."""
    by_reason: dict[str, list[Cell]] = {}
    for cell in _sorted(cell for cell in record.cells if cell.outcome in {Outcome.NOT_EVALUATED, Outcome.RULE_BROKEN}):
        by_reason.setdefault(cell.reason, []).append(cell)
    return list(by_reason.items())


def name_of(cell: Cell) -> str:
    """Return what a cell is about, such as `memit-llama-mini: mmlu after 10 edits`."""
    if cell.area == "integrity":
        return f"{cell.trajectory}: the rule {cell.check.replace('_', ' ')}"
    if cell.edits == 0:
        return f"{cell.trajectory}: {cell.check}"
    edits = "1 edit" if cell.edits == 1 else f"{cell.edits} edits"
    return f"{cell.trajectory}: {cell.check} after {edits}"


def value_of(cell: Cell | None) -> str:
    """Return a cell's value with its mark; a dash where nothing was asked."""
    if cell is None or cell.outcome is Outcome.SKIPPED:
        return "–"
    if cell.collapse:
        return "collapse ✗"
    shown = "error" if cell.value is None else figure(cell.value)
    return f"{shown} {MARKS.get(cell.outcome, '')}".rstrip()


def figure(number: float) -> str:
    """Return a number with two digits; what rounds to nothing has no sign."""
    return f"{round(number, 2) + 0.0:.2f}"


def band_of(cell: Cell | None) -> str:
    """Return a value's band, such as `0.91–1.00`; empty if there is none."""
    if cell is None or cell.low is None or cell.high is None:
        return ""
    return f"{figure(cell.low)} to {figure(cell.high)}"


def summary_of(cell: Cell) -> str:
    """Return what fell, in a line."""
    if cell.orders:
        asked = "" if cell.floor is None else f", at least {cell.floor:.0f} was asked for"
        return f"{describe(cell.orders)}{asked}"
    if cell.collapse:
        return f"collapse: it answers {cell.collapse}. Its score says nothing."
    kept = "retention" if cell.area != "quality" else "share"
    band = f" ({band_of(cell)})" if band_of(cell) else ""
    floor = "" if cell.floor is None else f", at least {cell.floor:.2f} was asked for"
    value = "unknown" if cell.value is None else figure(cell.value)
    early = f"; right after each edit {cell.before:.2f}" if cell.area == "quality" and cell.before is not None else ""
    return f"{kept} {value}{band}{floor}{early}"


def _table(name: str, cells: Sequence[Cell]) -> Table:
    counts = tuple(sorted({cell.edits for cell in cells}))
    by_place = {(cell.check, cell.edits): cell for cell in cells}
    rows = [
        (area, row, tuple(by_place.get((row, count)) for count in counts))
        for area in AREAS
        for row in rows_of(cell for cell in cells if cell.area == area)
    ]
    return Table(name, counts, tuple(rows))


def _sorted(cells: Iterable[Cell]) -> list[Cell]:
    order = {area: place for place, area in enumerate((*AREAS, BUDGET, "integrity"))}
    return sorted(cells, key=lambda cell: (order[cell.area], cell.trajectory, cell.edits))
