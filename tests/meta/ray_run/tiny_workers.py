"""Workers that do nothing: how many messages a plan takes.

Run as a program with a cluster's address it prints, for plans of two sizes, tasks, messages and looks as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import ray

from editgate.options import settings
from editgate.options.options import Options
from editgate.plan.tasks import Task
from editgate.ray_run.pool import Pool
from editgate.ray_run.request import Request, Share
from editgate.ray_run.schedule import Schedule, State
from editgate.ray_run.stores import Keeper
from editgate.ray_run.worker import Hello, Order, Outcome, asked, surroundings
from meta.ray_run.test_schedule import one_second, plan

SIZES = (10, 160)  # trajectories


class TinyWorker:
    """Says what a worker says, and works nothing."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def hello(self) -> Hello:
        """As `TaskWorker`."""
        return Hello(ray.get_runtime_context().get_node_id(), os.getpid(), sees_store=True, surroundings=surroundings())

    def open(self, keeper: Keeper | None) -> dict[str, str]:
        """As `TaskWorker`."""
        assert keeper is None
        return asked(settings.read(self._order.options, self._order.store))

    def work(self, task: Task) -> Outcome:
        """Say that it is done."""
        del task
        return Outcome("done")

    def close(self) -> None:
        """As `TaskWorker`."""


def main(address: str) -> None:
    """Work the plans, and print what it took."""
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        options = Options.of({"editor": "editgate.controls:Vandal", "limit": 5, "store": folder})
        pool = Pool(Request(address, Share(1, 0, 0)), options, settings.read(options, Path(folder)), TinyWorker)
        with pool.opened():
            for size in SIZES:
                tasks, ended, before = plan(size), Counter[str](), pool.messages
                schedule = Schedule(tasks, one_second)
                pool.run(schedule, lambda _: None, lambda task, _, ended=ended: ended.update([task]))  # type: ignore[misc]
                row = {"tasks": len(tasks), "done": len(schedule.ids(State.DONE)), "most": max(ended.values())}
                rows.append(row | {"messages": pool.messages - before, "looks": schedule.looks})
    print(json.dumps(rows), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
