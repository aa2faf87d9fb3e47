"""Methods that edit what a language model knows, behind one contract.

    editor = create("memit", model, tokenizer, corpus=texts)
    editor.apply(Edit("{} is in the country of", "Paris", "Italy"))

This package knows nothing of pytest, lm-eval, thresholds or files of results.
"""

from editors.core.edit import Edit
from editors.core.editor import Editor
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
from editors.core.registry import check_settings, create, kind_of, names

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
]
