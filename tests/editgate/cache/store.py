"""A content-addressed store for what is expensive: checkpoints, baselines, covariances, item outcomes.

An entry is a file `<root>/<kind>/<key>.json` or `.safetensors`, never a pickle. Its key is a digest of all
that its content depends on, so an entry is never updated, only computed. Any number of processes may share a
store:

* a file appears under its name only when it is whole (temporary name in the same folder, then `os.replace`);
* every entry carries a checksum of its content and its place; one that does not match counts as missing, with a
  `StoreWarning`, and so does one that has not the form that its reader expects;
* `fetch_json` and `entry` hold a lock per entry, so that two processes compute it once;
* `join` tells who makes room (`pruning`) that a run uses the store, and reading an entry notes that it was used;
* a store that cannot be written serves what it has. The first failure of the disk is remembered: whatever would be
  computed after it is refused at once, because it could not be kept.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import TypeAdapter

from editgate.cache import entry_files, users
from editgate.cache.digest import digest_text
from editgate.cache.entry_files import DAMAGED, Json, Tensors, canonical
from editgate.cache.waiting import held
from editgate.errors import ConfigError, StoreError, StoreWarning

if TYPE_CHECKING:
    import torch

Form: TypeAlias = Callable[[Json], object]  # raises one of DAMAGED for a payload that its reader could not use
Unpack: TypeAlias = "Callable[[Tensors], dict[str, torch.Tensor]]"
Loaded = TypeVar("Loaded")

# What will be so for the next entry too; anything else (a directory in the way, say) is one entry's own trouble.
OF_THE_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
)


def form_of(kind: Any) -> Form:  # noqa: ANN401 - any type that pydantic knows
    """Return the form of a type, such as `form_of(list[str])`."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    return adapter.validate_python


@dataclass
class Entry:
    """What `Store.entry` hands out; None is missing."""

    payload: Json | None


