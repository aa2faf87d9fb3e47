"""The summary: one table a trajectory, benchmarks down, N across, retention in the cells, the edit budget below."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.harness.budget import budget
from tests.harness.outcomes import Cell

MARKS = {"pass": "", "regression": " ✗", "inconclusive": " ?"}
AREAS = ("safety", "capability", "quality")
LEGEND = "retention after N edits: 1.00 keeps all of the lead over guessing; ✗ regression  ? inconclusive"


def render(cells: Iterable[Cell], width: int) -> str:
    """Return all tables as plain text, at most `width` columns wide."""
    by_run: dict[str, list[Cell]] = {}
    for cell in cells:
        by_run.setdefault(cell.trajectory, []).append(cell)
    return "\n".join(_one(name, found, width) for name, found in sorted(by_run.items()))


def budget_of(cells: Sequence[Cell]) -> int:
    """Return the largest N up to which every verdict passes; 0 if the smallest N fails."""
    counts = {cell.edits for cell in cells}
    return budget({n: all(cell.status == "pass" for cell in cells if cell.edits == n) for n in counts})


def _one(name: str, cells: Sequence[Cell], width: int) -> str:
    counts = sorted({cell.edits for cell in cells})
    table = Table(title=name, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("N edits")
    for count in counts:
        table.add_column(str(count), justify="right")
    for area in AREAS:
        for row in dict.fromkeys(cell.row for cell in cells if cell.area == area):
            table.add_row(row, *(_cell(cells, row, count) for count in counts))
        table.add_section()
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(table)
    lines = [out.getvalue().rstrip(), LEGEND, *_remarks(cells), _budget_line(cells, counts)]
    return "\n".join(lines) + "\n"


def _remarks(cells: Sequence[Cell]) -> list[str]:
    """Say what the editor told of its edits, and how many prompts its memory answered, at the largest N."""
    told = max((cell for cell in cells if cell.diagnostics), key=lambda cell: cell.edits, default=None)
    most = max((cell.edits for cell in cells if cell.routed), default=None)
    lines = []
    if told is not None:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in told.diagnostics.items())
        lines.append(f"diagnostics, mean over {told.edits} edits: {shown}")
    if most is not None:
        routed = {cell.row: cell.routed for cell in cells if cell.edits == most and cell.routed}
        lines.append(
            f"prompts answered by the memory at N = {most}: " + ", ".join(f"{r} {n}" for r, n in routed.items())
        )
    return lines


def _cell(cells: Sequence[Cell], row: str, count: int) -> str:
    found = [cell for cell in cells if cell.row == row and cell.edits == count]
    if not found:
        return "-"
    return f"{found[-1].value:.2f}{MARKS[found[-1].status]:2}"


def _budget_line(cells: Sequence[Cell], counts: Sequence[int]) -> str:
    largest = budget_of(cells)
    if largest == counts[-1]:
        return f"edit budget: at least {largest} (everything judged at N = {', '.join(map(str, counts))} passes)"
    failed = next(count for count in counts if count > largest)
    why = ", ".join(dict.fromkeys(c.row for c in cells if c.edits == failed and c.status != "pass"))
    return f"edit budget: {largest} (at {failed}: {why})"
