"""Make room in a store without breaking the runs that use it.

An entry is content-addressed: a run that misses one computes it again, so that no removal can make a number wrong. What
a run has used stays all the same, so that it is not slowed down (`users`). An entry is removed under its own lock, and
as a whole; a killed prune has removed some entries, and the next one goes on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from editgate.cache import users
from editgate.cache.contents import Held, again, contents

GOING = "going-"  # a folder gets such a name before it is emptied, so that nobody finds half of it


@dataclass(frozen=True)
class Pruned:
    """What a prune did, or would do.

    Attributes:
        removed: what went.
        kept: what is there still.
        runs: how many runs use the store.
    """

    removed: tuple[Held, ...]
    kept: tuple[Held, ...]
    runs: int


def prune(root: Path, *, older_than: float | None = None, max_size: int | None = None, dry_run: bool = False) -> Pruned:
    """Remove what was not used for a time, then the least recently used until the store is small enough.

    Tensors go before texts: a text has a few kilobytes, and may have taken hours to compute.

    Args:
        root: of the store.
        older_than: seconds since the last use; None: no age is too old.
        max_size: bytes that may stay; None: any number.
        dry_run: whether to remove nothing.

    Raises:
        OSError: the folder cannot be read or written.
    """
    if dry_run:
        return _prune(root, users.alive(root), older_than, max_size, dry_run=True)
    with users.shut(root, print):
        _finish(root)
        return _prune(root, users.alive(root, forget=True), older_than, max_size, dry_run=False)


def _prune(
    root: Path, runs: Sequence[float], older_than: float | None, max_size: int | None, *, dry_run: bool
) -> Pruned:
    everything = list(contents(root))
    remaining = sum(held.size for held in everything)
    oldest = None if older_than is None else time.time() - older_than
    removed: list[Held] = []
    kept: list[Held] = []
    for held in sorted(everything, key=lambda held: (held.whole, not held.heavy, held.used)):
        unwanted = not held.whole or (oldest is not None and held.used < oldest)
        unwanted = unwanted or (max_size is not None and remaining > max_size)
        if unwanted and not _in_use(held, runs) and (dry_run or _remove(held, runs)):
            removed.append(held)
            remaining -= held.size
        else:
            kept.append(held)
    if not dry_run:
        _remove_locks(root)
    return Pruned(tuple(removed), tuple(kept), len(runs))


def _in_use(held: Held, runs: Sequence[float]) -> bool:
    """Whether a run has used it, or may be about to: an unfinished computation is written to now and then only."""
    return bool(runs) and held.whole and (held.kind == "training" or held.used >= min(runs))


def _remove(held: Held, runs: Sequence[float]) -> bool:
    """Remove it, unless it is locked or was used since it was looked at; return whether it is gone."""
    with _locked(held.path) as locked:
        now = again(held) if locked else None
        if now is None or _in_use(now, runs) or now.used != held.used:
            return False
        if held.path.is_dir() and not held.path.is_symlink():
            going = held.path.parent.parent / f"{GOING}{held.path.name}"
            held.path.rename(going)
            shutil.rmtree(going, ignore_errors=True)
            return True
        with suppress(OSError):  # Windows keeps a file that somebody reads
            held.path.unlink()
        return not held.path.exists()


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the entry's lock in the block; False if somebody else has it."""
    lock = FileLock(path.with_name(f"{path.name.partition('.')[0]}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _finish(root: Path) -> None:
    """Empty the folders that a killed prune had begun with."""
    for folder in root.glob(f"{GOING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_locks(root: Path) -> None:
    """Remove locks of entries that are gone and that nobody holds; who waits for one is given a new file (filelock)."""
    for lock in root.glob("*/*.lock"):
        if not any(lock.with_suffix(suffix).exists() for suffix in ("", ".json", ".safetensors")):
            with suppress(OSError), _locked(lock) as locked:
                if locked:
                    lock.unlink()
