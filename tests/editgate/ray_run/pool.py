"""The workers on a cluster: started where there is room, told what to do next, and replaced when they die."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from editgate.errors import ConfigError
from editgate.options.options import Options
from editgate.options.settings import Settings
from editgate.ray_run.cluster import slots
from editgate.ray_run.request import Request
from editgate.ray_run.schedule import Schedule, Worker
from editgate.ray_run.stores import RunsStore
from editgate.ray_run.worker import Hello, Order, Outcome, TaskWorker, asked, surroundings

TICK = 0.5  # seconds at most between two looks at the clock
LOOK_FOR_NODES = 5.0  # seconds between two looks for nodes that came or went
PATIENCE = 120.0  # seconds to wait for a node when there is none
FAREWELL = 5.0  # seconds for workers to remove what is theirs
BEGINS = 120.0  # seconds for the process beside the store to begin
BEGINNINGS = 3  # so many workers in a row may die before one has begun
FORWARDED = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT")


class RemoteKeeper:
    """The keeper of the run's store, as a worker calls it; each call waits for its answer."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401 - Ray's handle
        self._actor = actor

    def read(self, name: str, start: int) -> bytes | None:
        """As `stores.Keeper`."""
        found: bytes | None = ray.get(self._actor.read.remote(name, start))
        return found

    def write(self, name: str, who: str, start: int, part: bytes, digest: str) -> None:
        """As `stores.Keeper`."""
        ray.get(self._actor.write.remote(name, who, start, part, digest))

    def lock(self, name: str, who: str) -> bool:
        """As `stores.Keeper`."""
        return bool(ray.get(self._actor.lock.remote(name, who)))

    def unlock(self, name: str, who: str) -> None:
        """As `stores.Keeper`."""
        ray.get(self._actor.unlock.remote(name, who))


@dataclass
class _Member:
    """A worker as this process sees it.

    Attributes:
        name: of the worker.
        actor: Ray's handle.
        waits: what it was asked last, and has not answered: `hello`, `open` or `work`; empty: it is idle.
        worker: as the schedule knows it, once it works.
        hello: what it said first.
    """

    name: str
    actor: Any
    waits: str = "hello"
    worker: Worker | None = None
    hello: Hello | None = None


