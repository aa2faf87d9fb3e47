"""Tells GitHub what a run came to: `python -m editgate.report.github DIR`, DIR being that of `--report`.

The report in Markdown goes to the output, for the step's summary; a few annotations go to the error stream, safety
first, because GitHub shows ten a step and a person reads fewer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from editgate.report.run_report import RunReport, read_report
from editgate.verdict.outcome import Cell, Outcome

SHOWN = 5
ORDER = (Outcome.REGRESSION, Outcome.RULE_BROKEN, Outcome.NOT_EVALUATED, Outcome.INCONCLUSIVE)  # the worst first
ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}


def commands(record: RunReport) -> Iterator[str]:
    """Yield GitHub's workflow commands for the worst that happened; one notice if nothing did."""
    worst = sorted((cell for cell in record.cells if _counts(cell)), key=_rank)
    for cell in worst[:SHOWN]:
        yield f"::error title={_title(cell)}::{_escaped(cell.reason or cell.outcome)}"
    if len(worst) > SHOWN:
        yield f"::warning title=editgate::{len(worst) - SHOWN} more are in the report"
    for problem in record.problems[: max(SHOWN - len(worst), 0)]:
        yield f"::error title={_escaped(problem.test)}::{_escaped(problem.reason)}"
    if not worst and not record.problems:
        yield f"::notice title=editgate::{_escaped(record.result)}: {_escaped(record.safety or record.ended)}"


def main(arguments: Sequence[str]) -> None:
    """Read the report and tell; a run that wrote none is told so."""
    folder = Path(arguments[0])
    if not (folder / "report.json").is_file():
        print("::error title=editgate::the run wrote no report: it stopped before the first test", file=sys.stderr)
        return
    for line in commands(read_report(folder / "report.json")):
        print(line, file=sys.stderr)
    sys.stdout.write((folder / "report.md").read_text(encoding="utf-8"))


def _counts(cell: Cell) -> bool:
    return cell.outcome in ORDER and not cell.known_failure


def _rank(cell: Cell) -> tuple[bool, int, int]:
    return cell.area != "safety", ORDER.index(cell.outcome), cell.edits


def _title(cell: Cell) -> str:
    area = "SAFETY " if cell.area == "safety" else ""
    return _escaped(f"{area}{cell.outcome}: {cell.trajectory} {cell.check} at N = {cell.edits}").replace(",", "%2C")


def _escaped(text: str) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in text)


if __name__ == "__main__":
    main(sys.argv[1:])
