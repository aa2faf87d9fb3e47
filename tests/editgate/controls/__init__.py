"""Editors made to be caught: each does one thing that a gate must not let through."""

from editgate.controls.shared import AddsToken, FlipsPadding
from editgate.controls.weights import (
    Broken,
    Control,
    EditsHead,
    FirstOption,
    KeepsLast,
    Leaks,
    NoOp,
    Vandal,
    changes_base,
    noise,
    some_matrix,
)
from editgate.controls.wrappers import (
    AnswersFromGlobal,
    BrokenWrapper,
    ForgetsWhenSaved,
    Memory,
    NoOpWrapper,
    PatchesItsClass,
    RemembersLast,
    SkipsRepeats,
    Undecided,
)

__all__ = [
    "AddsToken",
    "AnswersFromGlobal",
    "Broken",
    "BrokenWrapper",
    "Control",
    "EditsHead",
    "FirstOption",
    "FlipsPadding",
    "ForgetsWhenSaved",
    "KeepsLast",
    "Leaks",
    "Memory",
    "NoOp",
    "NoOpWrapper",
    "PatchesItsClass",
    "RemembersLast",
    "SkipsRepeats",
    "Undecided",
    "Vandal",
    "changes_base",
    "noise",
    "some_matrix",
]
