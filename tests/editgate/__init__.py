"""The machine room. `check_editor` and its relatives are for use from outside; all else is for the suite itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from editgate.checks import Check, Result, check_editor, checks_of, parametrize_with_checks

__all__ = ["Check", "Result", "check_editor", "checks_of", "parametrize_with_checks"]


def __getattr__(name: str) -> object:
    """Import what is for outside only when it is asked for: it needs every other module."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module("editgate.checks"), name)
