"""The simulation of many workers: what bounds it, and what it comes to where that can be reckoned by hand."""

from __future__ import annotations

import pytest

from editgate.plan.simulate import simulate
from editgate.plan.tasks import Task


def _chain(name: str, length: int) -> list[Task]:
    tasks: list[Task] = []
    for n in range(1, length + 1):
        tasks.append(
            Task("edit", "m", name, f"{name}-m", first=n - 1, edits=n, needs=tuple(task.id for task in tasks[-1:]))
        )
    return tasks


def test_one_worker_takes_the_sum_and_many_the_longest_chain() -> None:
    """Chains of 3, 2 and 1 tasks of 1 s: 6 s alone, 3 s for two workers or more."""
    tasks = [*_chain("a", 3), *_chain("b", 2), *_chain("c", 1)]
    found = {workers: simulate(tasks, lambda _: 1.0, workers) for workers in (1, 2, 64)}
    assert [found[workers].seconds for workers in (1, 2, 64)] == [6.0, 3.0, 3.0]
    assert found[2].longest == ("edit a-m 1-1", "edit a-m 2-2", "edit a-m 3-3")
    assert found[2].work == 6.0


def test_the_longest_chain_goes_first() -> None:
    """A short task that was there first does not keep a worker from the chain that everything waits for."""
    tasks = [*_chain("short", 1), *_chain("long", 4), *_chain("other", 1)]
    assert simulate(tasks, lambda _: 1.0, 2).seconds == 4.0


def test_what_is_done_is_not_waited_for() -> None:
    """A need that is not in the list is there already."""
    assert simulate(_chain("a", 3)[1:], lambda _: 2.0, 1).seconds == pytest.approx(4.0)


def test_an_empty_list_takes_no_time() -> None:
    """Nothing is left: no error."""
    assert simulate([], lambda _: 1.0, 8).seconds == 0.0
