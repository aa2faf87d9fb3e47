"""MEND's training: how well would the model edited by the network answer, and how much else would it change?

    L = c_edit * -log p_edited(answer | another wording) + c_loc * KL(p_base || p_edited)  on neighboring facts
        + c_size * sum of |dW|^2 / |W|^2  over the edited matrices

Everything starts from the unedited model, which never changes. So what the network reads (x and delta of each edit)
and the states that enter the lowest edited block are made once for each group of edits and kept. The update is never
formed: an edited matrix gives y + (x . inputs^T) deltas, each row of a batch with its own edit's factors. The gradient
is of first order: x and delta are constants. The last term is ours: without it a short training finds steps longer than
the weights themselves, which spare the neighbors and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.mend.dataset import MendDataset, Query
from editors.mend.network import Hypernetwork
from editors.models.architecture import Architecture
from editors.models.gradients import Batch, Gradients, gradients, widened
from editors.models.projection import Matrix
from editors.models.suffix_forward import UpperBlocks
from editors.models.tokens import Row
from editors.models.trace import Trace

ROOM = 1 << 30  # bytes of tensors kept between steps; what does not fit is made again
Made = TypeVar("Made")


class Rows:
    """Texts up to the lowest edited block, and on from there as often as wanted.

    Args:
        anatomy: Of the unedited model.
        rows: The texts.
        lowest: Index of the first block to run again.
    """

    def __init__(self, architecture: Architecture, rows: Sequence[Row], lowest: int) -> None:
        trace = Trace(architecture, rows, ())
        self._anatomy = architecture
        self._above = UpperBlocks(trace, lowest)
        self._base = self._above.at_labels(trace.entering[-1])

    @property
    def size(self) -> int:
        """Bytes of the states kept."""
        return self._above.size + self._base.nbytes

    def states(self) -> Tensor:
        """States at the labels, all rows in order, of the model with the hooks that are on it now: [labels, d]."""
        return self._above.states({})

    def base(self, which: Tensor) -> Tensor:
        """Log-probabilities [n, V] of the unedited model at some of the labels."""
        return self.log_probabilities(self._base[which])

    def log_probabilities(self, states: Tensor) -> Tensor:
        """What states [n, d] leaving the last block say of the next token, [n, V]."""
        logits: Tensor = self._anatomy.head(self._anatomy.norm(states))
        return widened(logits).log_softmax(-1)


class BoundedCache:
    """Things made once and kept as long as there is room."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._things: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], tuple[Made, int]]) -> Made:
        """The thing of a key; `make` gives it with its size in bytes."""
        if key in self._things:
            kept: Made = self._things[key]
            return kept
        made, size = make()
        if size <= self._room:
            self._room -= size
            self._things[key] = made
        return made


@dataclass(frozen=True)
class LossWeights:
    """What counts how much: c_edit, c_loc and c_size, and the sign of the update."""

    edit: float
    loc: float
    size: float
    sign: int


