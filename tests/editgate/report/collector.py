"""Reads pytest's reports, from any process: one cell a test of the gate, whatever became of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from editgate.measure.items import shorten
from editgate.verdict.outcome import Cell, Inconclusive, Outcome, Regression, RuleBroken, noted_cells

COULD_NOT = "could not evaluate: "
SHOWN = 600  # characters of a reason
FAILURE = re.compile(rf"^(?:{Regression.__name__}|{Inconclusive.__name__}|{RuleBroken.__name__}): ")  # the text says it
MODULES = re.compile(r"^(?:\w+\.)+(?=\w+:)")


class Collector:
    """What is known so far.

    Attributes:
        cells: by the test's id, in the order in which they came.
        finished: ids of tests that came to an end, of the gate or not.
        problems: tests outside the gate that failed, and crashes: (id, first words of the reason).
    """

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}
        self.finished: set[str] = set()
        self.problems: list[tuple[str, str]] = []

    @property
    def cells(self) -> list[Cell]:
        """The cells, in the order in which they came."""
        return list(self._cells.values())

    def add(self, report: pytest.TestReport) -> None:
        """Take what a report says; every test gives up to three of them."""
        known = noted_cells(report)
        ended = report.when == "call" or (report.when == "setup" and not report.passed)
        if ended:
            self.finished.add(report.nodeid)
        if ended and known:
            self.enter(_finished(known[0], report))
        elif report.failed:
            self.problems.append((report.nodeid, shorten(reason(report), SHOWN)))

    def enter(self, cell: Cell) -> None:
        """Keep the cell of a test that came to an end."""
        self._cells[cell.test] = cell
        self.finished.add(cell.test)


def reason(report: pytest.TestReport) -> str:
    """Return why a test failed, without the traceback and without the exception's module."""
    crash = getattr(report.longrepr, "reprcrash", None)
    told = MODULES.sub("", crash.message if crash else report.longreprtext).strip()
    return FAILURE.sub("", told)


def _finished(cell: Cell, report: pytest.TestReport) -> Cell:
    """The cell with the test's outcome; a known limit (xfail) stays what it is, with its reason."""
    known = str(getattr(report, "wasxfail", "")).removeprefix("reason: ")
    strict = re.match(r"\[XPASS\(strict\)\] ?(.*)", report.longreprtext, re.DOTALL) if report.failed else None
    known = strict[1] if strict else known
    told = "" if strict or report.passed else _told(report)
    return replace(
        cell,
        test=report.nodeid,
        outcome=_outcome(cell, report),
        reason=told,
        known_failure=known.strip(),
        unexpected_pass=strict is not None,
        fails=report.failed,
    )


def _outcome(cell: Cell, report: pytest.TestReport) -> Outcome:
    if report.failed and report.when != "call":
        return Outcome.NOT_EVALUATED
    if report.skipped and not hasattr(report, "wasxfail"):
        return Outcome.SKIPPED
    if cell.area == "integrity":
        return Outcome.RULE_BROKEN if report.failed else Outcome.PASS
    return cell.outcome


def _told(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # a skip: file, line, reason
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return reason(report)