class Store:
    """A folder of entries; see the module's docstring for what it guarantees.

    Args:
        root: the folder; made on first use, with its parents.

    Attributes:
        announce: called with what is being waited for, for people.
        failure: why nothing can be written any more; empty as long as it can.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.announce: Callable[[str], None] = _say
        self.failure = ""
        self._joined: object = None

    def join(self) -> None:
        """Register this process as a run that uses the store, as long as this object lives; no room is made meanwhile.

        It waits for who is making room now.
        """
        self._joined = users.join(self.root, self.announce)

    @staticmethod
    def key(**parts: object) -> str:
        """Return the name of the entry that depends on exactly these parts: a sha256 of their canonical JSON.

        Raises:
            StoreError: a part is not made of dicts, lists, strings, finite numbers, booleans and None.
        """
        return digest_text(canonical(parts, strict=True))

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Return the path of an entry, whether or not it exists; suffix is "json" or "safetensors"."""
        return self.root / kind / f"{key}.{suffix}"

    def check_writable(self) -> None:
        """Make the folder and write a byte into it; one with entries may be read-only, as long as nothing is missing.

        Raises:
            ConfigError: that fails; names the folder, the reason and the option.
        """
        probe = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"x")
        except OSError as error:
            with suppress(OSError):
                if any(self.root.glob("*/*.json")):
                    self.failure = _sentence("write", self.root, error)
                    return
            raise ConfigError(
                f"--store {self.root}: cannot be written ({_why(error)}). Name another folder with --store DIR."
            ) from error
        finally:
            with suppress(OSError):
                probe.unlink()

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Lock the entry against all other processes, waiting for the one that has it.

        Raises:
            StoreError: the lock's file cannot be made, or nothing can be written any more.
        """
        if self.failure:
            raise StoreError(self.failure)
        path = self.root / kind / f"{key}.lock"
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(path, self.announce))
            except OSError as error:
                raise self._failed("lock", path, error) from error
            yield

    def load_json(self, kind: str, key: str, form: Form | None = None) -> Json | None:
        """Return the entry's payload, or None if it is missing or damaged (the latter with a StoreWarning).

        A payload that its reader cannot use, by `form`, is damaged too.
        """
        return self._load(self.path(kind, key, "json"), lambda path: _formed(entry_files.read_json(path), form))

    def save_json(self, kind: str, key: str, payload: Json) -> None:
        """Write an entry of dicts, lists, strings, numbers and booleans; None alone is no entry.

        Raises:
            StoreError: it cannot be written, or holds something else.
        """
        with self.lock(kind, key):
            self._write_json(kind, key, payload)

    def load_tensors(self, kind: str, key: str, unpack: Unpack | None = None) -> dict[str, torch.Tensor] | None:
        """Return the entry's tensors on the CPU, or None if it is missing or damaged (with a StoreWarning).

        What `unpack` refuses, by one of DAMAGED, is damaged too.
        """

        def read(path: Path) -> dict[str, torch.Tensor]:
            found = entry_files.read_tensors(path)
            return found if unpack is None else unpack(found)

        return self._load(self.path(kind, key, "safetensors"), read)

    def save_tensors(self, kind: str, key: str, tensors: Tensors) -> None:
        """Write tensors of any dtype and shape, bit by bit.

        Raises:
            StoreError: the entry cannot be written.
        """
        path = self.path(kind, key, "safetensors")
        with self.lock(kind, key), self._writing(path):
            entry_files.write_tensors(path, tensors)

    def save_copy(self, kind: str, key: str, suffix: str, source: Path) -> None:
        """Write an entry that another store has, from its file; whoever reads it compares its checksum.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.path(kind, key, suffix)
        with self.lock(kind, key), self._writing(path):
            entry_files.copy_from(path, source)

    def fetch_json(self, kind: str, key: str, compute: Callable[[], Json], form: Form | None = None) -> Json:
        """Return the entry's payload; compute and write it if it is missing, while other processes wait.

        A fresh payload is returned as JSON gives it back (tuples are lists), so that a full and an empty
        store lead to the same values.
        """
        with self.entry(kind, key, form) as entry:
            if entry.payload is None:
                entry.payload = compute()
        return entry.payload

    @contextmanager
    def entry(self, kind: str, key: str, form: Form | None = None) -> Iterator[Entry]:
        """Give an entry to a `with` block, which computes and sets its payload if that is None, alone among processes.

        Afterwards the payload is as JSON gives it back, so that a full and an empty store lead to the same values.
        """
        with warnings.catch_warnings(action="ignore", category=StoreWarning):  # it is told once, under the lock
            entry = Entry(self.load_json(kind, key, form))
        if entry.payload is not None:
            yield entry
            return
        with self.lock(kind, key):
            entry.payload = self.load_json(kind, key, form)
            missing = entry.payload is None
            yield entry
            if missing:
                entry.payload = self._write_json(kind, key, entry.payload)

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """Let somebody else write below the root inside the block: what the disk refuses there, the store remembers.

        Raises:
            StoreError: an OSError that names a file below the root.
        """
        try:
            yield
        except OSError as error:
            if error.filename is None or not Path(error.filename).is_relative_to(self.root):
                raise
            raise self._failed("write", Path(error.filename), error) from error

    def _write_json(self, kind: str, key: str, payload: Json) -> Json:
        if payload is None:
            raise StoreError(f"{kind}/{key}: None cannot be stored, it stands for a missing entry")
        text = canonical(payload)
        path = self.path(kind, key, "json")
        with self._writing(path):
            entry_files.write_json(path, text)
        return json.loads(text)

    def _load(self, path: Path, read: Callable[[Path], Loaded]) -> Loaded | None:
        """Return what `read` returns; None for a missing file and, with a warning, for a damaged one."""
        try:
            found = read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", path, error) from error
        except DAMAGED as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            warnings.warn(f"store: {path} is damaged ({reason}); it is computed again", StoreWarning, stacklevel=3)
            return None
        with suppress(OSError):  # a store that is only read has no times of use
            os.utime(path)
        return found

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed("write", path, error) from error

    def _failed(self, action: str, path: Path, error: OSError) -> StoreError:
        sentence = _sentence(action, path, error)
        if action != "read" and error.errno in OF_THE_DISK:
            self.failure = sentence
        return StoreError(sentence)


def _formed(payload: Json, form: Form | None) -> Json:
    if form is not None and payload is not None:
        form(payload)
    return payload


def _sentence(action: str, path: Path, error: OSError) -> str:
    return (
        f"store: cannot {action} {path} ({_why(error)}). Check space and rights there, or name another "
        "folder with --store DIR."
    )


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # a person waits, and there is no other place to tell it
