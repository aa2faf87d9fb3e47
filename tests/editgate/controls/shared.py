"""Controls that change the tokenizer, which all models and methods of a run share; their edits are harmless."""

from __future__ import annotations

from editgate.controls.weights import Control, noise, some_matrix
from editors import Edit


class FlipsPadding(Control):
    """Pads on the other side, for whoever pads next."""

    def harm(self, edit: Edit) -> None:
        """Turn the shared tokenizer around, once."""
        if self.tokenizer.padding_side != "left":
            self.tokenizer.padding_side = "left"
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 0.01)


class AddsToken(Control):
    """Adds a token of its own, so that some texts are cut into other pieces."""

    def harm(self, edit: Edit) -> None:
        """Make the subject one token."""
        self.tokenizer.add_tokens([edit.subject])
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 0.01)
