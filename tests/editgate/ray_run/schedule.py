"""Which worker works which task next, and what a failure means: plain planning, which knows nothing of Ray.

A task is ready when all that it needs is done. Of one trajectory the edits come one after another, because each needs
the one before; its benchmarks may go to whoever is free. A worker stays with the trajectory that it has in memory, in
the order of the plan. One that has nothing to do there takes a baseline, else what the longest work waits for, of a
model that it has loaded if it can.

Each task is looked at a fixed number of times, so the cost grows as the work: unmet needs are counted down, and what is
ready lies in queues. What was taken elsewhere is dropped from a queue when it comes up there.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush

from editgate.plan.tasks import Task

TRIES = 3  # so often a task may break, or take its worker with it
Queue = list[tuple[float, int]]  # (what comes first, the task's place in the plan)


class State(Enum):
    """What has become of a task."""

    WAITING = "waiting"  # for what it needs
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"  # there is no number, which is a result
    POISONED = "poisoned"  # it failed too often
    LEFT_OUT = "left out"  # it comes after one of these two

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self not in {State.WAITING, State.READY, State.RUNNING}


@dataclass(frozen=True)
class Worker:
    """Who works tasks.

    Attributes:
        name: of it alone.
        node: the machine that it is on.
    """

    name: Hashable
    node: str


@dataclass
class _Known:
    """What a worker has in memory, and what it is at."""

    chain: str = ""
    model: str = ""
    task: int | None = None


@dataclass
class Schedule:
    """What is left of a list of tasks, and who is at which.

    Attributes:
        tasks: the plan, each task after those it needs.
        seconds: what a task is expected to take.
        reasons: by id why a task has no number, was poisoned, or failed last.
        looks: how often a task was looked at in a queue, which tests hold to the size of the plan.
    """

    tasks: Sequence[Task]
    seconds: Callable[[Task], float]
    reasons: dict[str, str] = field(default_factory=dict)
    looks: int = 0

    def __post_init__(self) -> None:
        places = {task.id: place for place, task in enumerate(self.tasks)}
        self._states = [State.WAITING] * len(self.tasks)
        self._after: list[list[int]] = [[] for _ in self.tasks]
        self._unmet = [0] * len(self.tasks)
        for place, task in enumerate(self.tasks):
            for needed in {places[name] for name in task.needs if name in places}:
                self._after[needed].append(place)
                self._unmet[place] += 1
        self._waits = self._work_behind()
        self._queues: dict[tuple[str, str], Queue] = defaultdict(list)
        self._workers: dict[Worker, _Known] = {}
        self._failed_on: dict[int, list[str]] = defaultdict(list)  # nodes
        self.counts: Counter[tuple[str, State]] = Counter((task.kind, State.WAITING) for task in self.tasks)
        self.left = len(self.tasks)
        for place, unmet in enumerate(self._unmet):
            if not unmet:
                self._ready(place)

    def _work_behind(self) -> list[float]:
        """Return of each task the seconds of the longest line of tasks that begins with it."""
        behind = [0.0] * len(self.tasks)
        for place in range(len(self.tasks) - 1, -1, -1):
            longest = max((behind[later] for later in self._after[place]), default=0.0)
            behind[place] = self.seconds(self.tasks[place]) + longest
        return behind

    def joined(self, worker: Worker) -> None:
        """Note a worker that is ready to work."""
        self._workers[worker] = _Known()

    def next(self, worker: Worker) -> Task | None:
        """Give a worker without a task its next one; None: nothing is ready for it now.

        What failed on its node goes to another node, if there is one.
        """
        known = self._workers[worker]
        elsewhere = any(other.node != worker.node for other in self._workers) if self._failed_on else False
        for queue in (("chain", known.chain), ("model", known.model), ("", "")):
            place = self._first(self._queues[queue], worker.node if elsewhere else None)
            if place is not None:
                task = self.tasks[place]
                self._become(place, State.RUNNING)
                known.task, known.model = place, task.model
                known.chain = task.chain or known.chain
                return task
        return None

    def _first(self, queue: Queue, avoided: str | None) -> int | None:
        """Take the first ready task from a queue, but for those that failed on the avoided node."""
        put_back: Queue = []
        found = None
        while queue and found is None:
            self.looks += 1
            entry = heappop(queue)
            place = entry[1]
            if self._states[place] is not State.READY:
                continue
            if avoided in self._failed_on.get(place, ()):
                put_back.append(entry)
            else:
                found = place
        for entry in put_back:
            heappush(queue, entry)
        return found

    def done(self, worker: Worker) -> None:
        """Note that a worker has done its task."""
        place = self._ended(worker, State.DONE)
        for later in self._after[place]:
            self._unmet[later] -= 1
            if not self._unmet[later] and self._states[later] is State.WAITING:
                self._ready(later)

    def refused(self, worker: Worker, reason: str) -> None:
        """Note that there is no number: what comes after the task is left out, and it is not tried again."""
        self._give_up(self._ended(worker, State.REFUSED), reason)

    def broke(self, worker: Worker, reason: str) -> None:
        """Note that a task broke on a worker, which goes on: it is tried again, or it is poisoned."""
        place = self._place_of(worker)
        self._workers[worker].task = None
        self._failed_on[place].append(worker.node)
        self.reasons[self.tasks[place].id] = reason
        if len(self._failed_on[place]) < TRIES:
            self._ready(place)
            return
        self._end(place, State.POISONED)
        self._give_up(place, reason)

    def lost(self, worker: Worker, reason: str) -> None:
        """Note that a worker is gone, and its task with it if it was at one."""
        if worker in self._workers and self._workers[worker].task is not None:
            self.broke(worker, reason)
        self._workers.pop(worker, None)

    def task_of(self, worker: Worker) -> Task:
        """Return what a worker is at."""
        return self.tasks[self._place_of(worker)]

    def ids(self, state: State) -> list[str]:
        """Return the ids of the tasks of which this has become."""
        return [task.id for task, now in zip(self.tasks, self._states, strict=True) if now is state]

    def _place_of(self, worker: Worker) -> int:
        place = self._workers[worker].task
        assert place is not None
        return place

    def _ended(self, worker: Worker, state: State) -> int:
        place = self._place_of(worker)
        self._workers[worker].task = None
        self._end(place, state)
        return place

    def _give_up(self, place: int, reason: str) -> None:
        """Leave out what comes after a task; each is looked at once in the whole run."""
        self.reasons[self.tasks[place].id] = reason
        todo = list(self._after[place])
        while todo:
            later = todo.pop()
            if self._states[later] is State.WAITING:
                self._end(later, State.LEFT_OUT)
                todo += self._after[later]

    def _ready(self, place: int) -> None:
        self._become(place, State.READY)
        task = self.tasks[place]
        first = (-self._waits[place] if task.chain else -math.inf, place)  # for a baseline every trajectory waits
        if task.chain:
            heappush(self._queues["chain", task.chain], (float(place), place))
        heappush(self._queues["model", task.model], first)
        heappush(self._queues["", ""], first)

    def _end(self, place: int, state: State) -> None:
        self._become(place, state)
        self.left -= 1

    def _become(self, place: int, state: State) -> None:
        kind = self.tasks[place].kind
        self.counts[kind, self._states[place]] -= 1
        self.counts[kind, state] += 1
        self._states[place] = state
