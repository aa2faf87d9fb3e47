"""What an editor is given besides model and tokenizer: texts, edits to train on, ready-made parts, a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from editors.core.edit import Edit


@dataclass(frozen=True)
class EditorResources:
    """Everything optional that `editors.create` hands on.

    Attributes:
        corpus: Texts to compute covariances from, where the method needs one that is not given.
        contexts: Groups of context templates, the first of all the bare `{}`; generated if absent.
        covariances: Second moments by module path, e.g. `model.layers.1.mlp.down_proj`.
        training: Edits for methods that train a network first; disjoint from those that will be applied.
        scratch: Folder where a long training keeps its checkpoints, to continue after it was killed.
        seed: Of all random choices.
        record: Called with the name and value of each intermediate, for tests.
    """

    corpus: Sequence[str] | None = None
    contexts: Sequence[Sequence[str]] | None = None
    covariances: Mapping[str, Tensor] = field(default_factory=dict)
    training: Sequence[Edit] | None = None
    scratch: Path | None = None
    seed: int = 0
    record: Callable[[str, Tensor], None] | None = None
