"""A codebook: balls in the space of one matrix's inputs, each with the output that replaces the matrix's inside it.

Only the nearest key answers, and only within its radius:

    n = argmin_i ‖k_i - q‖,     hit if ‖k_n - q‖ ≤ ε_n
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from editors.core.errors import StateMismatch

MASKED = -100  # label of the prompt's tokens, as in transformers
FILLER = -1  # fills shorter labels up to the longest; no token's id
GAP = 1e-5  # between two balls after a conflict, as in the authors' code
REPEAT = 1e-5  # a query this near to a key, relative to its norm, is the same prompt

Expansion = Literal["coverage", "moving_average"]


class Rules(Protocol):
    """The hyperparameters that decide how an edit is inserted."""

    @property
    def eps(self) -> float: ...  # noqa: D102
    @property
    def eps_expand(self) -> Expansion: ...  # noqa: D102


@dataclass(frozen=True)
class Codebook:
    """N entries; never changed, only replaced by a new codebook.

    Attributes:
        keys: [N, d_in].
        values: [N, d_out].
        epsilons: Radii, [N], in the unit of the keys.
        labels: Token ids of the answers [N, W], `MASKED` for the prompt's tokens, `FILLER` at the end.
    """

    keys: Tensor
    values: Tensor
    epsilons: Tensor
    labels: Tensor

    @classmethod
    def empty(cls, inputs: int, outputs: int, like: Tensor) -> Self:
        """No entries yet; float32, or wider if `like` is, on its device."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        none = torch.zeros(0, dtype=dtype, device=like.device)
        return cls(none.reshape(0, inputs), none.reshape(0, outputs), none, none.reshape(0, 0).long())

    def __len__(self) -> int:
        return len(self.keys)

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to the nearest key and its index, both [Q], of queries [Q, d_in].

        Differences are taken one by one. The matrix product that `cdist` uses by itself for more than 25 keys
        gives a key a distance of 0.3 to itself at the width of Llama-2.
        """
        distances = torch.cdist(queries.to(self.keys), self.keys, compute_mode="donot_use_mm_for_euclid_dist")
        values, indices = distances.min(1)
        return values, indices

    def insert(self, query: Tensor, label: Sequence[int], start: Tensor, rules: Rules) -> tuple[Self, int]:
        """Return the codebook with an entry for an edit, and the index of the entry whose value is to be trained.

        Args:
            query: The edited prompt's input to the matrix, [d_in].
            label: The answer's token ids after one `MASKED` for each token of the prompt.
            start: Value [d_out] of an entry that is new.
            rules: The hyperparameters.

        Far from all balls, or in conflict with the nearest one, a new entry is added; in a conflict both balls
        shrink to half the distance. With the same answer nearby, the nearest ball expands to contain the query.
        """
        if not len(self):
            return self.added(query, label, start, rules.eps), 0
        distances, indices = self.nearest(query[None])
        distance, near = float(distances[0]), int(indices[0])
        if distance > rules.eps + float(self.epsilons[near]):
            return self.added(query, label, start, rules.eps), len(self)
        if self.same_answer(label, [token for token in self.labels[near].tolist() if token != FILLER]):
            return self._widened(near, query, distance, rules.eps_expand), near
        if self.is_repeat(query, distance):
            return self.valued(near, start).labeled(near, label), near
        eps, shrunk = self.parted(near, distance, rules.eps)
        smaller = replace(self, epsilons=_with(self.epsilons, near, self.epsilons.new_tensor(shrunk)))
        return smaller.added(query, label, start, eps), len(self)

    def same_answer(self, left: Sequence[int], right: Sequence[int]) -> bool:
        """Whether the answers of two labels are one: by their ids."""
        ids = [[token for token in label if token != MASKED] for label in (left, right)]
        return ids[0] == ids[1]

    def is_repeat(self, query: Tensor, distance: float) -> bool:
        """Whether a query at this distance from its nearest key is that key's own prompt; its new answer counts."""
        return distance <= REPEAT * float(query.norm())

    def parted(self, near: int, distance: float, eps: float) -> tuple[float, float]:
        """Radii, after a conflict, of the new ball and of the nearest one: half the distance at most; none grows."""
        half = distance / 2
        return min(eps, half), min(float(self.epsilons[near]), half - GAP)

    def valued(self, entry: int, value: Tensor) -> Self:
        """With another value [d_out] of one entry."""
        return replace(self, values=_with(self.values, entry, value))

    def added(self, query: Tensor, label: Sequence[int], value: Tensor, eps: float) -> Self:
        """With one more entry."""
        joined = replace(
            self,
            keys=torch.cat([self.keys, query[None].to(self.keys)]),
            values=torch.cat([self.values, value[None].to(self.values)]),
            epsilons=torch.cat([self.epsilons, self.epsilons.new_tensor([eps])]),
            labels=pad(self.labels, (0, 0, 0, 1), value=FILLER),
        )
        return joined.labeled(len(self), label)

    def labeled(self, entry: int, label: Sequence[int]) -> Self:
        """With another label of one entry."""
        wide = pad(self.labels, (0, max(0, len(label) - self.labels.shape[1])), value=FILLER)
        row = wide.new_tensor([*label, *[FILLER] * (wide.shape[1] - len(label))])
        return replace(self, labels=_with(wide, entry, row))

    def _widened(self, entry: int, query: Tensor, distance: float, how: Expansion) -> Self:
        """Expand the ball to the query; with `moving_average` its key also moves half the way there."""
        if distance <= float(self.epsilons[entry]):
            return self
        wide = replace(self, epsilons=_with(self.epsilons, entry, self.epsilons.new_tensor(distance)))
        if how == "coverage":
            return wide
        return replace(wide, keys=_with(self.keys, entry, 0.5 * self.keys[entry] + 0.5 * query.to(self.keys)))

    def state(self) -> dict[str, Tensor]:
        """The tensors by name; none if there is no entry."""
        return {part.name: getattr(self, part.name).clone() for part in fields(self)} if len(self) else {}

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Check that a state fits a codebook of these sizes.

        Raises:
            StateMismatch: A tensor is missing, or its shape or dtype does not fit.
        """
        count = len(state["keys"]) if "keys" in state and state["keys"].ndim else 0
        for part in fields(self):
            own, stored = getattr(self, part.name), state.get(part.name)
            width = stored.shape[1:] if part.name == "labels" and stored is not None else own.shape[1:]
            if stored is None or stored.dtype != own.dtype or stored.shape != (count, *width):
                got = "missing" if stored is None else f"{tuple(stored.shape)} {stored.dtype}"
                wanted = f"({', '.join(map(str, (count, *own.shape[1:])))}) {own.dtype}"
                raise StateMismatch(f"the codebook's {part.name} are {got} in the state; this model needs {wanted}")

    def loaded(self, state: Mapping[str, Tensor]) -> Self:
        """A codebook from a state that passed `check`, on this one's device."""
        return replace(self, **{part.name: state[part.name].to(self.keys.device).clone() for part in fields(self)})


def _with(rows: Tensor, entry: int, row: Tensor) -> Tensor:
    changed = rows.clone()
    changed[entry] = row.to(rows)
    return changed
