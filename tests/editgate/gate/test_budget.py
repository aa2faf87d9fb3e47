"""How many edits a method bears: found by bisection, in several orders of the edits; runs with `--budget` alone."""

from __future__ import annotations

from editgate.verdict.edit_budget import Orders
from editgate.verdict.judging import Judged


def test_budget(edit_budget: Judged[Orders]) -> None:
    """Everything holds up to the N of `--min-budget`, whatever the order; without it the budget is only told."""
    edit_budget.hold()
