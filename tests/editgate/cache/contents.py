"""What a store holds: its entries, models that were converted, and what unfinished computations left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENTRY = re.compile(r"[0-9a-f]{64}\.(json|safetensors)")
LEFT_OVER = re.compile(r"[0-9a-f]{64}\.(json|safetensors)\.\d+\.tmp")
FOLDERS = {"converted": re.compile(r"[0-9a-f]{32}"), "training": re.compile(r"[0-9a-f]{16}")}

# For people; a kind that is not listed is shown by its name alone.
KINDS = {
    "checkpoint": "what N edits changed in a model",
    "contexts": "context templates of methods",
    "converted": "models made of GGUF files and adapters",
    "corpus": "digests of texts for covariances",
    "covariances": "of matrices' inputs",
    "identity": "digests of unedited models",
    "integrity": "outcomes of rules",
    "items": "models' answers to benchmarks",
    "neighbors": "unedited answers, for locality",
    "norm_ratio": "growth of changed weights",
    "perplexity": "of models",
    "perplexity_sample": "sentences that it is measured on",
    "prepared": "projections and trained networks",
    "progress": "what was measured after each edit",
    "quality": "efficacy, paraphrase, locality",
    "questions": "digests of what models are asked",
    "training": "unfinished computations",
    "tuning": "trials of hyperparameters",
    "written": "what unedited models write",
}


@dataclass(frozen=True)
class Held:
    """One thing that is kept or goes as a whole.

    Attributes:
        path: a file, or a folder with everything in it.
        kind: the folder of the store that it is in.
        size: bytes.
        used: when it was last written or read, in seconds since the epoch.
        whole: False for what a killed process left behind, which nobody will read.
    """

    path: Path
    kind: str
    size: int
    used: float
    whole: bool = True

    @property
    def heavy(self) -> bool:
        """Whether it is made of tensors, and no text of a few kilobytes."""
        return self.path.suffix != ".json"


def contents(root: Path) -> Iterator[Held]:
    """Yield everything in a store that is its own; other files in the folder are nobody's business.

    What disappears meanwhile is left out.

    Raises:
        OSError: a folder cannot be read.
    """
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink()):
        pattern = FOLDERS.get(folder.name)
        for path in sorted(folder.iterdir()):
            if pattern is None:
                found = _file(folder.name, path)
            else:
                found = _folder(folder.name, path) if pattern.fullmatch(path.name) and path.is_dir() else None
            if found is not None:
                yield found


def again(held: Held) -> Held | None:
    """Return the same as it is now; None if it is gone."""
    return (_folder if held.kind in FOLDERS else _file)(held.kind, held.path)


def _file(kind: str, path: Path) -> Held | None:
    whole = ENTRY.fullmatch(path.name) is not None
    if not whole and not LEFT_OVER.fullmatch(path.name):
        return None
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return Held(path, kind, found.st_size, found.st_mtime, whole)


def _folder(kind: str, path: Path) -> Held | None:
    try:
        found = [path.lstat(), *(inside.lstat() for inside in path.rglob("*") if not inside.is_dir())]
    except FileNotFoundError:
        return None
    return Held(path, kind, sum(each.st_size for each in found[1:]), max(each.st_mtime for each in found))
