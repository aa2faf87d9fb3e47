"""Methods that edit what a language model knows, behind one contract.

    editor = create("memit", model, tokenizer, corpus=texts)
    editor.apply(Edit("{} is in the country of", "Paris", "Italy"))

This package knows nothing of pytest, lm-eval, thresholds or files of results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editors.core.edit import Edit
from editors.core.errors import (
    ContextOverflow,
    EditError,
    EditorError,
    EditorNotFound,
    ForeignFailure,
    HyperparameterError,
    MissingCorpus,
    MissingTraining,
    NoEffect,
    NonFiniteEdit,
    StateMismatch,
    UnsupportedModel,
)
from editors.core.registry import check_settings, create, kind_of, names, needs_subject, takes_batches

if TYPE_CHECKING:
    from editors.core.editor import Editor

__all__ = [
    "ContextOverflow",
    "Edit",
    "EditError",
    "Editor",
    "EditorError",
    "EditorNotFound",
    "ForeignFailure",
    "HyperparameterError",
    "MissingCorpus",
    "MissingTraining",
    "NoEffect",
    "NonFiniteEdit",
    "StateMismatch",
    "UnsupportedModel",
    "check_settings",
    "create",
    "kind_of",
    "names",
    "needs_subject",
    "takes_batches",
]


def __getattr__(name: str) -> object:
    """Import the base class only when it is asked for: it needs torch, which takes a second or two."""
    if name != "Editor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from editors.core.editor import Editor  # noqa: PLC0415 - see above

    return Editor
