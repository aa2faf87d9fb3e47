"""Locks between processes, which tell who is being waited for when that takes long.

A process that was stopped (Ctrl-Z, a debugger, a scheduler) keeps its locks; without a word the others would look hung.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

FIRST_WORD = 5.0  # seconds of waiting before it is told
AGAIN = 60.0  # seconds until it is told again


@contextmanager
def held(path: Path, announce: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file inside the block; say for whom it waits if that takes seconds.

    Raises:
        OSError: the file cannot be made or locked.
    """
    lock = FileLock(path)
    waited, patience = 0.0, FIRST_WORD
    while not lock.is_locked:
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            waited, patience = waited + patience, AGAIN
            entry = f"{path.parent.name}/{path.stem[:12]}"
            announce(f"store: waiting for {holder(path)} to finish {entry}, for {waited:.0f} s now")
    try:
        yield
    finally:
        lock.release()


def holder(path: Path) -> str:
    """Return who holds a lock file, as far as the system tells: `process 123, which is stopped (…)`."""
    try:
        inode = str(path.stat().st_ino)
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines()]
        pid = next(int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, StopIteration, IndexError, ValueError):  # not Linux, or a process on another machine
        return "another process"
    stopped = f", which is stopped (kill -CONT {pid} lets it go on)," if state in "Tt" else ""
    return f"process {pid}{stopped}"
