"""Stores of workers: the run's own, where a worker sees it, else a folder that gets and gives entries by way of Ray.

A worker without the run's disk has a folder of its own. What it looks for there and does not find it asks the keeper
for, a process beside the run's store; what it writes goes to the keeper at once. So nobody has to know beforehand which
entries a task needs, and whoever takes up a task whose worker died finds all that was written until then.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from editgate.cache.contents import ENTRY
from editgate.cache.store import Store
from editgate.errors import StoreError
from editgate.plan.recording_store import RecordingStore
from editgate.plan.tasks import Task

PART = 16 * 2**20  # bytes that go at once
PREFIX = "editgate-worker-"
KIND = re.compile(r"[a-z_]{1,40}")
ONLY_READS = frozenset({"score", "measure"})  # kinds of tasks that find their checkpoint in the store
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between two looks whether a lock is free


class Keeper(Protocol):
    """What a worker's store asks of the process beside the run's store."""

    def read(self, name: str, start: int) -> bytes | None:
        """Return a part of an entry's file, empty at its end; None if there is no such entry."""

    def write(self, name: str, who: str, start: int, part: bytes, digest: str) -> None:
        """Take a part of an entry's file; the last one comes with the sha256 of the whole."""

    def lock(self, name: str, who: str) -> bool:
        """Return whether the lock is this worker's now."""

    def unlock(self, name: str, who: str) -> None:
        """Give a lock back."""


class RunsStore:
    """Hands out entries of the run's store and puts workers' entries into it.

    Args:
        root: of the run's store.
    """

    def __init__(self, root: Path) -> None:
        self._store = Store(root)
        self._incoming = Path(tempfile.mkdtemp(prefix="incoming-", dir=root))
        self._locks: dict[str, str] = {}

    def sees(self, place: Path, token: str) -> bool:
        """Return whether this process sees the file that the run wrote into its store."""
        return place.exists() and place.read_text(encoding="utf-8") == token

    def read(self, name: str, start: int) -> bytes | None:
        """As `Keeper`."""
        kind, key, suffix = parts_of(name)
        try:
            with self._store.path(kind, key, suffix).open("rb") as file:
                file.seek(start)
                return file.read(PART)
        except FileNotFoundError:
            return None

    def write(self, name: str, who: str, start: int, part: bytes, digest: str) -> None:
        """As `Keeper`.

        Raises:
            ConnectionError: the entry did not arrive as it was sent.
            StoreError: it cannot be written here.
        """
        kind, key, suffix = parts_of(name)
        place = self._incoming / f"{who}-{key}.{suffix}"
        if start and not place.exists():
            raise ConnectionError(f"{name}: its beginning was lost, since the process that takes it began anew")
        with self._store.scratch(), place.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.write(part)
        if not digest:
            return
        with place.open("rb") as file:
            arrived = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            if arrived != digest:
                raise ConnectionError(f"{name} did not arrive as worker {who} sent it")
            self._store.save_copy(kind, key, suffix, place)
        finally:
            place.unlink()

    def lock(self, name: str, who: str) -> bool:
        """As `Keeper`."""
        return self._locks.setdefault(name, who) == who

    def unlock(self, name: str, who: str) -> None:
        """As `Keeper`."""
        if self._locks.get(name) == who:
            del self._locks[name]

    def forget(self, who: str) -> None:
        """Free what a worker held that is gone, and remove what it had half sent."""
        self._locks = {name: holder for name, holder in self._locks.items() if holder != who}
        for place in self._incoming.glob(f"{who}-*"):
            place.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing but entries."""
        shutil.rmtree(self._incoming, ignore_errors=True)


class SharedStore(RecordingStore):
    """The run's store, seen by a worker.

    Attributes:
        task: what the worker is at.
    """

    task: Task | None = None

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Lock an entry, but for a trajectory whose checkpoint is only read.

        Its edits may be going on elsewhere all the while, and one who scores an earlier checkpoint need not wait.
        """
        unlocked = kind == "trajectory" and self.task is not None and self.task.kind in ONLY_READS
        with nullcontext() if unlocked else self._locked(kind, key):
            yield

    def _locked(self, kind: str, key: str) -> AbstractContextManager[None]:
        return super().lock(kind, key)


class OwnStore(SharedStore):
    """A worker's own folder, which has what the run's store has.

    Args:
        root: the folder.
        keeper: of the run's store.
        who: the worker's name.
    """

    def __init__(self, root: Path, keeper: Keeper, who: str) -> None:
        super().__init__(root)
        self._keeper, self._who = keeper, who

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Return the path of an entry; what the run's store has is fetched first."""
        path = super().path(kind, key, suffix)
        if not path.exists():
            self._fetch(path, kind, key, suffix)
        return path

    def _fetch(self, path: Path, kind: str, key: str, suffix: str) -> None:
        name, start = f"{kind}/{key}.{suffix}", 0
        part = self._keeper.read(name, 0)
        if part is None:
            return
        arriving = self.root / f"arriving-{key}"
        with self.scratch():
            path.parent.mkdir(parents=True, exist_ok=True)
            with arriving.open("wb") as file:
                while part:
                    file.write(part)
                    start += len(part)
                    part = self._keeper.read(name, start) if len(part) == PART else b""
            arriving.replace(path)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        with super()._writing(path):
            yield
        self._send(path)

    def _send(self, path: Path) -> None:
        name, start, total = path.relative_to(self.root).as_posix(), 0, hashlib.sha256()
        size = path.stat().st_size
        with path.open("rb") as file:
            while part := file.read(PART):
                total.update(part)
                last = start + len(part) >= size
                self._keeper.write(name, self._who, start, part, total.hexdigest() if last else "")
                start += len(part)

    @contextmanager
    def _locked(self, kind: str, key: str) -> Iterator[None]:
        """Hold the lock here and at the keeper, so that two workers do not compute the same."""
        name, pause, waited = f"{kind}/{key}", FIRST_PAUSE, 0.0
        with super()._locked(kind, key):
            while not self._keeper.lock(name, self._who):
                if waited == 0.0:
                    self.announce(f"store: waiting for another worker to finish {kind}/{key[:12]}")
                time.sleep(pause)
                waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)
            try:
                yield
            finally:
                self._keeper.unlock(name, self._who)


def parts_of(name: str) -> tuple[str, str, str]:
    """Return kind, key and suffix of an entry's name.

    Raises:
        StoreError: it is none; it might lead out of the store.
    """
    kind, _, file = name.partition("/")
    if not KIND.fullmatch(kind) or not ENTRY.fullmatch(file):
        raise StoreError(f"store: {name!r} is no name of an entry.")
    key, _, suffix = file.partition(".")
    return kind, key, suffix


@contextmanager
def own_folder(say: Callable[[str], None]) -> Iterator[Path]:
    """Give a new folder for a worker's entries, and remove it afterwards, with those that killed workers left.

    Args:
        say: called with what was removed.
    """
    home = Path(tempfile.gettempdir())
    for lock in home.glob(f"{PREFIX}*.lock"):  # one that is held is somebody's who works there
        with (
            suppress(Timeout, OSError),
            FileLock(lock, timeout=0),
        ):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
            say(f"removed {lock.with_suffix('')}, which a killed worker left")
    root = home / f"{PREFIX}{uuid.uuid4().hex[:12]}"
    lock = root.with_suffix(".lock")
    with FileLock(lock):
        try:
            root.mkdir(mode=0o700)
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)
            lock.unlink(missing_ok=True)
