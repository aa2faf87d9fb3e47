"""Tensors of a long computation that is not done yet, so that it goes on after a kill: one file, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from editors.core.checksum import digest_tensors
from editors.core.errors import DamagedCheckpoint


def save(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write under a temporary name first, so that an interrupted run never leaves a partial file.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    temporary = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), temporary, {"checksum": _checksum(file, tensors)})
        temporary.replace(file)
    except SafetensorError as error:  # its own error for a disk that takes no more
        raise OSError(errno.ENOSPC, str(error), str(file)) from error
    finally:
        temporary.unlink(missing_ok=True)


def load(file: Path, fits: Callable[[Mapping[str, Tensor]], bool], what: str) -> dict[str, Tensor] | None:
    """Return what was saved; None if there is nothing that can be trusted, with a warning if there is something.

    Args:
        file: where it was saved.
        fits: whether the tensors are of this computation.
        what: the computation, for the warning, such as `training`.
    """
    if not file.is_file():
        return None
    try:
        return _read(file, fits, what)
    except (SafetensorError, ValueError) as error:
        warnings.warn(f"{file} is damaged ({error}); the {what} begins anew", DamagedCheckpoint, stacklevel=3)
        return None


def _read(file: Path, fits: Callable[[Mapping[str, Tensor]], bool], what: str) -> dict[str, Tensor]:
    with safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        recorded = (opened.metadata() or {}).get("checksum")
    if recorded != _checksum(file, tensors):
        raise ValueError("its checksum does not match")
    if not fits(tensors):
        raise ValueError(f"it is of another {what}")
    return tensors


def _checksum(file: Path, tensors: Mapping[str, Tensor]) -> str:
    """Of the tensors in this place: another computation's file, copied here, does not match."""
    return hashlib.sha256(f"{file.parent.name}/{file.name} {digest_tensors(tensors)}".encode()).hexdigest()
