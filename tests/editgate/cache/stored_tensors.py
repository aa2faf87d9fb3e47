"""Tensors of the store that are not kept in memory: each is read when it is asked for, and again the next time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from editgate.cache.store import Store
from editgate.errors import StoreError

if TYPE_CHECKING:
    from torch import Tensor, nn


class StoredTensors(Mapping[str, "Tensor"]):
    """Tensors by name, each alone in an entry of its own.

    Args:
        store: where they are.
        kind: of the entries.
        keys: of the entries, by the tensor's name.
    """

    def __init__(self, store: Store, kind: str, keys: Mapping[str, str]) -> None:
        self._store, self._kind, self._keys = store, kind, dict(keys)

    def __getitem__(self, name: str) -> Tensor:
        """Read one.

        Raises:
            KeyError: there is none of this name.
            StoreError: it was not saved, or its entry was damaged or removed since.
        """
        found = _read(self._store, self._kind, self._keys[name], name)
        if found is None:
            path = self._store.path(self._kind, self._keys[name], "safetensors")
            raise StoreError(f"store: {path} was whole when this run began to use it, and no longer is. Run it again.")
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def save(self, name: str, tensor: Tensor) -> None:
        """Write one.

        Raises:
            StoreError: it cannot be written.
        """
        self._store.save_tensors(self._kind, self._keys[name], {name: tensor})

    def missing(self) -> list[str]:
        """Return the names of those that are not there, or damaged (with a StoreWarning)."""
        return [name for name, key in self._keys.items() if _read(self._store, self._kind, key, name) is None]

    def beside(self, model: nn.Module) -> Mapping[str, Tensor]:
        """Return them for use beside a model: all in memory where its weights are elsewhere, which leaves room."""
        return self if next(model.parameters()).device.type == "cpu" else dict(self)


def _read(store: Store, kind: str, key: str, name: str) -> Tensor | None:
    return (store.load_tensors(kind, key) or {}).get(name)
