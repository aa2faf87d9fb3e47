"""The report as Markdown, for a pull request or a job's summary: no charts, all numbers."""

from __future__ import annotations

from editgate.report.presentation import NOTHING, present
from editgate.report.run_report import RunReport
from editgate.report.templates import environment
from editgate.verdict.outcome import Cell


def markdown(report: RunReport) -> str:
    """Return `report.md`."""
    template = environment().get_template("report.md.j2")
    return template.render(
        report=report, shown=present(report), checkpoints=_checkpoints(report.cells), escape=escape_markdown
    )


def escape_markdown(text: str) -> str:
    """Return a text as one line without Markdown's special characters."""
    line = " ".join(text.split()).replace("\\", "\\\\")
    for sign in "|`*_<>[]#":
        line = line.replace(sign, f"\\{sign}")
    return line


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
