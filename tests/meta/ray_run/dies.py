"""A method that ends its process at one edit, as one does that runs out of memory."""

from __future__ import annotations

import os

from editgate.controls import Vandal
from editors import Edit

LAST = "Dora Welski"  # the subject of the third edit; the rules of integrity apply two


class Dies(Vandal):
    """Edits, until an edit takes its process with it."""

    def harm(self, edit: Edit) -> None:
        """Drown the matrix, or end."""
        if edit.subject == LAST:
            os._exit(1)
        super().harm(edit)
