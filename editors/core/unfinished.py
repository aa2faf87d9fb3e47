"""Tensors of a long computation that is not done yet, in files that are whole or not there.

So it goes on after a kill, and what it has made need not be in memory.
"""

from __future__ import annotations

import errno
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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


def kept_in(folder: Path, stem: str, name: str, make: Callable[[], Tensor]) -> Mapping[str, Tensor]:
    """Return a mapping of one name whose tensor is in a file, and read whenever it is asked for.

    Args:
        folder: where the file is.
        stem: the file's name, which says all that the tensor depends on: it is made only if there is none.
        name: of the tensor.
        make: makes it.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    kept = _InFile(folder / f"{stem}.safetensors", name)
    if load(kept.file, kept.fits, name) is None:
        save(kept.file, {name: make()})
    return kept


@dataclass(frozen=True)
class _InFile(Mapping[str, Tensor]):
    file: Path
    name: str

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        return tensors.keys() == {self.name}

    def __getitem__(self, name: str) -> Tensor:
        return _read(self.file, self.fits, self.name)[name]

    def __iter__(self) -> Iterator[str]:
        yield self.name

    def __len__(self) -> int:
        return 1


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
