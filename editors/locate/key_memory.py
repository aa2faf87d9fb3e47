"""Shared by AlphaEdit and ENCORE: the keys of earlier edits are kept, so that a later edit does not undo them.

The keys K_p of an edit are those that it was solved with. AlphaEdit's authors compute them once more after the last
layer is written. That is not needed: a layer's keys do not depend on that layer or those above, and those below had
been written when the keys were computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from editors.core.edit import Edit
from editors.core.errors import StateMismatch
from editors.core.hyperparameters import LocateHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.locate.layer_spread import SpreadEditor
from editors.models.projection import Matrix

KEYS = "keys:"


class RememberingEditor(SpreadEditor):
    """Base of the methods whose solution knows the keys of earlier edits.

    The memory is `keys:<module path>`: K_pᵀ [m, f], one row an edit.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: LocateHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self._past: dict[str, Tensor] = {}  # keys of the edits so far by module path, [m, f]
        self._measured: dict[str, Tensor] = {}  # those of the batch at hand, [n, f]

    def _edit(self, edits: Sequence[Edit]) -> None:
        self._measured = {}
        super()._edit(edits)
        self._past = {path: torch.cat([self._before(path), keys]) for path, keys in self._measured.items()}

    def remember(self, matrix: Matrix, keys: Tensor) -> Tensor:
        """Keep a batch's keys K [f, n] of a matrix, once all is written; the keys before them, [f, m]."""
        self._measured[matrix.path] = keys.T
        return self._before(matrix.path).T

    def _before(self, path: str) -> Tensor:
        """Keys of the edits so far at one matrix, [m, f]."""
        return self._past.get(path, self._measured[path][:0])

    def _memory(self) -> dict[str, Tensor]:
        return {KEYS + path: keys.clone() for path, keys in self._past.items()}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        if not memory:
            return
        wanted = {KEYS + matrix.path: matrix.stored(matrix.weight).shape[1] for matrix in self.matrices}
        if memory.keys() != wanted.keys():
            raise StateMismatch(f"the memory contains {', '.join(memory)}; it must contain {', '.join(wanted)}")
        counts = {keys.shape[0] for keys in memory.values() if keys.ndim == 2}
        for name, keys in memory.items():
            if keys.ndim != 2 or keys.shape[1] != wanted[name] or len(counts) != 1 or not keys.is_floating_point():
                raise StateMismatch(
                    f"{name} is {tuple(keys.shape)} {keys.dtype} in the state; it must be "
                    f"(edits, {wanted[name]}), floating point, with the same number of edits in each layer"
                )

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._past = self.by_matrix(memory, KEYS)
