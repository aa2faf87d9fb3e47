"""Says whether all that a task needs is in a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from editgate.errors import IntegrityError
from editgate.measure.session import EvaluationSession
from editgate.options.settings import Settings
from editgate.plan.recording_store import RecordingStore
from editgate.plan.tasks import Task
from editgate.plan.work import work

TAKEN_TO_READ = frozenset({"preparing", "covariances"})  # locks that are held while entries are looked for


class NotThereError(Exception):
    """An entry is not in the store, and would now be computed."""


class ProbingStore(RecordingStore):
    """A store in which nothing is computed: whoever begins to is stopped."""

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:  # noqa: ARG002 - the signature of `Store`
        """Stop whoever is about to compute; entries that are there are read without a lock.

        Raises:
            NotThereError: the lock is one that is taken in order to compute.
        """
        if kind not in TAKEN_TO_READ:
            raise NotThereError(kind)
        yield

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """Stop whoever is about to compute.

        Raises:
            NotThereError: always.
        """
        raise NotThereError("scratch")
        yield


class Presence:
    """Says which tasks' results are in the store, by letting them run until the first that is missing.

    Args:
        settings: of the run; its store is only read.
    """

    def __init__(self, settings: Settings) -> None:
        self._store = ProbingStore(settings.store.root)
        self._empty = not any(settings.store.root.glob("*/*.*"))  # then no model need be loaded
        self._session = EvaluationSession(replace(settings, store=self._store), lambda _: None)

    def of(self, task: Task) -> tuple[bool, list[str]]:
        """Return whether all is there, and the entries that were asked for: up to the first that is missing.

        Raises:
            EvaluationError, EditorError: it cannot be said, because the model or the method cannot be had.
        """
        if self._empty:
            return False, []
        self._store.forget()
        try:
            work(task, self._session)
        except NotThereError:
            return False, [*self._store.asked]
        except IntegrityError:  # that a rule is broken is in the store too
            return True, [*self._store.asked]
        return True, [*self._store.asked]
