"""MEND's training loss: how well the edited model answers rephrases, and how much it changes neighboring facts.

    L = c_edit * -log p_edited(answer | rephrase) + c_loc * KL(p_base || p_edited)  on neighboring facts
        + c_size * sum of |dW|^2 / |W|^2  over the edited matrices

Every edit starts from the unedited model, which never changes. So the network's inputs (x and delta of each edit) and
the states that enter the lowest edited block are computed once per group of edits and cached. The update is never
materialized: an edited matrix computes y + (x . inputs^T) deltas, each row of a batch with its own edit's factors. The
gradient is of first order: x and delta are constants. The last term is not in the paper: without it a short training
finds updates larger than the weights themselves, which preserve the neighbors and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
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
from editors.models.gradients import Batch, Gradients, at_least_float32, gradients
from editors.models.hooks import forward_hooks
from editors.models.projection import Matrix
from editors.models.suffix_forward import UpperBlocks
from editors.models.tokens import Row
from editors.models.trace import Trace

CACHE = 1 << 30  # bytes of tensors kept between the steps on a small model; what does not fit is recomputed
SHARE = 20  # of a large one, they take at most one part in so many of the weights' memory
Value = TypeVar("Value")


class Rows:
    """Texts traced up to the lowest edited block, from where forward passes start.

    Args:
        architecture: Of the unedited model.
        rows: The texts.
        lowest: Index of the first block to run again.
    """

    def __init__(self, architecture: Architecture, rows: Sequence[Row], lowest: int) -> None:
        trace = Trace(architecture, rows, ())
        self._architecture = architecture
        self._upper_blocks = UpperBlocks(trace, lowest)
        self._base = self._upper_blocks.at_labels(trace.entering[-1])

    @property
    def size(self) -> int:
        """Bytes of the states kept."""
        return self._upper_blocks.size + self._base.nbytes

    def states(self) -> Tensor:
        """States at the labels, all rows in order, of the model with the hooks that are registered now: [labels, d]."""
        return self._upper_blocks.states({})

    def base(self, which: Tensor) -> Tensor:
        """Log-probabilities [n, V] of the unedited model at some of the labels."""
        return self.log_probabilities(self._base[which])

    def log_probabilities(self, states: Tensor) -> Tensor:
        """Log-probabilities [n, V] of the next token, from states [n, d] that leave the last block."""
        logits: Tensor = self._architecture.head(self._architecture.norm(states))
        return at_least_float32(logits).log_softmax(-1)


class BoundedCache:
    """Cache with a size limit, in bytes; what does not fit is recomputed."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], tuple[Value, int]]) -> Value:
        """The value of a key; `make` returns it with its size in bytes."""
        if key in self._values:
            kept: Value = self._values[key]
            return kept
        made, size = make()
        if size <= self._room:
            self._room -= size
            self._values[key] = made
        return made


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms c_edit, c_loc and c_size, and the sign of the update."""

    edit: float
    loc: float
    size: float
    sign: int


class MetaLoss:
    """The loss of a step of training: one group of edits, each applied alone to the unedited model.

    Args:
        model: The unedited model, its parameters frozen.
        tokenizer: Its tokenizer.
        matrices: The edited matrices, in the order of the network.
        lowest: Index of the lowest block with an edited matrix.
        network: The network to train; `observe` computes its statistics.
        dataset: The training edits.
        loss_weights: Weights of the loss terms.
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
        dataset: MendDataset,
        loss_weights: LossWeights,
        group: int,
        neighbors: int,
        seed: int,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._architecture = Architecture(model)
        self._matrices, self._lowest = tuple(matrices), lowest
        self._network, self._dataset, self._loss_weights = network, dataset, loss_weights
        self._neighbors, self._seed = neighbors, seed
        self._kept = BoundedCache(self._architecture.size // SHARE if self._architecture.is_large else CACHE)
        order = torch.randperm(len(dataset.edits), generator=torch.Generator().manual_seed(seed)).tolist()
        self._groups = [order[start : start + group] for start in range(0, len(order), group)]

    def observe(self) -> None:
        """Give the network the statistics of all rows of all training edits."""
        for number in range(len(self._groups)):
            self._network.observe(self._inner(number))

    def __call__(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of a step; every group occurs once per epoch, in an order drawn for the epoch."""
        epoch, position = divmod(step, len(self._groups))
        shuffle = torch.Generator().manual_seed(self._seed * 7919 + epoch)
        number = int(torch.randperm(len(self._groups), generator=shuffle)[position])
        view = int(torch.randint(1 << 16, (), generator=generator)) % self._views
        factors = self._network(self._inner(number))
        rows, queries = self._kept.get((number, view), lambda: self._traced(number, view))
        return self._loss(rows, queries, factors)

    @cached_property
    def _views(self) -> int:
        """Number of combinations of outer samples and neighbors."""
        return max(map(len, self._dataset.outer)) * max(map(len, self._dataset.loc))

    def _inner(self, number: int) -> list[Gradients]:
        def make() -> tuple[list[Gradients], int]:
            edits = [self._dataset.edits[index] for index in self._groups[number]]
            device = self._matrices[0].weight.device
            batch = Batch.of(self._tokenizer, [(edit.text, edit.target_new) for edit in edits], device)
            rows = gradients(self._model, self._matrices, batch, separately=True)[1]
            return rows, sum(of_matrix.inputs.nbytes + of_matrix.deltas.nbytes for of_matrix in rows)

        return self._kept.get(number, make)

    def _traced(self, number: int, view: int) -> tuple[tuple[Rows, list[list[Query]]], int]:
        """One outer sample and some neighbors of each edit of a group."""
        queries = []
        for index in self._groups[number]:
            outer, loc = self._dataset.outer[index], self._dataset.loc[index]
            near = [loc[(view + offset) % len(loc)] for offset in range(self._neighbors)]
            queries.append([outer[view // len(loc) % len(outer)], *near])
        rows = Rows(self._architecture, [query.row for of_edit in queries for query in of_edit], self._lowest)
        return (rows, queries), rows.size

    def _loss(self, rows: Rows, queries: list[list[Query]], factors: Sequence[Gradients]) -> Tensor:
        pairs = zip(self._matrices, factors, strict=True)
        hooks = [(matrix.module, _adding(of_matrix, self._loss_weights.sign)) for matrix, of_matrix in pairs]
        with forward_hooks(*hooks), torch.enable_grad():
            log_probs = rows.log_probabilities(rows.states())
        device = log_probs.device
        flat = [(index == 0, query) for of_edit in queries for index, query in enumerate(of_edit)]
        outer = torch.tensor([is_outer for is_outer, query in flat for _ in query.row.labels], device=device)
        answers = torch.tensor([token for is_outer, query in flat if is_outer for token in query.answer], device=device)
        shares = torch.tensor([1 / len(query.row.labels) for _, query in flat for _ in query.row.labels], device=device)
        edit = (-log_probs[outer].gather(1, answers[:, None])[:, 0] * shares[outer]).sum() / len(queries)
        divergence = kl_div(log_probs[~outer], rows.base(~outer), reduction="none", log_target=True).sum(-1)
        loc = (divergence * shares[~outer]).sum() / (len(queries) * self._neighbors)
        return (
            self._loss_weights.edit * edit
            + self._loss_weights.loc * loc
            + self._loss_weights.size * self._size(factors)
        )

    def _size(self, factors: Sequence[Gradients]) -> Tensor:
        """Mean over edits of the squared lengths of the updates, in lengths of the weights, without forming them."""
        sizes = []
        for matrix, of_matrix in zip(self._matrices, factors, strict=True):
            grams = (rows @ rows.transpose(1, 2) for rows in (of_matrix.inputs, of_matrix.deltas))  # [B, T, T]
            sizes.append((next(grams) * next(grams)).sum() / (len(of_matrix.inputs) * matrix.weight.square().sum()))
        return torch.stack(sizes).sum()


def _adding(factors: Gradients, sign: int) -> Callable[..., Tensor]:
    """Add sign * (x . inputs^T) deltas; rows [B * R, S] belong to the B edits in order."""

    def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        groups = len(factors.inputs)
        x = args[0].to(factors.inputs.dtype).reshape(groups, -1, args[0].shape[-1])  # [B, R * S, in]
        change = x @ factors.inputs.transpose(1, 2) @ factors.deltas
        return output + (sign * change).reshape(output.shape).to(output.dtype)

    return hook
