"""What an edited model can still do: each benchmark after N edits, held against the floor of `thresholds/`."""

from __future__ import annotations

import pytest

from editgate.verdict.outcome import Cell

pytestmark = pytest.mark.capability


@pytest.mark.measures("mmlu")
def test_mmlu(cell: Cell) -> None:
    """World knowledge, asked with lettered options, survives the edits."""
    cell.raise_if_failed()


@pytest.mark.measures("bbh")
def test_bbh(cell: Cell) -> None:
    """Step-by-step reasoning survives the edits."""
    cell.raise_if_failed()


@pytest.mark.measures("gsm8k")
def test_gsm8k(cell: Cell) -> None:
    """Arithmetic in words survives the edits."""
    cell.raise_if_failed()


@pytest.mark.measures("commonsenseqa")
def test_commonsenseqa(cell: Cell) -> None:
    """Everyday knowledge survives the edits."""
    cell.raise_if_failed()


@pytest.mark.measures("triviaqa")
def test_triviaqa(cell: Cell) -> None:
    """Facts that the model writes out itself survive the edits."""
    cell.raise_if_failed()
