"""A content-addressed store for what is expensive: checkpoints, baselines, covariances, item outcomes.

An entry is a file `<root>/<kind>/<key>.json` or `.safetensors`, never a pickle. Its key is a digest of all
that its content depends on, so an entry is never updated, only computed. Any number of processes may share a
store:

* a file appears under its name only when it is whole (temporary name in the same folder, then `os.replace`);
* every entry carries a checksum, and one that does not match counts as missing, with a `StoreWarning`;
* `fetch_json` and `entry` hold a lock per entry, so that two processes compute it once.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from filelock import FileLock
from safetensors import SafetensorError, safe_open

from editgate.cache.digest import digest_tensors, digest_text
from editgate.errors import ConfigError, StoreError, StoreWarning

if TYPE_CHECKING:
    import torch

Json: TypeAlias = Any  # what json.loads gives: dicts, lists, strings, numbers, booleans
Tensors: TypeAlias = "Mapping[str, torch.Tensor]"
Loaded = TypeVar("Loaded")


@dataclass
class Entry:
    """What `Store.entry` hands out; None is missing."""

    payload: Json | None


class Store:
    """A folder of entries; see the module's docstring for what it guarantees.

    Args:
        root: the folder; made on first use, with its parents.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @staticmethod
    def key(**parts: object) -> str:
        """Return the name of the entry that depends on exactly these parts: a sha256 of their canonical JSON.

        Raises:
            StoreError: a part is not made of dicts, lists, strings, finite numbers, booleans and None.
        """
        return digest_text(_canonical(parts, strict=True))

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Return the path of an entry, whether or not it exists; suffix is "json" or "safetensors"."""
        return self.root / kind / f"{key}.{suffix}"

    def check_writable(self) -> None:
        """Make the folder and write a byte into it.

        Raises:
            ConfigError: that fails; names the folder, the reason and the option.
        """
        probe = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"x")
        except OSError as error:
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
            StoreError: the lock's file cannot be made.
        """
        path = self.root / kind / f"{key}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        except OSError as error:
            raise _failure("lock", path, error) from error
        try:
            yield
        finally:
            lock.release()

    def load_json(self, kind: str, key: str) -> Json | None:
        """Return the entry's payload, or None if it is missing or damaged (the latter with a StoreWarning)."""
        return _load(self.path(kind, key, "json"), _read_json)

    def save_json(self, kind: str, key: str, payload: Json) -> None:
        """Write an entry of dicts, lists, strings, numbers and booleans; None alone is no entry.

        Raises:
            StoreError: it cannot be written, or holds something else.
        """
        with self.lock(kind, key):
            self._write_json(kind, key, payload)

    def load_tensors(self, kind: str, key: str) -> dict[str, torch.Tensor] | None:
        """Return the entry's tensors on the CPU, or None if it is missing or damaged (with a StoreWarning)."""
        return _load(self.path(kind, key, "safetensors"), _read_tensors)

    def save_tensors(self, kind: str, key: str, tensors: Tensors) -> None:
        """Write tensors of any dtype and shape, bit by bit.

        Raises:
            StoreError: the entry cannot be written.
        """
        with self.lock(kind, key):
            self._write_tensors(kind, key, tensors)

    def fetch_json(self, kind: str, key: str, compute: Callable[[], Json]) -> Json:
        """Return the entry's payload; compute and write it if it is missing, while other processes wait.

        A fresh payload is returned as JSON gives it back (tuples are lists), so that a full and an empty
        store lead to the same values.
        """
        with self.entry(kind, key) as entry:
            if entry.payload is None:
                entry.payload = compute()
        return entry.payload

    @contextmanager
    def entry(self, kind: str, key: str) -> Iterator[Entry]:
        """Give an entry to a `with` block, which computes and sets its payload if that is None, alone among processes.

        Afterwards the payload is as JSON gives it back, so that a full and an empty store lead to the same values.
        """
        entry = Entry(_load(self.path(kind, key, "json"), _read_json, warn=False))
        if entry.payload is not None:
            yield entry
            return
        with self.lock(kind, key):
            entry.payload = self.load_json(kind, key)
            missing = entry.payload is None
            yield entry
            if missing:
                entry.payload = self._write_json(kind, key, entry.payload)

    def _write_json(self, kind: str, key: str, payload: Json) -> Json:
        if payload is None:
            raise StoreError(f"{kind}/{key}: None cannot be stored, it stands for a missing entry")
        text = _canonical(payload)
        path = self.path(kind, key, "json")
        envelope = f'{{"sha256":"{digest_text(text)}","payload":{text}}}\n'
        _put(path, lambda temporary: temporary.write_bytes(envelope.encode()))
        return json.loads(text)

    def _write_tensors(self, kind: str, key: str, tensors: Tensors) -> dict[str, torch.Tensor]:
        from safetensors.torch import save_file  # noqa: PLC0415 - it imports torch: seconds, for a store of texts too

        plain = _separate(tensors)
        path = self.path(kind, key, "safetensors")
        _put(path, lambda temporary: save_file(plain, temporary, {"sha256": digest_tensors(plain)}))
        return plain


def _canonical(payload: object, *, strict: bool = False) -> str:
    """Return one text for one value: sorted keys, no spaces, floats that read back exactly; strict rejects NaN."""
    try:
        return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=not strict)
    except (TypeError, ValueError) as error:
        raise StoreError(f"the store takes only plain JSON values: {error}") from error


def _load(path: Path, read: Callable[[Path], Loaded], *, warn: bool = True) -> Loaded | None:
    """Return what `read` returns; None for a missing file and, with a warning, for a damaged one."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failure("read", path, error) from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        if warn:
            reason = f"{type(error).__name__}: {error}"
            message = f"store: {path} is damaged ({reason}); it is computed again"
            warnings.warn(message, StoreWarning, stacklevel=3)
        return None


def _read_json(path: Path) -> Json:
    envelope = json.loads(path.read_bytes())
    _compare(envelope["sha256"], digest_text(_canonical(envelope["payload"])))
    return envelope["payload"]


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
        _compare((file.metadata() or {}).get("sha256"), digest_tensors(tensors))
    return tensors


def _compare(recorded: str | None, computed: str) -> None:
    if recorded != computed:
        raise ValueError(f"its checksum is {computed[:12]}…, recorded was {str(recorded)[:12]}…")


def _separate(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return contiguous CPU copies: safetensors wants no shared memory, and a later edit must not reach an entry."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Write under a temporary name and rename; the caller holds the entry's lock.

    Because of the lock, any other temporary file of this entry was left by a process that died.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _discard(path.parent.glob(f"{path.name}.*.tmp"))
        write(temporary)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise _failure("write", path, error) from error
    finally:
        _discard([temporary])


def _discard(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _failure(action: str, path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"store: cannot {action} {path} ({_why(error)}). Check space and rights there, or name another "
        "folder with --store DIR."
    )


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
