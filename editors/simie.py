"""SimIE around ROME: the edits of ROME, each solved alone, in one recursion (Guo et al., ICML 2025).

The equations are in `editors/locate/ideal_editor.py`; the inner method is `editors/rome.py`.
"""

from __future__ import annotations

from typing import ClassVar

from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.ideal_editor import IdealEditor, IdealEditorHyperparameters
from editors.rome import Rome, RomeHyperparameters


class SimieHyperparameters(RomeHyperparameters, IdealEditorHyperparameters):
    """ROME's hyperparameters and SimIE's."""


class Simie(IdealEditor, Rome):
    """SimIE around ROME."""

    name: ClassVar[str] = "simie"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = SimieHyperparameters
    hyperparameters: SimieHyperparameters
