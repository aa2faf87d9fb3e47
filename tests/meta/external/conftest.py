"""The stand-in for EasyEdit, importable in a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meta.external import easyedit_stand_in


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in, importable in place of a real one; and a folder for hyperparameter files."""
    easyedit_stand_in.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "easyeditor"]:
        del sys.modules[name]
