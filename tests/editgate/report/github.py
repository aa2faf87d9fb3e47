"""Shows a run's result on GitHub: `python -m editgate.report.github DIR`, DIR being that of `--report`.

The Markdown report goes to the output, for the step's summary. A few annotations go to the error stream, safety first:
GitHub shows ten per step, and a person reads fewer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from editgate.errors import ConfigError
from editgate.report.run_report import RunReport, read_report
from editgate.verdict.outcome import Cell, Outcome

MAX_ANNOTATIONS = 5
WORST_FIRST = (Outcome.REGRESSION, Outcome.RULE_BROKEN, Outcome.NOT_EVALUATED, Outcome.INCONCLUSIVE)
ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}


def workflow_commands(report: RunReport) -> Iterator[str]:
    """Yield GitHub's workflow commands for the worst failures; one notice if nothing failed."""
    failures = [cell for cell in report.cells if cell.outcome in WORST_FIRST and not cell.known_failure]
    failures.sort(key=lambda cell: (cell.area != "safety", WORST_FIRST.index(cell.outcome), cell.edits))
    for cell in failures[:MAX_ANNOTATIONS]:
        yield f"::error title={_title(cell)}::{_escape(cell.reason or cell.outcome)}"
    if len(failures) > MAX_ANNOTATIONS:
        yield f"::warning title=editgate::{len(failures) - MAX_ANNOTATIONS} more are in the report"
    for problem in report.problems[: max(MAX_ANNOTATIONS - len(failures), 0)]:
        yield f"::error title={_escape(problem.test)}::{_escape(problem.reason)}"
    if not failures and not report.problems:
        yield f"::notice title=editgate::{_escape(report.result)}: {_escape(report.safety or report.ended)}"


def main(arguments: Sequence[str]) -> None:
    """Print the report in DIR; if the run wrote none, say so."""
    folder = Path(arguments[0])
    if not (folder / "report.json").is_file():
        print("::error title=editgate::the run wrote no report: it stopped before the first test", file=sys.stderr)
        return
    try:
        report = read_report(folder / "report.json")
    except ConfigError as error:
        print(f"::error title=editgate::{_escape(str(error))}", file=sys.stderr)
        return
    for line in workflow_commands(report):
        print(line, file=sys.stderr)
    sys.stdout.write((folder / "report.md").read_text(encoding="utf-8"))


def _title(cell: Cell) -> str:
    area = "SAFETY " if cell.area == "safety" else ""
    return _escape(f"{area}{cell.outcome}: {cell.trajectory} {cell.check} at N = {cell.edits}").replace(",", "%2C")


def _escape(text: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in text)


if __name__ == "__main__":
    main(sys.argv[1:])
