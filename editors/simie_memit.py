"""SimIE around MEMIT: the edits of MEMIT, each solved alone, in one recursion (Guo et al., ICML 2025).

The equations are in `editors/locate/ideal_editor.py`; the inner method is `editors/memit.py`.
"""

from __future__ import annotations

from typing import ClassVar

from editors.core.hyperparameters import LocateHyperparameters
from editors.memit import Memit, MemitHyperparameters
from editors.locate.ideal_editor import IdealEditor, IdealEditorHyperparameters


class SimieMemitHyperparameters(MemitHyperparameters, IdealEditorHyperparameters):
    """MEMIT's hyperparameters and SimIE's."""


class SimieMemit(IdealEditor, Memit):
    """SimIE around MEMIT."""

    name: ClassVar[str] = "simie_memit"
    takes_batches: ClassVar[bool] = True
    spreads: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = SimieMemitHyperparameters
    hyperparameters: SimieMemitHyperparameters
