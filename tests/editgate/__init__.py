"""Tells whether a language model survives being edited: `check_editor`, `parametrize_with_checks`, and a pytest plugin.

python -m editgate --editor=my_pkg.my_module:MyEditor -m myeditor
pytest --pyargs editgate.gate --editor=my_pkg.my_module:MyEditor
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from editgate.checks import Check, Result, check_editor, checks_of, parametrize_with_checks

__all__ = ["Check", "Result", "check_editor", "checks_of", "parametrize_with_checks"]


def __getattr__(name: str) -> object:
    """Import the public functions only when they are asked for: they need torch."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module("editgate.checks"), name)
