"""Controls that change the tokenizer, which all models and methods of a run share; their edits are harmless."""

from __future__ import annotations

from editgate.controls.weights import Control, noise, some_matrix
from editgate.controls.wrappers import Memory
from editors import Edit


class FlipsPadding(Control):
    """Pads on the other side, for whoever pads next."""

    def harm(self, edit: Edit) -> None:
        """Turn the shared tokenizer around, once."""
        if self.tokenizer.padding_side != "left":
            self.tokenizer.padding_side = "left"
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 0.01)


class AddsToken(Memory):
    """Adds a token for each subject, so that texts about it are cut into other pieces."""

    def apply(self, edit: Edit) -> None:
        """Remember the answer after a prompt in which the subject is one token."""
        self.tokenizer.add_tokens([edit.about])
        super().apply(edit)
