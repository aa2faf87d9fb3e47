"""Prints what a run would need, what of it is there, and what the rest will take.

python -m editgate.plan -k memit --edit-counts=1,10          # the arguments of `python -m editgate`
python -m editgate.plan -k memit --edit-counts=1,10 --json   # every task, with its entries in the store
python -m editgate.plan --costs --store=DIR                  # what tasks took that shards worked into a store

It counts as the gate collects, and measures nothing; the model is loaded, since its digest is part of every key.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pytest

from editgate import inert
from editgate.__main__ import main as run_gate
from editgate.compat.pytest import warnings_shown
from editgate.errors import EditgateError
from editgate.options.settings import Settings
from editgate.plan import costs
from editgate.plan.costs import Estimate
from editgate.plan.simulate import simulate
from editgate.plan.tasks import KINDS, Task
from editgate.pytest_run import shard_run
from editgate.pytest_run.progress_line import duration
from editors import EditorError

WORKERS = (1, 8, 64)
FLAGS = {"--json", "--costs"}


def main(arguments: Sequence[str]) -> int:
    """Collect as the gate does, print instead of testing, and return the exit code."""
    flags = FLAGS & set(arguments)
    given = [argument for argument in arguments if argument not in flags]
    return run_gate([*(["-qq"] if flags else []), *given], plugins=[Printer(flags)])


@dataclass(frozen=True)
class Row:
    """One task as it is printed.

    Attributes:
        task: it.
        there: whether its results are in the store.
        entries: what it asks of the store, up to the first entry that is missing.
        seconds: an estimate.
        error: why there is no number; empty if nobody knows of a reason.
    """

    task: Task
    there: bool
    entries: list[str]
    seconds: float
    error: str = ""


class Printer(shard_run.InsteadOfTests):
    """The plugin that prints the plan.

    Args:
        flags: of `FLAGS`.
    """

    def __init__(self, flags: set[str]) -> None:
        self._flags = flags

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Print it."""
        from editgate.plugin import OPTIONS, SETTINGS  # noqa: PLC0415 - with it pytest's plugin registers itself

        config = session.config
        settings: Settings = config.stash[SETTINGS]
        if "--costs" in self._flags:
            text = costs.of(costs.recorded(settings.store)).to_toml()
        else:
            with warnings_shown(config):
                tasks = shard_run.planned(session.items, settings, reported=config.stash[OPTIONS].report is not None)
                found = rows(shard_run.part_of(tasks, settings), settings)
            text = as_json(found) if "--json" in self._flags else "\n".join(lines(found, settings))
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        assert terminal is not None  # pytest's own
        terminal.write_line(text)
        return True


def rows(tasks: Sequence[Task], settings: Settings) -> list[Row]:
    """Return each task with what is there of it and what it will take."""
    from editgate.plan.stores import Presence  # noqa: PLC0415 - it needs torch: seconds

    presence, estimate = Presence(settings), _estimate(settings)
    found = []
    for task in tasks:
        there, entries, error = False, list[str](), ""
        try:
            there, entries = presence.of(task)
        except (EditgateError, EditorError) as caught:
            error = f"{type(caught).__name__}: {caught}".partition("\n")[0]
        found.append(Row(task, there, entries, estimate.seconds(task), error))
    return found


def _estimate(settings: Settings) -> Estimate:
    """By what was worked into this store; of kinds that were not, by what is shipped."""
    known, measured = costs.shipped(), costs.of(costs.recorded(settings.store))
    if not measured.tables:
        return Estimate(settings, known)
    scale = measured.megabytes / known.megabytes if measured.megabytes else 1.0
    tables = {kind: {about: scale * value for about, value in table.items()} for kind, table in known.tables.items()}
    tables["items"] = dict(known.tables["items"])
    for kind, table in measured.tables.items():
        tables[kind] = {**tables.get(kind, {}), **table}
    return Estimate(settings, costs.Costs(tables, measured.megabytes))


def lines(found: Sequence[Row], settings: Settings) -> list[str]:
    """Return the plan as a person reads it: a line a kind of task, then how long it takes with more workers."""
    told = [f"{'':8}{'tasks':>7}{'there':>7}{'left':>7}  about"]
    for kind in KINDS:
        mine = [row for row in found if row.task.kind == kind]
        left = [row for row in mine if not row.there]
        took = duration(sum(row.seconds for row in left)) if left else "-"
        if mine:
            told.append(f"{kind:8}{len(mine):7}{len(mine) - len(left):7}{len(left):7}  {took}")
    told += [inert.terminal(f"no number: {row.task.id}: {row.error}") for row in found if row.error]
    left = [row for row in found if not row.there]
    if not left:
        return [*told, "nothing is left to compute: pytest judges from the store"]
    seconds = {row.task.id: row.seconds for row in left}
    for workers in WORKERS:
        schedule = simulate([row.task for row in left], lambda task: seconds[task.id], workers)
        told.append(f"{workers} worker{'s' if workers > 1 else ''}: about {duration(schedule.seconds)}")
    told.append(f"longest chain: {duration(schedule.longest_seconds)}, up to {inert.terminal(schedule.longest[-1])}")
    of_store = bool(costs.recorded(settings.store))
    source = "by what was measured into this store" if of_store else "by costs of the miniature on one core"
    return [*told, f"estimated {source}, in proportion to the size of the weights"]


def as_json(found: Sequence[Row]) -> str:
    """Return all tasks, one object each."""
    told = [
        {"id": row.task.id, **asdict(row.task), "entries": row.entries, "there": row.there, "seconds": row.seconds}
        | ({"error": row.error} if row.error else {})
        for row in found
    ]
    return json.dumps(told, indent=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
