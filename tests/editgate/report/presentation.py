"""What the terminal, the Markdown and the page show of the cells: order, words, numbers and marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from editgate.report.conclusion import NEW, Standing, standing
from editgate.report.run_report import RunReport
from editgate.report.safety import safety_phrases
from editgate.report.trajectory_summary import by_trajectory, checks_in_order
from editgate.verdict.bisection import describe
from editgate.verdict.outcome import Cell, Outcome

AREAS = ("safety", "capability", "quality")  # in this order everywhere
AREA_ORDER = {area: index for index, area in enumerate((*AREAS, "budget", "integrity"))}
NOTHING = "–"
HELD = "held although a limit is on record (fine between two measured Ns)"
FIRST_SENTENCE = re.compile(r"^.+?[.!?](?=\s*\n|\s+[A-Z0-9\"'(]|\s*$)", re.DOTALL)
MARKS = {
    Standing.COLLAPSE: "✗",
    Standing.REGRESSION: "✗",
    Standing.RULE_BROKEN: "!",
    Standing.NOT_EVALUATED: "!",
    Standing.UNDECIDED: "?",
    Standing.ALLOWED: "·",
    Standing.UNEXPECTED_PASS: "+",
    Standing.KNOWN: "k",
}


@dataclass(frozen=True)
class Entry:
    """What one cell of a table shows.

    Attributes:
        value: a number, or the word for why there is none.
        mark: what the cell is to the gate; empty for a pass.
        band: of the value, such as `0.91 to 1.00`; empty if there is none.
        known_failure: it fails, and that is on record.
    """

    value: str
    mark: str = ""
    band: str = ""
    known_failure: bool = False


@dataclass(frozen=True)
class Row:
    """The entries of one benchmark or quality, one per N."""

    area: str
    check: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """The verdicts of one trajectory: a row per benchmark or quality, safety first, and a column per N."""

    trajectory: str
    counts: tuple[int, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Presentation:
    """What both the page and the Markdown show of a run; each list of cells is sorted, safety first.

    Attributes:
        sentence: the result.
        safety: one phrase per trajectory and kind of failure.
        safe: whether there were safety tests and all of them pass.
        tables: one per trajectory.
        regressions: those that are not known failures.
        not_evaluated: what has no verdict, broken rules among it, by the reason that the cells share.
        inconclusive: those that are not known failures, let through or not.
        unexpected_passes: strict known failures that passed.
        known_failures: what failed and was expected to.
    """

    sentence: str
    safety: tuple[str, ...]
    safe: bool
    tables: tuple[Table, ...]
    regressions: tuple[Cell, ...]
    not_evaluated: dict[str, list[Cell]]
    inconclusive: tuple[Cell, ...]
    unexpected_passes: tuple[Cell, ...]
    known_failures: tuple[Cell, ...]


def present(report: RunReport) -> Presentation:
    """Sort the cells of a run into what the page and the Markdown show."""
    cells = sorted(report.cells, key=lambda cell: (AREA_ORDER[cell.area], cell.trajectory, cell.edits))

    def select(wanted: Callable[[Cell], bool]) -> tuple[Cell, ...]:
        return tuple(cell for cell in cells if wanted(cell))

    known_failures = select(lambda cell: standing(cell) is Standing.KNOWN)
    not_evaluated: dict[str, list[Cell]] = {}
    for cell in select(lambda cell: cell.outcome in {Outcome.NOT_EVALUATED, Outcome.RULE_BROKEN}):
        not_evaluated.setdefault(cell.reason, []).append(cell)
    safety = [cell for cell in cells if cell.area == "safety" and cell.outcome is not Outcome.SKIPPED]
    return Presentation(
        sentence=f"{report.conclusion.line}; {report.conclusion.reason}",
        safety=tuple(safety_phrases(report.cells)),
        safe=bool(safety) and all(cell.outcome is Outcome.PASS for cell in safety),
        tables=tuple(tables(report.cells)),
        regressions=select(lambda cell: standing(cell) in {Standing.COLLAPSE, Standing.REGRESSION}),
        not_evaluated=not_evaluated,
        inconclusive=select(lambda cell: standing(cell) in {Standing.UNDECIDED, Standing.ALLOWED}),
        unexpected_passes=select(lambda cell: cell.unexpected_pass),
        known_failures=known_failures,
    )


def tables(cells: Iterable[Cell]) -> list[Table]:
    """Return one table per trajectory; cells of other areas (rules, budgets over several orders) are left out."""
    shown = by_trajectory(cell for cell in cells if cell.area in AREAS)
    return [_table(trajectory, found) for trajectory, found in shown.items()]


def _table(trajectory: str, cells: Sequence[Cell]) -> Table:
    counts = tuple(sorted({cell.edits for cell in cells}))
    by_key = {(cell.check, cell.edits): cell for cell in cells}
    rows = tuple(
        Row(area, check, tuple(entry_of(by_key.get((check, count))) for count in counts))
        for area in AREAS
        for check in checks_in_order(cell for cell in cells if cell.area == area)
    )
    return Table(trajectory, counts, rows)


def entry_of(cell: Cell | None) -> Entry:
    """Return what a table shows of a cell; a dash where nothing was measured."""
    if cell is None or cell.outcome is Outcome.SKIPPED:
        return Entry(NOTHING)
    value = "collapse" if cell.collapse else "error" if cell.value is None else number(cell.value)
    found = standing(cell)
    return Entry(value, MARKS.get(found, ""), band_of(cell), found is Standing.KNOWN)


def number(value: float) -> str:
    """Return a number with two digits; what rounds to zero has no sign."""
    return f"{round(value, 2) + 0.0:.2f}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 edit` or `3 edits`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def band_of(cell: Cell) -> str:
    """Return the band of a value, such as `0.91 to 1.00`; empty if there is none."""
    return "" if cell.low is None or cell.high is None else f"{number(cell.low)} to {number(cell.high)}"


def worst_first(cells: Iterable[Cell], most: int) -> list[Cell]:
    """Return up to `most` failures that a person should read first: of different methods, else of different checks.

    News comes before what is on record, collapse before regression, safety before capability, much before little. What
    could not be evaluated for one reason is told once.
    """

    def badness(cell: Cell) -> tuple[int, bool, float]:
        below = float("-inf") if cell.value is None or cell.floor is None else cell.value - cell.floor
        return list(Standing).index(standing(cell)), cell.area != "safety", below

    failures = sorted((cell for cell in cells if standing(cell) in {*NEW, Standing.KNOWN}), key=badness)
    reasons = {cell.reason: cell for cell in reversed(failures) if cell.outcome is Outcome.NOT_EVALUATED}
    failures = [cell for cell in failures if reasons.get(cell.reason, cell) is cell or not cell.reason]
    of_trajectory = {cell.trajectory: cell for cell in reversed(failures)}
    of_check = {(cell.trajectory, cell.check): cell for cell in reversed(failures)}

    def repeats(cell: Cell) -> tuple[bool, bool, bool]:
        first = of_check[cell.trajectory, cell.check]
        return standing(cell) not in NEW, of_trajectory[cell.trajectory] is not cell, first is not cell

    return sorted(failures, key=repeats)[:most]


def sentence_of(cell: Cell) -> str:
    """Return what happened to a cell in one sentence: the first of its message where that says it all."""
    said = first_sentence(cell.reason)
    if standing(cell) is Standing.UNEXPECTED_PASS:
        return f"{name_of(cell)} passed, and is on record as failing always: {cell.known_failure}"
    if not said or cell.outcome in {Outcome.NOT_EVALUATED, Outcome.RULE_BROKEN}:
        return f"{name_of(cell)}: {said or summary_of(cell)}"
    return said


def first_sentence(text: str) -> str:
    """Return a message up to its first full stop, in one line; all of it if there is none."""
    found = FIRST_SENTENCE.match(text)
    return " ".join((found[0] if found else text).split())


def is_known(cell: Cell) -> bool:
    """Return whether a cell fails and that is on record."""
    return standing(cell) is Standing.KNOWN


def name_of(cell: Cell) -> str:
    """Return what a cell is about, such as `memit-llama-mini: mmlu after 10 edits`."""
    if cell.area == "integrity":
        return f"{cell.trajectory}: the rule {cell.check.replace('_', ' ')}"
    edits = f" after {counted(cell.edits, 'edit')}" if cell.edits and not cell.external else ""
    return f"{cell.trajectory}: {cell.check}{edits}"


def summary_of(cell: Cell) -> str:
    """Return in one line what was lost."""
    if cell.orders:
        required = "" if cell.floor is None else f", required: at least {cell.floor:.0f}"
        return f"{describe(cell.orders)}{required}"
    if cell.collapse:
        return f"collapse: it answers {cell.collapse}. The score is meaningless here."
    kind = "share" if cell.area == "quality" else "retention"
    value = "unknown" if cell.value is None else number(cell.value)
    band = f" ({band_of(cell)})" if band_of(cell) else ""
    floor = "" if cell.floor is None else f", floor {cell.floor:.2f}"
    immediate = (
        "" if cell.area != "quality" or cell.before is None else f"; right after each {cell.step} {cell.before:.2f}"
    )
    return f"{kind} {value}{band}{floor}{immediate}"
