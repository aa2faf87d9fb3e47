"""Which runs use a store now: each holds a lock file in `users/` as long as it lives.

What makes room in a store (`pruning`) leaves alone whatever was used since the first of them began. A run begins while
nobody makes room, and waits for that, so that nothing it is about to use is taken away between the look and the use.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from editgate.cache.waiting import held

FOLDER = "users"
GUARD = "prune.lock"  # held by who makes room, and for a moment by a run that begins


def join(root: Path, announce: Callable[[str], None]) -> FileLock | None:
    """Register a run; it counts for as long as the lock that is returned lives. None: the folder cannot be written.

    Args:
        root: of the store.
        announce: called with who is being waited for, if that takes seconds.
    """
    place = root / FOLDER / f"{os.getpid()}-{uuid.uuid4().hex[:12]}.lock"
    with suppress(OSError), held(root / GUARD, announce):
        place.parent.mkdir(parents=True, exist_ok=True)
        alive(root, forget=True)
        lock = FileLock(place)
        lock.acquire(timeout=0)
        os.utime(place)
        return lock
    return None


@contextmanager
def shut(root: Path, announce: Callable[[str], None]) -> Iterator[None]:
    """Let no run begin inside the block; those that run already go on.

    Raises:
        OSError: the folder cannot be written.
    """
    with held(root / GUARD, announce):
        yield


def alive(root: Path, *, forget: bool = False) -> list[float]:
    """Return when each run that uses the store began, by the file system's clock.

    Args:
        root: of the store.
        forget: whether to remove what dead ones left; only while `GUARD` is held, or a beginning one might be taken
            for dead.
    """
    began = []
    for place in (root / FOLDER).glob("*.lock"):
        lock = FileLock(place)
        try:
            when = place.stat().st_mtime
            lock.acquire(timeout=0)
        except Timeout:
            began.append(when)
        except OSError:  # gone by now, or another user's: that one may be alive
            if place.exists():
                began.append(when)
        else:
            if forget:
                place.unlink(missing_ok=True)
            lock.release()
    return began
