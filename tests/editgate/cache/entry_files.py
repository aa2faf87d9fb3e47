"""How an entry of the store stands in its file: JSON or safetensors, with a checksum that covers its place.

A file appears under its name only when it is whole, and whatever cannot be trusted is no entry: not JSON, too deep, no
regular file, another checksum, or copied from another place.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from safetensors import SafetensorError, safe_open

from editgate.cache.digest import digest_tensors, digest_text
from editgate.errors import StoreError

if TYPE_CHECKING:
    import torch

Json: TypeAlias = Any  # what json.loads gives: dicts, lists, strings, numbers, booleans
Tensors: TypeAlias = "Mapping[str, torch.Tensor]"

# What reading a damaged file raises; an OSError is the disk's.
DAMAGED = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


def canonical(payload: object, *, strict: bool = False) -> str:
    """Return one text for one value: sorted keys, no spaces, floats that read back exactly; strict rejects NaN.

    Raises:
        StoreError: the value is not made of what JSON has.
    """
    try:
        return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=not strict)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"the store takes only plain JSON values: {error}") from error


def read_json(path: Path) -> Json:
    """Return the payload of a file; raises one of `DAMAGED` or an OSError."""
    _check_regular(path)
    envelope = json.loads(path.read_bytes())
    _compare(envelope["checksum"], _checksum(path, digest_text(canonical(envelope["payload"]))))
    return envelope["payload"]


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, on the CPU; raises one of `DAMAGED` or an OSError."""
    _check_regular(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
        _compare((file.metadata() or {}).get("checksum"), _checksum(path, digest_tensors(tensors)))
    return tensors


def write_json(path: Path, text: str) -> None:
    """Write a canonical text; raises an OSError."""
    envelope = f'{{"checksum":"{_checksum(path, digest_text(text))}","payload":{text}}}\n'
    _put(path, lambda temporary: temporary.write_bytes(envelope.encode()))


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write tensors bit by bit; raises an OSError."""
    from safetensors.torch import save_file  # noqa: PLC0415 - it imports torch: seconds, for a store of texts too

    # Contiguous copies: safetensors wants no shared memory, and a later edit must not reach an entry.
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    _put(path, lambda temporary: save_file(plain, temporary, {"checksum": _checksum(path, digest_tensors(plain))}))


def copy_from(path: Path, source: Path) -> None:
    """Write what another file holds; raises an OSError."""
    _put(path, lambda temporary: shutil.copyfile(source, temporary))


def _checksum(path: Path, content: str) -> str:
    """Of the content at this place in the store: what was copied over another entry does not match."""
    return digest_text(f"{path.parent.name}/{path.name}\n{content}")


def _compare(recorded: object, computed: str) -> None:
    if recorded != computed:
        raise ValueError(f"its checksum is {computed[:12]}…, recorded was {str(recorded)[:12]}…")


def _check_regular(path: Path) -> None:
    """Opening a pipe would wait for ever for somebody who writes into it."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise ValueError("it is no regular file")


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
    except SafetensorError as error:  # with plain tensors that is the disk
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
    finally:
        _discard([temporary])


def _discard(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
