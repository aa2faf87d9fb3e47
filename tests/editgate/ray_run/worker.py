"""The process on a node that works tasks: one session, so that a model is loaded once, and a store."""

from __future__ import annotations

import importlib
import os
import platform
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import editgate
import editors
from editgate import importing
from editgate.cache.digest import code_digest
from editgate.cache.environment import versions
from editgate.cache.store import Store
from editgate.errors import ConfigError, EditgateError, StoreError
from editgate.options import settings
from editgate.options.options import Options
from editgate.options.settings import Settings
from editgate.plan.costs import Estimate, shipped
from editgate.plan.tasks import Task
from editgate.pytest_run import late_imports
from editgate.pytest_run.repeated_errors import reason_to_stop
from editgate.ray_run.stores import Keeper, OwnStore, SharedStore, own_folder
from editors import EditorError
from editors.core.registry import package_of

if TYPE_CHECKING:
    from editgate.measure.session import EvaluationSession

FILE = "ray-{}.txt"  # in the run's store


@dataclass(frozen=True)
class Order:
    """What a worker is told once.

    Attributes:
        name: of the worker.
        options: of the run.
        store: the run's.
        token: what stands in the token file there.
        folder: where the run was started.
        threads: that torch may use.
    """

    name: str
    options: Options
    store: Path
    token: str
    folder: Path
    threads: int

    @property
    def token_file(self) -> Path:
        """In the run's store; a worker that reads the token in it sees that store."""
        return self.store / FILE.format(self.token)


@dataclass(frozen=True)
class Hello:
    """What a worker says first.

    Attributes:
        node: its machine: the host's name and how Ray's id of the node begins.
        process: its number there.
        sees_store: whether the run's store is on a disk that it sees.
        surroundings: as of `surroundings`.
    """

    node: str
    process: int
    sees_store: bool
    surroundings: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        word: `done`; `refused`, so there is no number; `broke`, so it may go right elsewhere; `stop`, since no other
            task could be worked.
        reason: in one line; empty if it is done.
        wrote: whether anything was missing from the store.
        seconds: it took.
    """

    word: Literal["done", "refused", "broke", "stop"]
    reason: str = ""
    wrote: bool = False
    seconds: float = 0.0


def surroundings() -> dict[str, str]:
    """Return what numbers or keys depend on besides the task: versions by package, and the code."""
    found = {"python": platform.python_version(), "machine": platform.machine(), **versions()}
    found |= {name: version(name) for name in ("numpy", "editgate") if name not in found}
    return found | {"the code of editgate": code_digest(editgate), "the code of editors": code_digest(editors)}


def asked(chosen: Settings) -> dict[str, str]:
    """Return digests of what the options name, which lies on every machine: the edits and foreign methods' code."""
    edits = {model: [edit.to_dict() for edit in edits] for model, edits in chosen.edits.items()}
    found = {"the edits": Store.key(edits=edits, counts=list(chosen.counts))}
    for spec in chosen.editors:
        if not spec.built_in and not spec.external:
            package = importlib.import_module(package_of(spec.target))
            places = [*getattr(package, "__path__", [])] or [str(package.__file__)]  # a package may lie in several
            found[f"the code of {spec.target}"] = code_digest(*map(Path, places))
    return found


class TaskWorker:
    """Works tasks in the process that it is made in.

    Args:
        order: what it is told once.
    """

    def __init__(self, order: Order) -> None:
        self._order, self._kept = order, ExitStack()
        if order.folder.is_dir():
            os.chdir(order.folder)

    def hello(self) -> Hello:
        """Say who this is, before anything heavy is imported."""
        try:
            sees = self._order.token_file.read_text(encoding="utf-8") == self._order.token
        except OSError:
            sees = False
        import ray  # noqa: PLC0415 - it is there: the process is one of Ray's

        node = f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"
        return Hello(node, os.getpid(), sees, surroundings())

    def open(self, keeper: Keeper | None) -> dict[str, str] | str:
        """Read the options here and import what measures; return what they name (`asked`), or what is wrong with them.

        Args:
            keeper: of the run's store; None where this worker sees that store.
        """
        root = self._order.store if keeper is None else self._kept.enter_context(own_folder(lambda _: None))
        update = {"store": root, "report": None, "compare": None, "ray": None, "ray_worker": None}
        try:
            chosen = settings.read(self._order.options.model_copy(update=update), root)
            with late_imports.measuring():
                import torch  # noqa: PLC0415 - see `late_imports`

                from editgate.measure.session import EvaluationSession  # noqa: PLC0415 - as above
            importing.what_measures()
        except ConfigError as error:
            return str(error)
        torch.set_num_threads(self._order.threads)
        self._store = SharedStore(root) if keeper is None else OwnStore(root, keeper, self._order.name)
        self._session: EvaluationSession = EvaluationSession(replace(chosen, store=self._store), lambda _: None)
        self._estimate = Estimate(chosen, shipped())
        return asked(chosen)

    def work(self, task: Task) -> Outcome:
        """Have in the store what a task is about."""
        from editgate.plan.local_run import keep_seconds  # noqa: PLC0415 - it needs torch, which `open` has imported
        from editgate.plan.work import work  # noqa: PLC0415 - as above

        self._store.forget()
        self._store.task = task
        began = time.monotonic()
        word: Literal["done", "refused", "broke", "stop"] = "done"
        reason = ""
        try:
            work(task, self._session)
            if self._store.written:
                keep_seconds(self._store, task, self._estimate, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - somebody else's method raises what it likes
            word, reason = self._word(error), f"{type(error).__name__}: {error}".partition("\n")[0]
        return Outcome(word, reason, bool(self._store.written), time.monotonic() - began)

    def _word(self, error: Exception) -> Literal["refused", "broke", "stop"]:
        full_here = isinstance(self._store, OwnStore) and isinstance(error, StoreError) and self._store.failure
        if full_here:
            return "broke"  # another node's disk may have room
        if reason_to_stop(error):
            return "stop"
        return "refused" if isinstance(error, EditgateError | EditorError) else "broke"

    def close(self) -> None:
        """Remove this worker's own folder, if it has one."""
        self._kept.close()
