"""The report as Markdown, for a pull request or a job's summary: the answer first, all numbers in a fold below it."""

from __future__ import annotations

from editgate.inert import markdown as inert_line
from editgate.inert import markdown_block
from editgate.report.overview import overview
from editgate.report.presentation import NOTHING, present, worst_first
from editgate.report.run_report import RunReport
from editgate.report.safety import safety_brief
from editgate.report.templates import environment
from editgate.verdict.failure_message import GROWN
from editgate.verdict.outcome import Cell

WORST, MOST_ROWS, MOST_CHANGES = 3, 24, 8  # lines before the fold: with all of them 50 of the 60 that are read


def markdown(report: RunReport) -> str:
    """Return `report.md`."""
    template = environment().get_template("report.md.j2")
    return template.render(
        report=report,
        conclusion=report.conclusion,
        safety=safety_brief(report.cells),
        overview=overview(report.cells),
        worst=worst_first(report.cells, WORST),
        external=any(cell.external for cell in report.cells),
        most_rows=MOST_ROWS,
        most_changes=MOST_CHANGES,
        grown=any(ratio >= GROWN for cell in report.cells for ratio in cell.norm_ratio.values()),
        shown=present(report),
        checkpoints=_checkpoints(report.cells),
        escape=inert_line,
        block=markdown_block,
    )


def _checkpoints(cells: tuple[Cell, ...]) -> list[tuple[str, int, str, str]]:
    """Return (trajectory, N, perplexity, the weight whose norm changed most) of each checkpoint."""
    found: dict[tuple[str, int], tuple[str, str]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.trajectory, cell.edits)):
        perplexity, norm_ratio = found.get((cell.trajectory, cell.edits), (NOTHING, NOTHING))
        if cell.perplexity is not None:
            perplexity = f"{cell.perplexity:.4g}"
        if cell.norm_ratio:
            name, ratio = next(iter(cell.norm_ratio.items()))
            norm_ratio = f"{name} x {ratio:.3g}"
        if (perplexity, norm_ratio) != (NOTHING, NOTHING):
            found[cell.trajectory, cell.edits] = (perplexity, norm_ratio)
    return [(*checkpoint, *values) for checkpoint, values in found.items()]
