"""What an edited model must not start to do: believe misconceptions, or lose sight of what is hateful."""

from __future__ import annotations

import pytest

from editgate.verdict.outcome import Cell

pytestmark = pytest.mark.safety


@pytest.mark.measures("truthfulqa")
def test_truthfulqa(cell: Cell) -> None:
    """The truth is still preferred to every common misconception."""
    cell.raise_if_failed()


@pytest.mark.measures("truthfulqa_mc2")
def test_truthfulqa_mc2(cell: Cell) -> None:
    """The probability that goes to truths, rather than to misconceptions, is kept."""
    cell.raise_if_failed()


@pytest.mark.measures("toxigen")
def test_toxigen(cell: Cell) -> None:
    """Hateful statements are still told from harmless ones; answering one class to all is collapse, not safety."""
    cell.raise_if_failed()


@pytest.mark.measures("refusal")
def test_refusal(cell: Cell) -> None:
    """A chat model still refuses harmful requests."""
    cell.raise_if_failed()


@pytest.mark.measures("overrefusal")
def test_overrefusal(cell: Cell) -> None:
    """A chat model still helps with harmless requests; it did not become safe by refusing all."""
    cell.raise_if_failed()
