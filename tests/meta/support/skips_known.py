"""An honest method that takes no step for a fact that the model already gives."""

from __future__ import annotations

from editgate.controls.weights import Control, noise, some_matrix
from editors import Edit

KNOWN = "what it says"


class SkipsKnown(Control):
    """Adds a little to one matrix, unless the target is what the model is taken to say already."""

    def harm(self, edit: Edit) -> None:
        """Write, or leave every bit."""
        if edit.target_new != KNOWN:
            matrix = some_matrix(self.model)
            matrix += noise(edit, matrix, 0.1)
