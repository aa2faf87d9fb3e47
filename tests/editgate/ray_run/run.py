"""What `--ray` makes of a run: its tasks are worked on a cluster into the store, then the tests judge from there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from editgate import inert
from editgate.compat.pytest import warnings_shown
from editgate.errors import ConfigError, EvaluationError
from editgate.options.options import Options
from editgate.options.settings import Settings
from editgate.pytest_run import late_imports, selection, shard_run
from editgate.ray_run import request
from editgate.ray_run.cluster import connected
from editgate.ray_run.request import Request
from editgate.ray_run.schedule import TRIES, Schedule, State
from editgate.ray_run.worker import Outcome

if TYPE_CHECKING:
    from editgate.ray_run.pool import Pool


def register(config: pytest.Config, options: Options, settings: Settings) -> None:
    """Let this run's tasks be worked on a cluster.

    Raises:
        ConfigError: an option does not go with `--ray`, or the cluster cannot be used.
    """
    if getattr(config.option, "dist", "no") != "no":
        raise ConfigError("--ray with -n: Ray starts the workers. Allowed: one of the two.")
    if settings.stops_early:
        raise ConfigError(
            "--ray with --items=auto: which items are asked depends on the verdicts, so there is no plan. "
            "Allowed: one of the two."
        )
    wanted = request.read(options, (model for model in settings.models if model.name in settings.chosen_models))
    plugin = RayRun(config, options, settings, wanted)
    if wanted.joins and not config.option.collectonly:
        plugin.connect()
    config.pluginmanager.register(plugin, "editgate-ray")


class RayRun:
    """The plugin that works the tasks before the tests run, and says which of them have no number for that.

    Args:
        config: of the session.
        options: of the run.
        settings: of the run.
        wanted: what `--ray` asks for.
    """

    def __init__(self, config: pytest.Config, options: Options, settings: Settings, wanted: Request) -> None:
        self._options, self._settings, self._request = options, settings, wanted
        self._open = ExitStack()
        config.add_cleanup(self._open.close)
        self._poisoned: dict[str, str] = {}
        self._needs: dict[str, tuple[str, ...]] = {}

    def connect(self) -> None:
        """Start or join the cluster.

        Raises:
            ConfigError: it cannot be used.
        """
        self._open.enter_context(connected(self._request))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Work all tasks of the tests that will run; then the tests themselves run as always."""
        if session.config.option.collectonly:
            return
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(f"{session.testsfailed} errors while collecting")
        if not any(selection.case_of(item) for item in session.items):
            return
        try:
            with self._open, warnings_shown(session.config):
                if not self._request.joins:
                    self.connect()
                stopped = self._work(session)
        except ConfigError as problem:
            raise pytest.UsageError(str(problem)) from None
        if stopped:
            session.shouldstop = stopped
            raise session.Interrupted(stopped)

    def _work(self, session: pytest.Session) -> str:
        """Work the tasks; return why not all could be tried, if so."""
        from editgate.ray_run.pool import Pool  # noqa: PLC0415 - it imports Ray

        pool = Pool(self._request, self._options, self._settings)
        with pool.opened():
            pool.fill(len(session.items))  # they import while this process plans
            with late_imports.measuring():
                from editgate.plan import costs  # noqa: PLC0415 - see `late_imports`

                tasks = shard_run.planned(session.items, self._settings, reported=self._options.report is not None)
            schedule = Schedule(tasks, costs.Estimate(self._settings, costs.shipped()).seconds)
            _watched(session.config, pool, schedule)
        self._needs = {task.id: task.needs for task in tasks}
        self._poisoned = {name: schedule.reasons[name] for name in schedule.ids(State.POISONED)}
        return f"--ray: {pool.stopped}" if pool.stopped else ""

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A test that asks for a task that failed too often is an error: it is not tried once more in this process.

        Raises:
            EvaluationError: names the task.
        """
        case = selection.case_of(item) if self._poisoned else None
        if case is None:
            return
        from editgate.plan.from_cases import plan  # noqa: PLC0415 - it needs torch

        asked = plan([case], self._settings, reported=self._options.report is not None)
        for name in self._with_needs(task.id for task in asked):
            if name in self._poisoned:
                raise EvaluationError(
                    f"poisoned: {name} failed {TRIES} times under --ray and is not tried again in this run, the last "
                    f"time: {self._poisoned[name]}"
                )

    def _with_needs(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that were planned, with all that they need, and so on."""
        todo, found = list(names), dict[str, None]()
        while todo:
            name = todo.pop()
            if name in self._needs and name not in found:
                found[name] = None
                todo += self._needs[name]
        return [*found]


def _watched(config: pytest.Config, pool: Pool, schedule: Schedule) -> None:
    """Work the tasks, tell how far it is meanwhile, and at the end what came of it."""
    from editgate.ray_run.board import Board  # noqa: PLC0415 - as `pool`

    board = Board(config, schedule, schedule.seconds)
    began, wrote = time.monotonic(), set[str]()

    def ended(task: str, outcome: Outcome) -> None:
        if outcome.word in {"done", "refused"}:  # else it is tried again
            board.ended(task, outcome.seconds)
        wrote.update([task] if outcome.wrote else [])

    pool.run(schedule, board.show, ended)
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    assert terminal is not None  # pytest's own
    for line in _lines(schedule, wrote, time.monotonic() - began):
        terminal.write_line(inert.terminal(line))


def _lines(schedule: Schedule, wrote: set[str], seconds: float) -> Sequence[str]:
    done = schedule.ids(State.DONE)
    told = [f"Ray: {len(done)} of {len(schedule.tasks)} tasks in {seconds:.0f} s, {len(wrote)} of them were not there"]
    told += [f"no number: {name}: {schedule.reasons[name]}" for name in schedule.ids(State.REFUSED)]
    told += [f"POISONED: {name}: {schedule.reasons[name]}" for name in schedule.ids(State.POISONED)]
    left = len(schedule.ids(State.LEFT_OUT))
    return [*told, *([f"left out: {left} tasks that come after these"] if left else [])]
