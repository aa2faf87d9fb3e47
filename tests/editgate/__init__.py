"""Tells whether a language model survives being edited: `check_editor`, `load_report`, and a pytest plugin.

python -m editgate --editor=my_pkg.my_module:MyEditor -m myeditor
pytest --pyargs editgate.gate --editor=my_pkg.my_module:MyEditor
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from editgate.checks import Check, Result, check_editor, checks_of, parametrize_with_checks
    from editgate.report.load import LoadedReport, load_report

__all__ = [
    "Check", "LoadedReport", "Result", "check_editor", "checks_of", "load_report", "parametrize_with_checks",
]  # fmt: skip
_FROM_REPORT = {"LoadedReport", "load_report"}  # the others need torch, these do not


def __getattr__(name: str) -> object:
    """Import the public functions only when they are asked for."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module("editgate.report.load" if name in _FROM_REPORT else "editgate.checks"), name)
