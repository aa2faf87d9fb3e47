"""A store that says what a task has to do with it: what it asked for and wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from editgate.cache.store import Store


class RecordingStore(Store):
    """A store that notes which entries are asked for and which are written, as `kind/key.suffix`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: dict[str, None] = {}
        self.written: dict[str, None] = {}

    def forget(self) -> None:
        """Begin anew, with the next task."""
        self.asked, self.written = {}, {}

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Return the path of an entry, and note it."""
        self.asked[f"{kind}/{key}.{suffix}"] = None
        return super().path(kind, key, suffix)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        with super()._writing(path):
            yield
        self.written[path.relative_to(self.root).as_posix()] = None