class MetaLoss:
    """The loss of a step of training: one group of edits, each applied alone to the unedited model.

    Args:
        model: The unedited model, its parameters frozen.
        tokenizer: Its tokenizer.
        matrices: What is edited, in the order of the network.
        lowest: Index of the lowest block with an edited matrix.
        network: What is trained; its statistics are made here.
        material: The training edits.
        weighing: Of the parts of the loss.
        group: Edits of one step.
        neighbors: Neighbors of each edit in one step.
        seed: Of the grouping.
    """

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        matrices: Sequence[Matrix],
        lowest: int,
        network: Hypernetwork,
        material: MendDataset,
        weighing: LossWeights,
        group: int,
        neighbors: int,
        seed: int,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._anatomy = Architecture(model)
        self._matrices, self._lowest = tuple(matrices), lowest
        self._network, self._material, self._weighing = network, material, weighing
        self._neighbors, self._seed = neighbors, seed
        self._kept = BoundedCache()
        order = torch.randperm(len(material.edits), generator=torch.Generator().manual_seed(seed)).tolist()
        self._groups = [order[start : start + group] for start in range(0, len(order), group)]

    def observe(self) -> None:
        """Give the network the statistics of all rows of all training edits."""
        for number in range(len(self._groups)):
            self._network.observe(self._inner(number))

    def __call__(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of a step; every group comes once in each round, in an order of the round's own."""
        rounds, place = divmod(step, len(self._groups))
        shuffle = torch.Generator().manual_seed(self._seed * 7919 + rounds)
        number = int(torch.randperm(len(self._groups), generator=shuffle)[place])
        view = int(torch.randint(1 << 16, (), generator=generator)) % self._views
        factors = self._network(self._inner(number))
        rows, queries = self._kept.get((number, view), lambda: self._ask(number, view))
        return self._loss(rows, queries, factors)

    @cached_property
    def _views(self) -> int:
        """In how many ways a group can be asked."""
        return max(map(len, self._material.outer)) * max(map(len, self._material.loc))

    def _inner(self, number: int) -> list[Gradients]:
        def make() -> tuple[list[Gradients], int]:
            edits = [self._material.edits[index] for index in self._groups[number]]
            device = self._matrices[0].weight.device
            batch = Batch.of(self._tokenizer, [(edit.text, edit.target_new) for edit in edits], device)
            found = gradients(self._model, self._matrices, batch, separately=True)[1]
            return found, sum(each.inputs.nbytes + each.deltas.nbytes for each in found)

        return self._kept.get(number, make)

    def _ask(self, number: int, view: int) -> tuple[tuple[Rows, list[list[Query]]], int]:
        """One outer sample and some neighbors of each edit of a group."""
        queries = []
        for index in self._groups[number]:
            outer, loc = self._material.outer[index], self._material.loc[index]
            near = [loc[(view + place) % len(loc)] for place in range(self._neighbors)]
            queries.append([outer[view // len(loc) % len(outer)], *near])
        rows = Rows(self._anatomy, [each.row for asked in queries for each in asked], self._lowest)
        return (rows, queries), rows.size

    def _loss(self, rows: Rows, queries: list[list[Query]], factors: Sequence[Gradients]) -> Tensor:
        with self._edited(factors), torch.enable_grad():
            said = rows.log_probabilities(rows.states())
        device = said.device
        flat = [(place == 0, each) for asked in queries for place, each in enumerate(asked)]
        outer = torch.tensor([is_outer for is_outer, each in flat for _ in each.row.labels], device=device)
        answers = torch.tensor([token for is_outer, each in flat if is_outer for token in each.answer], device=device)
        shares = torch.tensor([1 / len(each.row.labels) for _, each in flat for _ in each.row.labels], device=device)
        edit = (-said[outer].gather(1, answers[:, None])[:, 0] * shares[outer]).sum() / len(queries)
        apart = kl_div(said[~outer], rows.base(~outer), reduction="none", log_target=True).sum(-1)
        loc = (apart * shares[~outer]).sum() / (len(queries) * self._neighbors)
        return self._weighing.edit * edit + self._weighing.loc * loc + self._weighing.size * self._size(factors)

    def _size(self, factors: Sequence[Gradients]) -> Tensor:
        """Mean over edits of the squared lengths of the updates, in lengths of the weights, without forming them."""
        sizes = []
        for matrix, each in zip(self._matrices, factors, strict=True):
            grams = (rows @ rows.transpose(1, 2) for rows in (each.inputs, each.deltas))  # [B, T, T]
            sizes.append((next(grams) * next(grams)).sum() / (len(each.inputs) * matrix.weight.square().sum()))
        return torch.stack(sizes).sum()

    @contextmanager
    def _edited(self, factors: Sequence[Gradients]) -> Iterator[None]:
        """The model whose rows, in equal parts, are each edited by their own factors."""
        with ExitStack() as stack:
            for matrix, each in zip(self._matrices, factors, strict=True):
                stack.callback(matrix.module.register_forward_hook(_adding(each, self._weighing.sign)).remove)
            yield


def _adding(factors: Gradients, sign: int) -> Callable[..., Tensor]:
    """Add sign * (x . inputs^T) deltas; rows [B * R, S] belong to the B edits in order."""

    def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        groups = len(factors.inputs)
        x = args[0].to(factors.inputs.dtype).reshape(groups, -1, args[0].shape[-1])  # [B, R * S, in]
        change = x @ factors.inputs.transpose(1, 2) @ factors.deltas
        return output + (sign * change).reshape(output.shape).to(output.dtype)

    return hook
