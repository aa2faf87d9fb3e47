"""How many edits a method survives: found by bisection, in several orders of the edits; runs with `--budget` alone."""

from __future__ import annotations

import pytest

from editgate.verdict.outcome import Cell


@pytest.mark.measures("edit budget")
def test_budget(cell: Cell) -> None:
    """Everything passes up to the N of `--min-budget`, whatever the order; without it the budget is only reported."""
    cell.raise_if_failed()
