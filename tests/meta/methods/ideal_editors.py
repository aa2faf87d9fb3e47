"""SimIE around MEMIT and AlphaEdit: not shipped, because less is left of their edits with it (docs/methods.md).

The gate takes them as anybody's: `--editor=meta.methods.ideal_editors:SimieMemit`, with MEMIT's hyperparameters and
`lamHyper` as `--editor-arg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from editors.alphaedit import AlphaEdit, AlphaEditHyperparameters
from editors.core.edit import Edit
from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.ideal_editor import IdealEditor, IdealEditorHyperparameters
from editors.memit import Memit, MemitHyperparameters


class SimieMemitHyperparameters(MemitHyperparameters, IdealEditorHyperparameters):
    """MEMIT's hyperparameters and SimIE's."""


class SimieMemit(IdealEditor, Memit):
    """SimIE around MEMIT."""

    name: ClassVar[str] = "simie_memit"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = SimieMemitHyperparameters
    hyperparameters: SimieMemitHyperparameters


class SimieAlphaeditHyperparameters(AlphaEditHyperparameters, IdealEditorHyperparameters):
    """AlphaEdit's hyperparameters and SimIE's."""


class SimieAlphaedit(IdealEditor, AlphaEdit):
    """SimIE around AlphaEdit, which then has no memory of its own."""

    name: ClassVar[str] = "simie_alphaedit"
    Hyperparameters: ClassVar[type[LocateHyperparameters]] = SimieAlphaeditHyperparameters
    hyperparameters: SimieAlphaeditHyperparameters

    def _edit(self, edits: Sequence[Edit]) -> None:
        self._past = {}
        super()._edit(edits)
