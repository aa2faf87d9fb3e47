"""SimIE around ROME: the edits of ROME, each solved alone, in one recursion (Guo et al., ICML 2025).

The equations are in `editors/locate/ideal_editor.py`; the inner method is `editors/rome.py`.
"""

from __future__ import annotations

from typing import ClassVar

from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.ideal_editor import IdealEditor, IdealEditorHyperparameters
from editors.rome import Rome, RomeHyperparameters


class SimieRomeHyperparameters(RomeHyperparameters, IdealEditorHyperparameters):
    """ROME's hyperparameters and SimIE's."""


class SimieRome(IdealEditor, Rome):
    """SimIE around ROME."""

    name: ClassVar[str] = "simie_rome"
    takes_batches: ClassVar[bool] = False
    spreads: ClassVar[bool] = False
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = SimieRomeHyperparameters
    hyperparameters: SimieRomeHyperparameters
