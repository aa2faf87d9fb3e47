"""The plugin that gathers what tests noted, prints the tables and writes the report.

On xdist's controller it hears of all workers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from editgate.report import junit, table
from editgate.report.collector import Collector
from editgate.report.compare import changes
from editgate.report.run_report import RunReport, Subject, read_report
from editgate.report.safety import safety_line
from editgate.report.writer import Ended, check_writable, record_of, write
from editgate.verdict.outcome import FINDING_PROPERTY

WIDTH = 110


class Summary:
    """Collects cells from reports, safety first in print.

    Args:
        subject: tells what the run is about; asked only for a report, because it reads the weights' files.
        folder: where the report goes; None: nowhere.
        earlier: the report to compare with; None: none.

    Raises:
        ConfigError: the folder cannot be written, or the earlier report cannot be read.
    """

    def __init__(self, subject: Callable[[], Subject], folder: Path | None = None, earlier: Path | None = None) -> None:
        self.subject, self.folder = subject, folder
        self.ledger = Collector()
        self.earlier = read_report(earlier) if earlier else None
        self.told: list[str] = []  # what became of the report
        self.changes: list[str] = []
        self.findings: list[str] = []
        self.interruption = ""
        if folder:
            check_writable(folder)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what became of the test."""
        self.ledger.add(report)
        if report.when == "call":
            self.findings += [str(text) for name, text in report.user_properties if name == FINDING_PROPERTY]

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember why the run ended early."""
        self.interruption = f"interrupted ({excinfo.typename})"

    def pytest_internalerror(self, excrepr: object) -> None:
        """Remember why the run ended early."""
        self.interruption = f"internal error ({str(excrepr).strip().splitlines()[-1]})"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, whatever the run came to."""
        junit.tell_safety(session.config, safety_line(self.ledger.cells))
        if session.config.getoption("collectonly") or not (self.folder or self.earlier):
            return
        stopped = self.interruption or str(session.shouldstop or session.shouldfail or "")
        record = record_of(Ended(self.subject(), stopped), self.ledger, session.testscollected)
        self.changes = changes(self.earlier, record) if self.earlier else []
        if self.folder:
            told = {"changes": tuple(self.changes), "findings": tuple(self.findings)}
            self._write(record.model_copy(update=told), self.folder)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print safety, one table a trajectory, and what changed."""
        cells = self.ledger.cells
        if any(cell.area != "integrity" for cell in cells):
            terminalreporter.section("what the edits cost")
            for line in textwrap.wrap(safety_line(cells), WIDTH, subsequent_indent="  "):
                terminalreporter.write_line(line)
            terminalreporter.write_line(table.render(cells, WIDTH))
        if self.findings:
            terminalreporter.section("what the paper found, measured here")
            terminalreporter.write_line("\n".join(self.findings))
        if self.earlier:
            terminalreporter.section(f"what changed since {self.earlier.created}")
            for line in self.changes:
                terminalreporter.write_line(line)
        for line in self.told:
            terminalreporter.write_line(line)

    def _write(self, record: RunReport, folder: Path) -> None:
        try:
            written = write(record, folder)
        except OSError as error:  # the run's outcome must not depend on a full disk
            self.told = [f"report: NOT written to {folder}: {error.strerror or error}"]
        else:
            self.told = [f"report: {written}"]


class NotEvaluated:
    """Says "could not evaluate" in JUnit; apart, because it must hear of a report after JUnit did."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Name an error of a fixture as what it is."""
        junit.mark_not_evaluated(self.config, report)
