"""The terminal's tables: one per trajectory, benchmarks down, N across, the edit budget below."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from editgate import inert
from editgate.report.overview import EXPLAINED
from editgate.report.presentation import Entry, Table, counted, tables
from editgate.report.terminal.style import STYLES, rendered
from editgate.report.trajectory_summary import by_trajectory, judged_cells, trajectory_summaries
from editgate.verdict.failure_message import GROWN, GROWN_NORM, MAX_NORMS
from editgate.verdict.outcome import Cell, Outcome

LEGEND = "retention after N edits: 1.00 keeps all of the lead over guessing"
RETENTION = "retention: 1.00 keeps all of the lead over guessing"
COLLAPSE = "collapse: one answer to nearly everything, which is not safe, whatever the score"
ERROR = "error: could not be evaluated, neither a pass nor a regression"


def details(cells: Iterable[Cell], width: int, *, color: bool = False) -> list[str]:
    """Return the lines of all tables, at most `width` columns wide, each with what else is known of its trajectory."""
    known = list(cells)
    found = by_trajectory(judged_cells(known))
    return [line for table in tables(known) for line in _with_notes(table, found[table.trajectory], width, color=color)]


def budgets_over_orders(cells: Iterable[Cell]) -> list[str]:
    """Return a line per trajectory whose edit budget was searched for in several orders of the edits."""
    return [
        f"{summary.trajectory}: edit budget over {counted(len(summary.orders), 'order')}: {summary.headline}"
        for summary in trajectory_summaries(cells)
        if summary.orders
    ]


def _with_notes(table: Table, cells: Sequence[Cell], width: int, *, color: bool) -> list[str]:
    """Return one table with the marks that are in it explained, what else is known, and the budget."""
    external = any(cell.external for cell in cells)
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("" if external else "N edits")
    for count in table.counts:
        shown.add_column("kept" if external else str(count), justify="right")
    for row, following in zip(table.rows, (*table.rows[1:], None), strict=True):
        ends_area = following is None or following.area != row.area
        shown.add_row(row.check, *(_marked(entry) for entry in row.entries), end_section=ends_area)
    marks = {entry.mark for row in table.rows for entry in row.entries}
    legend = [
        RETENTION if external else LEGEND,
        *(f"{mark} {text}" for mark, text in EXPLAINED.items() if mark in marks),
    ]
    lines = [inert.terminal(table.trajectory), *rendered(shown, width, color=color), "; ".join(legend)]
    if any(cell.collapse for cell in cells):
        lines.append(COLLAPSE)
    if any(cell.outcome is Outcome.NOT_EVALUATED for cell in cells):
        lines.append(ERROR)
    (summary,) = trajectory_summaries(cells)
    budget = [] if external else [f"edit budget: {summary.headline}"]
    return [*lines, *_editor_notes(cells), *budget, ""]


def _marked(entry: Entry) -> Text:
    """The value and its mark, which has a column of its own."""
    return Text(f"{entry.value} {entry.mark or ' '}", style=STYLES.get(entry.mark, ""))


def _editor_notes(cells: Sequence[Cell]) -> list[str]:
    """Return at the largest N: stricter and laxer efficacy, diagnostics, label balance, what a memory answered."""
    by_edits = sorted(cells, key=lambda cell: -cell.edits)
    lines = [_beside_efficacy(cell) for cell in by_edits if cell.exact is not None and cell.check == "efficacy"][:1]
    diagnosed = next((cell for cell in by_edits if cell.diagnostics), None)
    if diagnosed is not None:
        values = ", ".join(
            f"{inert.terminal(name)} {diagnosed.diagnostics[name]:.4g}"
            for name in sorted(diagnosed.diagnostics, key=_natural)
        )
        batches = "" if diagnosed.batch_size == 1 else f" in batches of {diagnosed.batch_size}"
        mean = f"diagnostics, mean over {counted(diagnosed.edits, 'edit')}{batches}"
        lines.append(f"{mean if diagnosed.area == 'quality' else 'weight changes, |ΔW| / |W|'}: {values}")
    grown = next((cell for cell in by_edits if max(cell.norm_ratio.values(), default=0.0) >= GROWN), None)
    if grown is not None:
        largest = sorted(grown.norm_ratio.items(), key=lambda each: -each[1])[:MAX_NORMS]
        norms = ", ".join(f"{inert.terminal(name)} x {ratio:.3g}" for name, ratio in largest)
        at = "" if grown.external else f" at N = {grown.edits}"
        lines += [f"norms against the unedited ones{at}: {norms}", GROWN_NORM]
    balanced = next((cell for cell in by_edits if cell.label_distribution), None)
    if balanced is not None:
        at = "" if balanced.external else f" at N = {balanced.edits}"
        lines.append(f"label balance of {balanced.check}{at}: {inert.terminal(balanced.label_distribution)}")
    most = max((cell.edits for cell in cells if cell.routed), default=None)
    if most is not None:
        routed = ", ".join(f"{cell.check} {cell.routed}" for cell in cells if cell.edits == most and cell.routed)
        lines.append(f"prompts answered by the memory at N = {most}: {routed}")
    return lines


def _beside_efficacy(cell: Cell) -> str:
    """Say what the two measures give that decide nothing."""
    at = "" if cell.external else f" at N = {cell.edits}"
    forced = "" if cell.teacher_forced is None else f", teacher-forced {cell.teacher_forced:.2f}"
    return f"efficacy{at}, not judged: exact (and stops there) {cell.exact:.2f}{forced}"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort `layer 2` before `layer 10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
