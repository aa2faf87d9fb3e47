"""The rules that every number rests on; one that is broken makes the editor's benchmarks errors, not failures."""

from __future__ import annotations

import pytest

from editgate.verdict.outcome import Cell

pytestmark = pytest.mark.integrity


@pytest.mark.measures("rules")
def test_integrity(cell: Cell) -> None:
    """The editor keeps the rule that the test's id names."""
    cell.raise_if_failed()
