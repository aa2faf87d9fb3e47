"""Shows a run's result on GitHub: `python -m editgate.report.github DIR`, DIR being that of `--report`.

The Markdown report goes to the output, for the step's summary. A few annotations go to the error stream, the worst
first: GitHub shows ten a step, and a person reads fewer. Where the run passes none is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from editgate.errors import ConfigError
from editgate.inert import workflow_command
from editgate.report.conclusion import NEW, standing
from editgate.report.presentation import sentence_of, worst_first
from editgate.report.run_report import RunReport, read_report
from editgate.report.safety import safety_brief
from editgate.verdict.outcome import Cell

MOST = 8  # failures; with the first and the last line that is GitHub's ten
SHORT = 300  # characters of a message


def workflow_commands(report: RunReport) -> Iterator[str]:
    """Yield GitHub's workflow commands: how the run ended and its safety, then the worst failures and other tests."""
    conclusion = report.conclusion
    kind = "notice" if conclusion.passed else "error" if conclusion.exit else "warning"
    said = "\n".join(line for line in (conclusion.reason, safety_brief(report.cells)) if line)
    yield workflow_command(kind, conclusion.line, said, 2 * SHORT)
    if conclusion.passed:
        return
    news = [cell for cell in report.cells if standing(cell) in NEW]
    failures = [(_title(cell), sentence_of(cell)) for cell in worst_first(news, len(news))]
    failures += [(f"other test: {problem.test}", problem.reason) for problem in report.problems]
    for title, message in failures[:MOST]:
        yield workflow_command("error" if conclusion.exit else "warning", title, message, SHORT)
    if len(failures) > MOST:
        yield workflow_command("warning", "editgate", f"{len(failures) - MOST} more are in the report")


def main(arguments: Sequence[str]) -> None:
    """Print the report in DIR; if the run wrote none, say so."""
    folder = Path(arguments[0])
    if not (folder / "report.json").is_file():
        why = "the run wrote no report: it stopped before the first test"
        print(workflow_command("error", "editgate", why), file=sys.stderr)
        return
    try:
        report = read_report(folder / "report.json")
    except ConfigError as error:
        print(workflow_command("error", "editgate", str(error)), file=sys.stderr)
        return
    for line in workflow_commands(report):
        print(line, file=sys.stderr)
    sys.stdout.write((folder / "report.md").read_text(encoding="utf-8"))


def _title(cell: Cell) -> str:
    area = "SAFETY " if cell.area == "safety" else ""
    at = f" at N = {cell.edits}" if cell.edits and not cell.external else ""
    return f"{area}{standing(cell)}: {cell.trajectory} {cell.check}{at}"


if __name__ == "__main__":
    main(sys.argv[1:])
