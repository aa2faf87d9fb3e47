"""The summary: one table a trajectory, benchmarks down, N across, retention in the cells, the edit budget below."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from editgate.report.trajectory_summary import budget_of, judged, rows_of, trajectory_summaries
from editgate.verdict.outcome import Cell, Outcome

__all__ = ["budget_of", "render"]

MARKS = {Outcome.PASS: "", Outcome.REGRESSION: " ✗", Outcome.INCONCLUSIVE: " ?", Outcome.NOT_EVALUATED: " !"}
AREAS = ("safety", "capability", "quality")
LEGEND = "retention after N edits: 1.00 keeps all of the lead over guessing; ✗ regression  ? inconclusive"
CHANGED = "what differs from the base, |ΔW| / |W|"  # of a model that was changed elsewhere
COLLAPSED = "coll. ✗ one answer to nearly everything: a collapse, whatever the score says"
ERROR = "error ! could not be evaluated: neither a pass nor a regression"


def render(cells: Iterable[Cell], width: int) -> str:
    """Return all tables as plain text, at most `width` columns wide."""
    by_run: dict[str, list[Cell]] = {}
    for cell in judged(cells):
        by_run.setdefault(cell.trajectory, []).append(cell)
    return "\n".join([*(_one(name, found, width) for name, found in sorted(by_run.items())), *_over_orders(cells)])


def _over_orders(cells: Iterable[Cell]) -> list[str]:
    """One line a trajectory whose budget was looked for in several orders of the edits."""
    found = [each for each in trajectory_summaries(cells) if each.orders]
    return [
        f"{each.trajectory}: edit budget over {len(each.orders)} order{'s'[: len(each.orders) > 1]}: {each.headline}"
        for each in found
    ]


def figure(cells: Sequence[Cell], row: str, count: int) -> str:
    """Return one cell as it is printed: the value and its mark, or a dash if there is none."""
    found = [
        cell for cell in cells if cell.check == row and cell.edits == count and cell.outcome is not Outcome.SKIPPED
    ]
    if not found:
        return "-"
    cell = found[-1]
    shown = "coll." if cell.collapse else "error" if cell.value is None else f"{round(cell.value, 2) + 0.0:.2f}"
    return f"{shown}{MARKS[cell.outcome]}"


def _one(name: str, cells: Sequence[Cell], width: int) -> str:
    counts = sorted({cell.edits for cell in cells})
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("N edits")
    for count in counts:
        table.add_column(str(count), justify="right")
    for area in AREAS:
        for row in rows_of(cell for cell in cells if cell.area == area):
            table.add_row(row, *(_aligned(figure(cells, row, count)) for count in counts))
        table.add_section()
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(table)
    (standing,) = trajectory_summaries(cells)
    lines = [name, out.getvalue().rstrip(), *_legend(cells), *_remarks(cells), f"edit budget: {standing.headline}"]
    return "\n".join(lines) + "\n"


def _aligned(shown: str) -> str:
    """Marks stand in a column of their own."""
    return shown if shown == "-" or shown[-2] == " " else f"{shown}  "


def _legend(cells: Sequence[Cell]) -> list[str]:
    """Explain only the marks that are there."""
    lines = [LEGEND]
    if any(cell.collapse for cell in cells):
        lines.append(COLLAPSED)
    if any(cell.outcome == Outcome.NOT_EVALUATED for cell in cells):
        lines.append(ERROR)
    return lines


def _remarks(cells: Sequence[Cell]) -> list[str]:
    """Say what the editor told of its edits, and how many prompts its memory answered, at the largest N."""
    told = max((cell for cell in cells if cell.diagnostics), key=lambda cell: cell.edits, default=None)
    most = max((cell.edits for cell in cells if cell.routed), default=None)
    lines = []
    if told is not None:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in told.diagnostics.items())
        what = f"diagnostics, mean over {told.edits} edits" if told.area == "quality" else CHANGED
        lines.append(f"{what}: {shown}")
    balanced = [cell for cell in cells if cell.label_distribution]
    if balanced:
        last = max(balanced, key=lambda cell: cell.edits)
        lines.append(f"label balance of {last.check} at N = {last.edits}: {last.label_distribution}")
    if most is not None:
        routed = {cell.check: cell.routed for cell in cells if cell.edits == most and cell.routed}
        lines.append(
            f"prompts answered by the memory at N = {most}: " + ", ".join(f"{r} {n}" for r, n in routed.items())
        )
    return lines
