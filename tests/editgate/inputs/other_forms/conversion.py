"""Where a converted model lies, and how it gets there whole: beside each other, by the digest of what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp

from editgate.cache.waiting import held
from editgate.errors import ConfigError

KIND = "converted"  # the folder of the store


def place(store: Path, name: str, files: Iterable[Path], *packages: str) -> Path:
    """Return the folder for what is made of these files' bytes by these releases, whether it is there yet or not.

    Its last part is the model's name, by which hyperparameters are looked up; the one before is the digest.
    """
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    total.update(" ".join(f"{each}={version(each)}" for each in ("transformers", *packages)).encode())
    return store / KIND / total.hexdigest()[:32] / name


def make(folder: Path, shown: str, write: Callable[[Path], None]) -> None:
    """Let `write` fill the folder unless it is there; other processes wait, and a killed one leaves nothing behind.

    Args:
        folder: as `place` returns it.
        shown: what is converted, for messages.
        write: saves a model, and its tokenizer, into the folder that it is given.

    Raises:
        ConfigError: the disk refuses.
    """
    if folder.is_dir():
        with suppress(OSError):
            os.utime(folder)  # it is used now: who makes room in the store leaves it
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder.parent.with_suffix(".lock"), say):
            if folder.is_dir():
                return
            trial = Path(mkdtemp(dir=folder.parent))
            try:
                write(trial)
                os.replace(trial, folder)  # noqa: PTH105 - of a folder, onto nothing
            finally:
                shutil.rmtree(trial, ignore_errors=True)
    except OSError as error:
        raise ConfigError(
            f"{shown} cannot be converted in {folder.parent} ({error.strerror or error}). Make room there, or name "
            "another folder: --store DIR."
        ) from error


def say(text: str) -> None:
    """Tell a person what takes seconds before pytest's own first line."""
    print(text, file=sys.stderr, flush=True)
