"""What may be tried for a method on a model: blocks first, then numbers."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from editgate.errors import ConfigError

FILE = Path(__file__).parent / "spaces.toml"
Share = Annotated[float, Field(ge=0, lt=1)]
Settings = dict[str, Any]


class Space(BaseModel):
    """A method's space.

    Attributes:
        blocks: of the first block that is written, as shares of the model's depth; none where a method writes all.
        window: how many neighboring blocks are written, as a share of the depth; 0 is one.
        fixed: hyperparameters that are not searched.
        numbers: those that are, each with its values, the usual one first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: tuple[Share, ...]
    window: Share = 0.0
    fixed: Mapping[str, Any]
    numbers: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(cls, method: str) -> Self:
        """Return the space of a method.

        Raises:
            ConfigError: there is none; lists the methods that have one.
        """
        tables = _tables()
        if method not in tables:
            raise ConfigError(f"--editor {method!r} cannot be tuned. Allowed: {', '.join(sorted(tables))}.")
        return cls.model_validate(tables[method])

    def fixing(self, given: Mapping[str, Any]) -> Self:
        """Return the space with some hyperparameters given, blocks among them, that are searched no more."""
        numbers = {name: values for name, values in self.numbers.items() if name not in given}
        return self.model_copy(update={"fixed": {**self.fixed, **given}, "numbers": numbers})

    def places(self, depth: int, *, one_layer: bool) -> list[Settings]:
        """Return the blocks to try on a model of this depth, as hyperparameters; the one place that was fixed.

        A method without blocks has one place, which says nothing.

        Args:
            depth: number of blocks.
            one_layer: whether the method's hyperparameter is `layer`, one number, instead of `layers`.
        """
        if given := {name: self.fixed[name] for name in ("layer", "layers") if name in self.fixed}:
            return [given]
        if not self.blocks:
            return [{}]
        width = max(1, round(self.window * depth))
        begins = sorted({min(round(share * depth), depth - width) for share in self.blocks})
        if one_layer:
            return [{"layer": begin} for begin in begins]
        return [{"layers": list(range(begin, begin + width))} for begin in begins]

    def usual(self) -> Settings:
        """Return the usual value of every number, with what is fixed."""
        return {**self.fixed, **{name: values[0] for name, values in self.numbers.items()}}

    def combinations(self) -> list[Settings]:
        """Return every combination of the numbers, with what is fixed; the usual one first."""
        names = list(self.numbers)
        return [
            {**self.fixed, **dict(zip(names, values, strict=True))}
            for values in itertools.product(*self.numbers.values())
        ]


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
