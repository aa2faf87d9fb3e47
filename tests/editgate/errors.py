"""Every error that is raised on purpose, as one tree.

EditgateError
 ├─ ConfigError             the person can fix the input; the command line stops with 1 to 3 lines
 ├─ EvaluationError             no verdict is possible; pytest reports an error, never a failure
 │   ├─ NoItemsScored           a benchmark came back empty
 │   ├─ ItemsMismatch           baseline and edited model were not asked the same questions
 │   ├─ BaselineAtChance        the unedited model knows nothing that an edit could cost
 │   ├─ TestCannotFail          with so few items no outcome at all would be a regression
 │   ├─ StoreError              the store cannot be read or written
 │   ├─ IncompatibleLibrary     a private part of a library that is needed is not in the installed release
 │   └─ IntegrityError          a rule that makes every number meaningless is broken
 │       ├─ NonFiniteModel      NaN or infinity in weights, logits or scores
 │       ├─ EditHadNoEffect     nothing changed
 │       ├─ BaselineModified    the unedited model changed, or what must not change did
 │       ├─ EditsDoNotAccumulate   only the last edit is in the weights
 │       ├─ StateNotRestored    undo, restore or save-and-load is not bit-exact
 │       ├─ BaselineNotReproduced  zero edits do not give the baseline, item by item
 │       ├─ NotDeterministic    the same edits with the same seed give other weights
 │       └─ StateLeaked         one trajectory shows in the next
 └─ (nothing else: a regression is a verdict, not an exception)

StoreWarning                    a stored entry was damaged and is computed again (a warning, not an error)
"""

# ruff: noqa: N818 -- the names are read by people in a traceback: they say what happened, not "Error"
from __future__ import annotations

from editgate import inert


class EditgateError(Exception):
    """The base of every error that is raised on purpose."""

    def __str__(self) -> str:
        """The message, in which names and texts of others act on nothing that it is printed to."""
        return inert.lines(super().__str__())


class ConfigError(EditgateError):
    """Input that a person can correct: says the value, what is wrong, and what is allowed."""


class EvaluationError(EditgateError):
    """No verdict is possible. Raised in fixtures, so that pytest says "error" and not "failed"."""


class NoItemsScored(EvaluationError):
    """A benchmark returned no item: skipped is not passed."""


class ItemsMismatch(EvaluationError):
    """The two evaluations do not hold the same questions in the same prompts."""


class BaselineAtChance(EvaluationError):
    """The unedited model is not above chance, so there is nothing to lose and nothing to measure."""


class TestCannotFail(EvaluationError):
    """Even the worst outcome at this number of items would not be a regression."""

    __test__ = False  # the name is for people; pytest must not collect it


class StoreError(EvaluationError):
    """The store cannot be read or written; one line that names the file and the way out."""


class IncompatibleLibrary(EvaluationError):
    """The installed release of a library lacks a private part; names the part, the release and the way out."""


class IntegrityError(EvaluationError):
    """A rule that every number rests on is broken; each names the parameter, the value and the way out."""


class NonFiniteModel(IntegrityError):
    """NaN or infinity in weights, logits or scores."""


class EditHadNoEffect(IntegrityError):
    """No tensor changed: the editor returned the base or rolled its edit back."""


class BaselineModified(IntegrityError):
    """The unedited model changed, or a tensor changed that the editor does not declare."""


class EditsDoNotAccumulate(IntegrityError):
    """After k+1 edits the weights equal k edits, or the base with the last edit alone."""


class StateNotRestored(IntegrityError):
    """Undo, restore, or save and load does not give back the same bits."""


class BaselineNotReproduced(IntegrityError):
    """Zero edits along the same path do not reproduce the baseline item by item."""


class NotDeterministic(IntegrityError):
    """Two runs with the same seed give different weights."""


class StateLeaked(IntegrityError):
    """What one trajectory did shows in the next one."""


class StoreWarning(UserWarning):
    """A stored entry was damaged; it counts as missing and is computed again."""
