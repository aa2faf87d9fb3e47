"""SimIE around AlphaEdit: the edits of AlphaEdit, each solved alone, in one recursion (Guo et al., ICML 2025).

The equations are in `editors/locate/ideal_editor.py`; the inner method is `editors/alphaedit.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from editors.alphaedit import AlphaEdit, AlphaEditHyperparameters
from editors.core.edit import Edit
from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.ideal_editor import IdealEditor, IdealEditorHyperparameters


class SimieAlphaeditHyperparameters(AlphaEditHyperparameters, IdealEditorHyperparameters):
    """AlphaEdit's hyperparameters and SimIE's."""


class SimieAlphaedit(IdealEditor, AlphaEdit):
    """SimIE around AlphaEdit."""

    name: ClassVar[str] = "simie_alphaedit"
    takes_batches: ClassVar[bool] = True
    spreads: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = SimieAlphaeditHyperparameters
    hyperparameters: SimieAlphaeditHyperparameters

    def _edit(self, edits: Sequence[Edit]) -> None:
        self._past = {}  # AlphaEdit's own memory
        super()._edit(edits)
