"""Where the minutes of a run went: a table after pytest's slowest tests, for whoever asks for those (`--durations`)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

import pytest

from editgate.measure.time_spent import Spent

COLLECTING, REST = "starting and collecting", "verdicts, the store, everything else"
NAME = "editgate-time-table"
SENT = "editgate_seconds"  # under which a worker sends its own


class TimeTable:
    """The plugin that keeps what this process's time goes to, adds that of xdist's workers, and prints it.

    Attributes:
        spent: filled by what measures.
    """

    def __init__(self) -> None:
        self.spent = Spent()
        self._all: defaultdict[str, float] = defaultdict(float)
        self._began = time.monotonic()

    def pytest_collection_finish(self) -> None:
        """What it took until now was to begin."""
        self.spent.seconds[COLLECTING] = time.monotonic() - self._began

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Add up this process; a worker sends that. The controller of workers only waits for them."""
        seconds = self.spent.seconds
        seconds[REST] = time.monotonic() - self._began - sum(seconds.values())
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[SENT] = dict(seconds)
        elif getattr(session.config.option, "dist", "no") == "no":
            self._add(seconds)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Add a worker's; one that crashed has sent nothing."""
        self._add(getattr(node, "workeroutput", {}).get(SENT, {}))

    def _add(self, seconds: Mapping[str, float]) -> None:
        for kind, value in seconds.items():
            self._all[kind] += value

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        if terminalreporter.config.option.durations is None or not self._all:
            return
        terminalreporter.section("where the time went")
        for line in lines(self._all):
            terminalreporter.write_line(line)


def lines(seconds: Mapping[str, float]) -> list[str]:
    """Return a line for each kind of work, the longest first, and their sum."""
    total = sum(seconds.values())
    rows = [*sorted(seconds.items(), key=lambda row: -row[1]), ("all processes together", total)]
    return [f"{value:9.1f}s {value / total:5.0%}  {kind}" for kind, value in rows]
