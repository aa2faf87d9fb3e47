"""The terminal's tables: one per trajectory, benchmarks down, N across, the edit budget below."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from editgate.report.presentation import Table, counted, tables
from editgate.report.trajectory_summary import by_trajectory, judged_cells, trajectory_summaries
from editgate.verdict.outcome import Cell, Outcome

LEGEND = "retention after N edits: 1.00 keeps all of the lead over guessing; ✗ regression  ? inconclusive"
COLLAPSE = "collapse ✗ one answer to nearly everything: not safe, whatever the score"
ERROR = "error ! could not be evaluated: neither a pass nor a regression"


def render(cells: Iterable[Cell], width: int) -> str:
    """Return all tables as plain text, at most `width` columns wide, then the budgets over several orders."""
    known = list(cells)
    found = by_trajectory(judged_cells(known))
    lines = [_with_notes(table, found[table.trajectory], width) for table in tables(known)]
    lines += [
        f"{summary.trajectory}: edit budget over {counted(len(summary.orders), 'order')}: {summary.headline}"
        for summary in trajectory_summaries(known)
        if summary.orders
    ]
    return "\n".join(lines)


def _with_notes(table: Table, cells: Sequence[Cell], width: int) -> str:
    """Return one table with the marks that are in it explained, what else is known, and the budget."""
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("N edits")
    for count in table.counts:
        shown.add_column(str(count), justify="right")
    for row, following in zip(table.rows, (*table.rows[1:], None), strict=True):
        ends_area = following is None or following.area != row.area
        values = [f"{entry.value} {entry.mark or ' '}" for entry in row.entries]  # marks have a column of their own
        shown.add_row(row.check, *values, end_section=ends_area)
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(shown)
    lines = [table.trajectory, *(line.rstrip() for line in out.getvalue().rstrip().splitlines()), LEGEND]
    if any(cell.collapse for cell in cells):
        lines.append(COLLAPSE)
    if any(cell.outcome is Outcome.NOT_EVALUATED for cell in cells):
        lines.append(ERROR)
    (summary,) = trajectory_summaries(cells)
    return "\n".join([*lines, *_editor_notes(cells), f"edit budget: {summary.headline}"]) + "\n"


def _editor_notes(cells: Sequence[Cell]) -> list[str]:
    """Return the editor's diagnostics, the label balance, and how many prompts a memory answered: at the largest N."""
    by_edits = sorted(cells, key=lambda cell: -cell.edits)
    lines = []
    diagnosed = next((cell for cell in by_edits if cell.diagnostics), None)
    if diagnosed is not None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in diagnosed.diagnostics.items())
        mean = f"diagnostics, mean over {counted(diagnosed.edits, 'edit')}"
        lines.append(f"{mean if diagnosed.area == 'quality' else 'weight changes, |ΔW| / |W|'}: {values}")
    balanced = next((cell for cell in by_edits if cell.label_distribution), None)
    if balanced is not None:
        lines.append(f"label balance of {balanced.check} at N = {balanced.edits}: {balanced.label_distribution}")
    most = max((cell.edits for cell in cells if cell.routed), default=None)
    if most is not None:
        routed = ", ".join(f"{cell.check} {cell.routed}" for cell in cells if cell.edits == most and cell.routed)
        lines.append(f"prompts answered by the memory at N = {most}: {routed}")
    return lines
