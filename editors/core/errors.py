"""Exceptions of the editors.

EditorError
+-- EditError              the edit itself is malformed, or its subject cannot be found in the tokens
+-- EditorNotFound         no built-in editor, module or attribute has that name
+-- HyperparameterError    unknown, missing or out-of-range hyperparameter
+-- UnsupportedModel       the model's architecture is not supported
+-- MissingCorpus          a covariance is needed and there is neither a matrix nor a text to compute it from
+-- MissingTraining        a network must be trained first, and there are no training edits
+-- StateMismatch          a state does not fit this model or editor
+-- NonFiniteEdit          an update contains NaN or infinity; the weights are as they were before
+-- NoEffect               the edit would change nothing, or its memory entry would never be used
+-- ContextOverflow        a prompt and the text that a memory adds exceed the model's context
+-- ForeignFailure         an external method raised or returned something unusable; the cause is its exception

DamagedCheckpoint          what a computation had left cannot be trusted, and it begins anew (a warning)
"""


class EditorError(Exception):
    """Base of all errors of the `editors` package."""


class EditError(EditorError, ValueError):
    """An edit that cannot be applied as it is written."""


class EditorNotFound(EditorError, LookupError):  # noqa: N818 - reads like ModuleNotFoundError without the suffix
    """No editor of that name."""


class HyperparameterError(EditorError, ValueError):
    """A hyperparameter that is unknown, missing or outside its bounds."""


class UnsupportedModel(EditorError, TypeError):  # noqa: N818 - the state of affairs is the name
    """A model whose architecture is not supported."""


class MissingCorpus(EditorError, ValueError):  # noqa: N818 - names what is missing
    """Neither a covariance nor a corpus to compute it from."""


class MissingTraining(EditorError, ValueError):  # noqa: N818 - names what is missing
    """A method that trains a network first, and no edits to train it on."""


class StateMismatch(EditorError, ValueError):  # noqa: N818 - names what is wrong
    """A state whose names, shapes or dtypes do not fit."""


class NonFiniteEdit(EditorError, ArithmeticError):  # noqa: N818 - names what happened
    """An update with NaN or infinity in it; nothing was written."""


class NoEffect(EditorError, RuntimeError):  # noqa: N818 - names what happened
    """An edit that changes nothing at all."""


class ContextOverflow(EditorError, ValueError):  # noqa: N818 - names what happened
    """A prompt and the text that a memory adds are longer than the model's context."""


class ForeignFailure(EditorError, RuntimeError):  # noqa: N818 - names what happened
    """Somebody else's code raised or returned something unusable; the message says at which edit."""


class DamagedCheckpoint(UserWarning):
    """What an unfinished computation left is truncated, was changed, or is another one's; it begins anew."""
