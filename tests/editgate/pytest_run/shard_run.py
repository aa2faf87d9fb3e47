"""What `--shard` makes of a run: its part of the list is worked into the store, and nothing is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from editgate import inert
from editgate.compat.pytest import warnings_shown
from editgate.errors import ConfigError
from editgate.options.settings import Settings
from editgate.plan import shards
from editgate.plan.shards import Shard
from editgate.pytest_run import selection

if TYPE_CHECKING:
    from editgate.measure.session import EvaluationSession
    from editgate.plan.tasks import Task

Opening = Callable[[], AbstractContextManager["EvaluationSession"]]


def planned(items: Sequence[pytest.Item], settings: Settings, *, reported: bool) -> list[Task]:
    """Return the tasks of the tests that will run; those that are skipped ask for nothing."""
    from editgate.plan.from_cases import plan  # noqa: PLC0415 - it needs torch, which a refused command line does not

    asked = [item for item in items if item.get_closest_marker("skip") is None]
    return plan((case for case in map(selection.case_of, asked) if case is not None), settings, reported=reported)


def part_of(tasks: Sequence[Task], settings: Settings) -> list[Task]:
    """Return the tasks of the shard that the run is; all of them if it is none."""
    from editgate.plan import costs  # noqa: PLC0415 - as above

    if settings.shard is None:
        return list(tasks)
    return shards.part(tasks, settings.shard, costs.Estimate(settings, costs.shipped()).seconds)


def refuse(config: pytest.Config, shard: Shard) -> None:
    """Refuse options that mean nothing to a run that judges nothing.

    Raises:
        ConfigError: names the option.
    """
    given = {"-n": getattr(config.option, "dist", "no") != "no", "--compare": config.option.compare is not None}
    given |= {"--snapshot-update": config.getoption("update_snapshots", default=False)}
    for option in (name for name, wanted in given.items() if wanted):
        why = "start one process a shard" if option == "-n" else "a shard judges nothing"
        raise ConfigError(f"--shard {shard} with {option}: {why}. Allowed: one of the two.")


class InsteadOfTests:
    """A plugin whose run judges nothing: it writes no report, and leaves an earlier one alone."""


class ShardRun(InsteadOfTests):
    """The plugin that works a shard.

    Args:
        settings: of the run.
        shard: which part.
        opened: gives the session.
        reported: whether the run that judges writes a report.
    """

    def __init__(self, settings: Settings, shard: Shard, opened: Opening, *, reported: bool) -> None:
        self.settings, self.shard, self.opened, self.reported = settings, shard, opened, reported

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Work the shard's tasks; exit code 1 if one broke that might go right another time."""
        if session.config.option.collectonly:
            return None
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(f"{session.testsfailed} errors while collecting")
        with self.opened() as opened, warnings_shown(session.config):
            from editgate.plan import local_run  # noqa: PLC0415 - as above

            tasks = planned(session.items, self.settings, reported=self.reported)
            mine = part_of(tasks, self.settings)
            report = local_run.run(mine, local_run.with_recording_store(opened), opened.announce)
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        lines = [f"shard {self.shard}: {len(mine)} of {len(tasks)} tasks, nothing judged", *report.lines()]
        others = sum(selection.case_of(item) is None for item in session.items)
        lines += [f"{others} tests are none of the gate's, and have no tasks"] if others else []
        assert terminal is not None  # pytest's own
        for line in lines:
            terminal.write_line(inert.terminal(line))
        session.testsfailed += len(report.broken)
        if report.stopped:
            session.shouldstop = report.stopped
            raise session.Interrupted(report.stopped)
        return True
