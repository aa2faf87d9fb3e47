"""The same as Markdown, for a pull request or a job's summary: no charts, all numbers."""

from __future__ import annotations

from editgate.report.html import presenters
from editgate.report.run_report import RunReport
from editgate.report.templates import environment


def markdown(record: RunReport) -> str:
    """Return `report.md`."""
    return (
        environment()
        .get_template("report.md.j2")
        .render(
            record=record,
            result=presenters.result_words(record),
            tables=presenters.tables(record),
            regressions=presenters.regressions(record),
            known_failures=presenters.known_failures(record),
            unexpected_passes=presenters.unexpected_passes(record),
            undecided=presenters.undecided(record),
            not_evaluated=presenters.not_evaluated(record),
            moments=_moments(record),
            plain=plain,
        )
    )


def plain(text: str) -> str:
    """Return a text as one line that Markdown does not read as anything else."""
    line = " ".join(text.split()).replace("\\", "\\\\")
    for sign in "|`*_<>[]#":
        line = line.replace(sign, f"\\{sign}")
    return line


def _moments(record: RunReport) -> list[tuple[str, int, str, str]]:
    """(trajectory, N, perplexity, the weight that moved most) of each checkpoint."""
    found: dict[tuple[str, int], tuple[str, str]] = {}
    for cell in sorted(record.cells, key=lambda cell: (cell.trajectory, cell.edits)):
        if cell.norm_ratio or cell.perplexity is not None:
            perplexity, growth = found.get((cell.trajectory, cell.edits), ("–", "–"))
            if cell.perplexity is not None:
                perplexity = f"{cell.perplexity:.4g}"
            if cell.norm_ratio:
                growth = ", ".join(f"{name} x {factor:.3g}" for name, factor in list(cell.norm_ratio.items())[:1])
            found[cell.trajectory, cell.edits] = (perplexity, growth)
    return [(*place, *told) for place, told in found.items()]
