"""sha256 digests of texts, tensors and code, for the store's keys and checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

from editgate.errors import StoreError
from editors.core.checksum import digest_tensors

__all__ = ["code_digest", "digest_files", "digest_tensors", "digest_text"]


SUFFIXES = (".py", ".yaml")  # lm-eval's task files name the functions that judge answers


def digest_text(text: str) -> str:
    """Return the sha256 of a text, as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_files(place: Path) -> str:
    """Return a sha256 of a file, or of all files below a folder but for bytecode and hidden ones; names count."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    total = hashlib.sha256()
    for file in files:
        name = file.relative_to(place).as_posix() if file != place else file.name
        if "__pycache__" not in name and not any(part.startswith(".") for part in name.split("/")):
            with file.open("rb") as opened:
                total.update(f"{len(name)}:{name}:".encode() + hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()


def code_digest(*sources: ModuleType | Path) -> str:
    """Return a sha256 of source files, for the key of what that code computes.

    Args:
        sources: modules (a package counts with everything below it), files, or folders with what is in `SUFFIXES`.

    Raises:
        StoreError: a source has no file that could be read.
    """
    total = hashlib.sha256()
    for source in sources:
        for name, path in _source_files(source):
            content = path.read_bytes()
            total.update(f"{len(name)}:{name}:{len(content)}:".encode() + content)
    return total.hexdigest()


def _source_files(source: ModuleType | Path) -> list[tuple[str, Path]]:
    """Return (name that does not depend on the checkout's folder, file), sorted."""
    if isinstance(source, Path):
        base = source
    elif source.__file__ is None:
        raise StoreError(f"module {source.__name__} has no source file, so its code cannot be part of a key")
    else:
        base = Path(source.__file__)
        base = base.parent if base.name == "__init__.py" else base
    files = [base] if base.is_file() else sorted(path for path in base.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise StoreError(f"{base}: no source file there, so its code cannot be part of a key")
    return [(path.relative_to(base.parent).as_posix(), path) for path in files]
