"""Which packages decide which numbers: what the store keeps depends on their code.

After an update nobody may be shown a number that the code before it measured. Whole packages count, so that a new
module is covered by construction; what is printed, asked for or reported may change without measuring anything again.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from types import ModuleType

import editgate
from editgate.errors import StoreError

HOME = Path(editgate.__file__).parent
SUFFIXES = (".py", ".yaml")  # lm-eval's task files name the functions that judge answers
INFERENCE = ("compat", "inference")  # how a model is asked
MEASURE = (*INFERENCE, "measure")  # trajectories, edit quality, perplexity
SCORING = (*MEASURE, "inputs")  # and what is asked: benchmarks, their documents and prompts


@cache
def code_of(*packages: str) -> str:
    """Return a sha256 of the code of some of editgate's own packages and modules, such as `code_of(*SCORING)`."""
    paths = (HOME / name for name in packages)
    return code_digest(*(path if path.is_dir() else path.with_suffix(".py") for path in paths))


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
