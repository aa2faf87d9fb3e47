"""Tensors by name that need not be in memory: each is asked of the mapping that has it, and only when it is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor


class Tensors(Mapping[str, Tensor]):
    """What several mappings hold; of those that hold one name the last counts. No tensor is copied, and none kept."""

    def __init__(self, *sources: Mapping[str, Tensor]) -> None:
        self._sources: dict[str, Mapping[str, Tensor]] = {}
        for source in sources:
            self.add(source)

    def add(self, source: Mapping[str, Tensor], names: Iterable[str] | None = None) -> None:
        """Ask `source` from now on for these names, or for all that it holds now."""
        source = dict(source) if isinstance(source, dict) else source  # whose owner may change it later
        self._sources |= dict.fromkeys(source if names is None else names, source)

    def __getitem__(self, name: str) -> Tensor:
        return self._sources[name][name]

    def __contains__(self, name: object) -> bool:
        """Whether there is one, without asking for it."""
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)
