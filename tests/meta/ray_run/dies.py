"""A method that ends its process at the third edit, as one does that runs out of memory."""

from __future__ import annotations

import os

from editgate.controls import Vandal
from editors import Edit


class Dies(Vandal):
    """Edits twice, then takes its process with it."""

    def harm(self, edit: Edit) -> None:
        """Drown the matrix, or end."""
        self._harmed = getattr(self, "_harmed", 0) + 1
        if self._harmed > 2:
            os._exit(1)
        super().harm(edit)
