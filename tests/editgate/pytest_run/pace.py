"""How far the whole run is and what is left of it, from the tests that have ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from editgate.cases import trajectory_in
from editgate.pytest_run.progress_line import ProgressLine, duration

SURE = 0.05  # share of the tests that must have ended before the rest is estimated


class Pace:
    """Follows the tests of the gate by their ids, on one process or as xdist's controller.

    A test is expected to take what those of its kind took: tests of one function ask the same of other methods and Ns.

    Args:
        trajectories: their names, as ids of tests begin with.
    """

    def __init__(self, trajectories: Sequence[str]) -> None:
        self._names = trajectories
        self._pending: dict[str, None] = {}
        self._expected = self._workers = 0
        self._took: dict[str, list[float]] = {}
        self._begun: dict[str, None] = {}
        self._all: set[str] = set()

    def expect(self, ids: Iterable[str], workers: int = 1) -> None:
        """Take the ids of the tests that will run, on so many workers."""
        self._pending = {test: None for test in ids if trajectory_in(test, self._names)}
        self._expected, self._workers = len(self._pending), workers
        self._all = {trajectory_in(test, self._names) for test in self._pending}

    def began(self, test: str) -> None:
        """Note that a test has begun."""
        if test in self._pending:
            self._begun[trajectory_in(test, self._names)] = None

    def ended(self, test: str, seconds: float) -> None:
        """Note what a test took."""
        if test in self._pending:
            del self._pending[test]
            self._took.setdefault(_kind(test), []).append(seconds)

    def describe(self, at_least: float = 0.0) -> str:
        """Return such as `trajectory 3/11, about 6 min left`; nothing while there is no test of the gate.

        Args:
            at_least: seconds that what is going on will last: edits that nobody has applied yet are counted by no test.
        """
        if not self._begun:
            return ""
        where = f"trajectory {len(self._begun)}/{len(self._all)}"
        if len(self._all) == 1:
            where = f"test {self._expected - len(self._pending)}/{self._expected}"
        left = self.seconds_left()
        return where if left is None else f"{where}, about {duration(max(left, at_least))} left"

    def seconds_left(self) -> float | None:
        """Return what the tests that have not ended will take; None while too few have."""
        ended = self._expected - len(self._pending)
        if not self._pending or ended < max(2, SURE * self._expected):
            return None
        times = [seconds for took in self._took.values() for seconds in took]
        usual = sum(times) / len(times)
        mean = {kind: sum(took) / len(took) for kind, took in self._took.items()}
        return sum(mean.get(_kind(test), usual) for test in self._pending) / self._workers


class Follow:
    """The plugin that tells the pace what happens.

    Args:
        pace: of the run.
        line: shown whenever a test ends; None where the process that measures shows one.
    """

    def __init__(self, pace: Pace, line: ProgressLine | None = None) -> None:
        self.pace, self.line = pace, line
        self._seconds: dict[str, float] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take what this process has collected; xdist's controller collects nothing."""
        if session.items:
            self.pace.expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: Sequence[str]) -> None:
        """Take what a worker has collected: all workers have the same."""
        workers = getattr(node, "workerinput", {}).get("workercount", 1)
        self.pace.expect(ids, workers)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note that a test has begun."""
        self.pace.began(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test took in all."""
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if report.when == "teardown":
            self.pace.ended(report.nodeid, self._seconds.pop(report.nodeid))
            if self.line is not None:
                self.line("")


def _kind(test: str) -> str:
    return test.partition("[")[0]
