"""Whether the edits took, and only they: preservation without efficacy is not a pass. Measured by free generation."""

from __future__ import annotations

import pytest

from editgate.verdict.outcome import Cell

pytestmark = pytest.mark.quality


@pytest.mark.measures("efficacy")
def test_efficacy(cell: Cell) -> None:
    """The edited prompt gives the new answer, right after its edit and after the last one."""
    cell.raise_if_failed()


@pytest.mark.measures("paraphrase")
def test_paraphrase(cell: Cell) -> None:
    """The same question in other words gives the new answer too."""
    cell.raise_if_failed()


@pytest.mark.measures("locality")
def test_locality(cell: Cell) -> None:
    """Neighboring facts keep the unedited model's answers."""
    cell.raise_if_failed()
