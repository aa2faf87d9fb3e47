"""Puts the record together and writes its three forms, each at once under its name."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from editgate.errors import ConfigError
from editgate.report.collector import Collector
from editgate.report.html.page import page
from editgate.report.markdown import markdown
from editgate.report.run_report import Budget, Problem, RunReport, Subject, result_of
from editgate.report.safety import safety_line
from editgate.report.trajectory_summary import trajectory_summaries


@dataclass(frozen=True)
class Ended:
    """What the run was about, and why it ended early; empty if it did not."""

    subject: Subject
    stopped: str


def record_of(run: Ended, ledger: Collector, collected: int) -> RunReport:
    """Return the record of a run that has ended, with the tests that were collected for it."""
    ran = len(ledger.finished)
    missing = f"{ran} of {collected} tests ended" if ran < collected else ""
    ended = "; ".join(each for each in (run.stopped, missing) if each)
    cells = tuple(ledger.cells)
    return RunReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        ended=ended or "complete",
        ran=ran,
        collected=collected,
        result=result_of(cells, complete=not ended, sound=not ledger.problems),
        safety=safety_line(cells),
        subject=run.subject,
        budgets=tuple(Budget(headline=each.headline, **asdict(each)) for each in trajectory_summaries(cells)),
        cells=cells,
        problems=tuple(Problem(test=test, reason=reason) for test, reason in ledger.problems),
    )


def write(record: RunReport, folder: Path) -> Path:
    """Write report.json, report.md and report.html; returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / "report.json", record.model_dump_json(indent=1, exclude_defaults=False) + "\n")
    _put(folder / "report.md", markdown(record))
    return _put(folder / "report.html", page(record))


def check_writable(folder: Path) -> None:
    """Make the folder before anything runs.

    Raises:
        ConfigError: that fails, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / "report.probe", "").unlink()
    except OSError as error:
        raise ConfigError(
            f"--report {folder}: cannot be written ({error.strerror or error}). Name another folder."
        ) from None


def _put(path: Path, text: str) -> Path:
    """Write under a temporary name, then rename: nobody reads half a report."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
