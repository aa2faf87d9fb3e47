"""How long a list of tasks takes on many workers, by simulation: the tasks' own order and estimates, and no model."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from editgate.plan.tasks import Task


@dataclass(frozen=True)
class Schedule:
    """What came out.

    Attributes:
        seconds: from the first task's begin to the last one's end.
        work: the sum of all tasks.
        longest: the ids of the tasks that follow one another for longest; no number of workers is faster.
        longest_seconds: what these take.
    """

    seconds: float
    work: float
    longest: tuple[str, ...]
    longest_seconds: float


def simulate(tasks: Sequence[Task], cost: Callable[[Task], float], workers: int) -> Schedule:
    """Give each free worker the task, of those whose needs are done, that most work comes after.

    Args:
        tasks: each after those it needs; what is needed and not in the list is taken as done.
        cost: seconds of a task.
        workers: how many work at once, one task each.
    """
    seconds = {task.id: cost(task) for task in tasks}
    needs = {task.id: {need for need in task.needs if need in seconds} for task in tasks}
    after: dict[str, list[str]] = defaultdict(list)
    for name, needed in needs.items():
        for need in needed:
            after[need].append(name)
    ahead: dict[str, float] = {}  # of a task and what must come after it, one after another
    for task in reversed(tasks):
        ahead[task.id] = seconds[task.id] + max((ahead[name] for name in after[task.id]), default=0.0)
    place = {task.id: number for number, task in enumerate(tasks)}
    waiting = {name: len(needed) for name, needed in needs.items()}
    ready = [(-ahead[name], place[name], name) for name, left in waiting.items() if not left]
    heapq.heapify(ready)
    running: list[tuple[float, int, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, number, name = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[name], number, name))
        now, _, done = heapq.heappop(running)
        for name in after[done]:
            waiting[name] -= 1
            if not waiting[name]:
                heapq.heappush(ready, (-ahead[name], place[name], name))
    chain = _longest(after, ahead)
    return Schedule(now, sum(seconds.values()), chain, sum(seconds[name] for name in chain))


def _longest(after: dict[str, list[str]], ahead: dict[str, float]) -> tuple[str, ...]:
    """Return the chain that begins with the task that most comes after, first that of the list where several do."""
    chain: list[str] = []
    candidates = list(ahead)[::-1]
    while candidates:
        chain.append(max(candidates, key=lambda name: ahead[name]))
        candidates = after[chain[-1]]
    return tuple(chain)
