"""Collects one cell per gate test from pytest's reports, which may come from any process."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from editgate.measure.items import shorten
from editgate.report.run_report import Problem
from editgate.verdict.outcome import Cell, Inconclusive, Outcome, Regression, RuleBroken, noted_cells

MAX_REASON = 600  # characters of the reason why a test outside the gate failed
MODULE_PATH = re.compile(r"^(?:\w+\.)+(?=\w+:)")
VERDICT_NAME = re.compile(rf"^(?:{Regression.__name__}|{Inconclusive.__name__}|{RuleBroken.__name__}): ")


class Collector:
    """The results so far.

    Attributes:
        finished: ids of the tests that ended, gate tests or not.
        problems: tests outside the gate that failed, and crashes.
    """

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}
        self.finished: set[str] = set()
        self.problems: list[Problem] = []

    @property
    def cells(self) -> list[Cell]:
        """One cell per gate test that ended, in the order in which they ended."""
        return list(self._cells.values())

    def add(self, report: pytest.TestReport) -> None:
        """Read one of the up to three reports (setup, call, teardown) of a test."""
        noted = noted_cells(report)
        ended = report.when == "call" or (report.when == "setup" and not report.passed)
        if ended:
            self.finished.add(report.nodeid)
        if ended and noted:
            about = noted[-1]
            judged = _with_outcome(noted[0], report)
            self.add_cell(replace(judged, external=about.external, batch_size=about.batch_size))
        elif report.failed:
            self.problems.append(Problem(test=report.nodeid, reason=shorten(reason_of(report), MAX_REASON)))

    def add_cell(self, cell: Cell) -> None:
        """Add the cell of a test that ended."""
        self._cells[cell.test] = cell
        self.finished.add(cell.test)


def reason_of(report: pytest.TestReport) -> str:
    """Return why a test failed or was skipped, without traceback and exception module; empty if it passed."""
    if isinstance(report.longrepr, tuple):  # a skip: file, line, reason
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    message = MODULE_PATH.sub("", crash.message if crash else report.longreprtext).strip()
    return VERDICT_NAME.sub("", message)


def _with_outcome(cell: Cell, report: pytest.TestReport) -> Cell:
    """Return the cell with its test's outcome; an expected failure keeps the outcome it would have had."""
    xfail_reason = str(getattr(report, "wasxfail", "")).removeprefix("reason: ")
    unexpected_pass = re.match(r"\[XPASS\(strict\)\] ?(.*)", report.longreprtext, re.DOTALL) if report.failed else None
    outcome = cell.outcome
    if report.failed and report.when != "call":
        outcome = Outcome.NOT_EVALUATED
    elif report.skipped and not hasattr(report, "wasxfail"):
        outcome = Outcome.SKIPPED
    elif cell.area == "integrity":
        outcome = Outcome.RULE_BROKEN if report.failed else Outcome.PASS
    return replace(
        cell,
        test=report.nodeid,
        outcome=outcome,
        reason="" if unexpected_pass or report.passed else reason_of(report),
        known_failure=(unexpected_pass[1] if unexpected_pass else xfail_reason).strip(),
        unexpected_pass=unexpected_pass is not None,
        fails=report.failed,
    )
