"""The plugin that gathers what tests noted and prints the tables; on xdist's controller it hears of all workers."""

from __future__ import annotations

import pytest

from tests.harness import table
from tests.harness.outcomes import Cell, noted

WIDTH = 110


class Summary:
    """Collects cells from reports, safety first in print."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what the test noted, once, whatever its outcome."""
        if report.when == "teardown":
            self.cells += noted(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print one table a trajectory."""
        if self.cells:
            terminalreporter.section("what the edits cost")
            terminalreporter.write_line(table.render(self.cells, WIDTH))