@dataclass
class Pool:
    """All workers of a run.

    Args:
        request: what each takes.
        options: of the run.
        settings: of the run, as this process read them.
        works: the class of workers.

    Attributes:
        messages: how many calls of workers there were, but for those of their stores.
        stopped: why no other task could be worked; empty as long as they can.
    """

    request: Request
    options: Options
    settings: Settings
    works: type = TaskWorker
    messages: int = 0
    stopped: str = ""
    _members: dict[str, _Member] = field(default_factory=dict)
    _asked: dict[Any, _Member] = field(default_factory=dict)  # by the answer that is waited for
    _died_early: int = 0

    def __post_init__(self) -> None:
        share = self.request.share
        self._token = uuid.uuid4().hex
        self._order = Order(
            "", self.options, self.settings.store.root.resolve(), self._token, Path.cwd(), max(1, int(share.cpus))
        )
        wanted: dict[str, Any] = {"num_cpus": share.cpus, "num_gpus": share.gpus}
        if share.memory:
            wanted["memory"] = share.memory
        variables = {name: os.environ[name] for name in FORWARDED if name in os.environ}
        if self.request.joins and variables:  # a Ray that was started here has them
            wanted["runtime_env"] = {"env_vars": variables}
        self._class = ray.remote(self.works).options(**wanted, max_restarts=0, max_task_retries=0)
        self._keeper: Any = None
        self._names = itertools.count(1)
        self._mine = surroundings()
        self._named = asked(self.settings)
        self._looked = -LOOK_FOR_NODES
        self._room, self._had_room = 0, time.monotonic()

    @property
    def size(self) -> int:
        """How many workers work."""
        return sum(member.worker is not None for member in self._members.values())

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Have the token in the store inside; afterwards no worker is left."""
        self._order.token_file.write_text(self._token, encoding="utf-8")
        try:
            yield
        finally:
            self._close()
            self._order.token_file.unlink(missing_ok=True)

    def fill(self, most: int) -> None:
        """Start workers where there is room, as many as there are tasks."""
        now = time.monotonic()
        if now - self._looked >= LOOK_FOR_NODES:
            self._looked = now
            self._room = slots([node for node in ray.nodes() if node["Alive"]], self.request.share)
            self._had_room = now if self._room else self._had_room
        while len(self._members) < min(self._room, most):
            name = f"{self._token[:8]}-{next(self._names)}"
            member = _Member(name, self._class.remote(replace(self._order, name=name)))
            self._members[name] = member
            self._ask(member, "hello")

    def run(self, schedule: Schedule, told: Callable[[int], None], ended: Callable[[str, Outcome], None]) -> None:
        """Work all tasks; `told` is called again and again with the number of workers, `ended` with each outcome.

        Raises:
            ConfigError: a worker has other versions, other code or other inputs than this process.
        """
        for member in self._members.values():
            if member.worker is not None:
                schedule.joined(member.worker)
        while schedule.left and not self.stopped:
            self.fill(schedule.left)
            if not self._members and time.monotonic() - self._had_room > PATIENCE:
                self.stopped = "no node of the cluster has room for a worker any more"
            for member in list(self._members.values()):
                if member.worker is not None and not member.waits:
                    task = schedule.next(member.worker)
                    if task is not None:
                        self._ask(member, "work", task)
            told(self.size)
            if not self._asked:
                time.sleep(TICK)
                continue
            for answer in self._answers():
                self._take(answer, schedule, ended)

    def _answers(self) -> Sequence[Any]:
        first, others = ray.wait(list(self._asked), timeout=TICK)
        more = ray.wait(others, num_returns=len(others), timeout=0)[0] if first and others else []
        return [*first, *more]

    def _ask(self, member: _Member, what: str, *arguments: object) -> None:
        self.messages += 1
        member.waits = what
        self._asked[getattr(member.actor, what).remote(*arguments)] = member

    def _take(self, answer: Any, schedule: Schedule, ended: Callable[[str, Outcome], None]) -> None:  # noqa: ANN401 - Ray's
        member = self._asked.pop(answer)
        what, member.waits = member.waits, ""
        try:
            found = ray.get(answer)
        except RayError as error:
            self._lost(member, schedule, what, error)
            return
        if what == "hello":
            self._welcome(member, found)
        elif what == "open":
            self._begin(member, schedule, found)
        else:
            self._note(member, schedule, found, ended)

    def _welcome(self, member: _Member, hello: Hello) -> None:
        member.hello = hello
        self._compare(hello.node, self._mine, hello.surroundings)
        keeper = None if hello.sees_store else RemoteKeeper(self._keeping())
        self._ask(member, "open", keeper)

    def _begin(self, member: _Member, schedule: Schedule, found: dict[str, str] | str) -> None:
        assert member.hello is not None
        node = member.hello.node
        if isinstance(found, str):
            raise ConfigError(f"--ray {self.request.address}: on node {node}: {found}")
        self._compare(node, self._named, found)
        member.worker = Worker(member.name, node)
        schedule.joined(member.worker)
        self._died_early = 0

    def _note(
        self, member: _Member, schedule: Schedule, outcome: Outcome, ended: Callable[[str, Outcome], None]
    ) -> None:
        assert member.worker is not None
        ended(schedule.task_of(member.worker).id, outcome)
        if outcome.word == "done":
            schedule.done(member.worker)
        elif outcome.word == "refused":
            schedule.refused(member.worker, outcome.reason)
        elif outcome.word == "broke":
            schedule.lost(member.worker, outcome.reason)
            self._dismiss(member)  # what is left in its memory is no one's base
        else:
            self.stopped = f"on node {member.worker.node}: {outcome.reason}"

    def _lost(self, member: _Member, schedule: Schedule, what: str, error: RayError) -> None:
        """Note a dead worker; others take its place while the cluster has room."""
        said = " ".join(str(error).split())
        node = member.hello.node if member.hello else "?"
        if member.worker is not None:
            schedule.lost(member.worker, f"the worker on node {node} died: {said[:300]}")
        else:
            self._died_early += 1
            if self._died_early >= BEGINNINGS and not self.size:
                raise ConfigError(
                    f"--ray {self.request.address}: {BEGINNINGS} workers died before their first task, the last in its "
                    f"{what}: {said[:500]}"
                )
        self._dismiss(member)

    def _dismiss(self, member: _Member) -> None:
        self._members.pop(member.name, None)
        ray.kill(member.actor)
        if self._keeper is not None:
            self._keeper.forget.remote(member.name)
        self._looked = -LOOK_FOR_NODES

    def _compare(self, node: str, mine: dict[str, str], theirs: dict[str, str]) -> None:
        """Refuse a worker whose numbers would be others.

        Raises:
            ConfigError: names the node, and what differs.
        """
        differ = [name for name in mine if theirs.get(name) != mine[name]]
        if differ:
            told = ", ".join(f"{name} {_short(theirs.get(name))} (here {_short(mine[name])})" for name in differ)
            raise ConfigError(
                f"--ray {self.request.address}: node {node} has {told}. Allowed: the same as in this process."
            )

    def _keeping(self) -> Any:  # noqa: ANN401 - Ray's handle
        """The keeper of the run's store, on this machine.

        Raises:
            ConfigError: Ray's processes here see another disk, as in a container.
        """
        if self._keeper is None:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            made = ray.remote(RunsStore).options(
                num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1
            )
            self._keeper = made.remote(self._order.store)
            try:
                sees = ray.get(self._keeper.sees.remote(self._order.token_file, self._token), timeout=BEGINS)
            except (RayError, GetTimeoutError):
                sees = False
            if not sees:
                raise ConfigError(
                    f"--ray {self.request.address}: the Ray on this machine does not see --store {self._order.store}. "
                    "Allowed: a folder that it sees."
                )
        return self._keeper

    def _close(self) -> None:
        """Let idle workers remove what is theirs, and end all; what is half done is lost."""
        farewells = [member.actor.close.remote() for member in self._members.values() if not member.waits]
        try:
            if farewells:
                ray.wait(farewells, num_returns=len(farewells), timeout=FAREWELL)
            for member in self._members.values():
                ray.kill(member.actor)
            if self._keeper is not None:
                ray.get(self._keeper.close.remote(), timeout=FAREWELL)
                ray.kill(self._keeper)
        except (RayError, GetTimeoutError):
            return  # the cluster is gone, and they with it


def _short(text: str | None) -> str:
    return "none" if text is None else text[:12]
