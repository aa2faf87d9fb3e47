"""The plugin that collects what tests noted, prints the tables and writes the report.

On xdist's controller it gets the reports of all workers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from editgate.errors import ConfigError
from editgate.report import junit, table
from editgate.report.collector import Collector
from editgate.report.compare import changes
from editgate.report.run_report import RunReport, Subject, read_report
from editgate.report.safety import safety_line
from editgate.report.writer import build_report, check_writable, write
from editgate.verdict.outcome import FINDING_PROPERTY, forget_flips

WIDTH = 110


class Summary:
    """Collects cells from reports, and prints them: safety first.

    Args:
        subject: returns what the run is about; called only for a report, because it reads the weights' files.
        folder: where the report goes; None: nowhere.
        earlier: the `report.json` to compare with; None: none.

    Raises:
        ConfigError: the folder cannot be written, or the earlier report cannot be read.
    """

    def __init__(self, subject: Callable[[], Subject], folder: Path | None = None, earlier: Path | None = None) -> None:
        self.subject, self.folder = subject, folder
        self.collector = Collector()
        self.earlier: RunReport | None = None
        self.written = ""  # where the report is, or why it is not
        self.changes: list[str] = []
        self.findings: list[str] = []
        self.interruption = ""
        if earlier:
            try:
                self.earlier = read_report(earlier)
            except ConfigError as error:
                raise ConfigError(f"--compare {error}") from None
        if folder:
            check_writable(folder)

    @pytest.hookimpl(tryfirst=True)  # before JUnit's plugin, which would write every property into its file
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the test's result."""
        self.collector.add(report)
        forget_flips(report)
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
        """Write the report, however the run ended."""
        junit.add_safety(session.config, safety_line(self.collector.cells))
        if session.config.getoption("collectonly") or not (self.folder or self.earlier):
            return
        stopped = self.interruption or str(session.shouldstop or session.shouldfail or "")
        report = build_report(self.subject(), self.collector, session.testscollected, stopped)
        self.changes = changes(self.earlier, report) if self.earlier else []
        if self.folder is None:
            return
        added = {"changes": tuple(self.changes), "findings": tuple(self.findings)}
        try:
            self.written = f"report: {write(report.model_copy(update=added), self.folder)}"
        except OSError as error:  # the run's outcome must not depend on a full disk
            self.written = f"report: NOT written to {self.folder}: {error.strerror or error}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print safety, one table per trajectory, and what changed."""
        cells = self.collector.cells
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
        if self.written:
            terminalreporter.write_line(self.written)


class NotEvaluated:
    """Marks "could not evaluate" in JUnit; a plugin of its own, because it must get a report after JUnit did."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Mark the error of a fixture."""
        junit.mark_not_evaluated(self.config, report)
