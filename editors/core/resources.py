"""What an editor can use in addition to model and tokenizer: a corpus, training edits, precomputed tensors, a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from editors.core.edit import Edit

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EditorResources:
    """The optional arguments of `editors.create`.

    Attributes:
        corpus: Texts to compute covariances from, if the method needs one that is not in `covariances`.
        contexts: Groups of context templates, starting with the bare `{}`; generated if None.
        covariances: Uncentered covariances by module path, e.g. `model.layers.1.mlp.down_proj`. A mapping that reads
            them from somewhere is asked for one at a time, whenever it is needed.
        training: Edits for methods that train a network first; disjoint from the edits to apply.
        scratch: Folder for what a long preparation has made so far, from which an interrupted one resumes: checkpoints
            of trainings, projections of covariances.
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
