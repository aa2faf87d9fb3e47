"""The table of one method: marks, the edit budget, and what a memory-based editor says of itself."""

from __future__ import annotations

import pytest

from editgate.report.terminal.details import details
from editgate.report.trajectory_summary import budget_of
from editgate.verdict.outcome import Cell, Outcome


def _cells(*outcomes: str, check: str = "mmlu") -> list[Cell]:
    counts = (1, 5, 10)
    return [Cell("x-m", check, n, 0.5, Outcome(s), "capability") for n, s in zip(counts, outcomes, strict=False)]


def text_of(cells: list[Cell]) -> str:
    """Return all lines of the tables."""
    return "\n".join(details(cells, 100))


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        (("pass", "pass", "pass"), 10),
        (("pass", "regression", "pass"), 1),
        (("inconclusive", "pass", "pass"), 0),
        (("pass", "pass", "inconclusive"), 5),
    ],
)
def test_the_budget_ends_before_the_first_failure(outcomes: tuple[str, ...], wanted: int) -> None:
    """A later pass does not count once a smaller N failed; inconclusive is not a pass."""
    assert budget_of(_cells(*outcomes)) == wanted


def test_every_benchmark_of_a_count_must_pass() -> None:
    """One benchmark that fails ends the budget, and the line names it."""
    cells = _cells("pass", "pass", "pass") + _cells("pass", "pass", "regression", check="gsm8k")
    text = text_of(cells)
    assert "edit budget: 5 (at 10: gsm8k)" in text
    assert "0.50 ✗" in text


def test_diagnostics_and_hits_stand_below_the_table() -> None:
    """Diagnostics come from the largest N, and so do the prompts that the memory answered, by benchmark."""
    cells = [
        Cell("g-m", "mmlu", 10, 1.0, Outcome.PASS, "capability", routed=3),
        Cell("g-m", "efficacy", 1, 1.0, Outcome.PASS, "quality", diagnostics={"hits": 0.5}),
        Cell("g-m", "efficacy", 10, 1.0, Outcome.PASS, "quality", diagnostics={"hits": 1.0}),
    ]
    text = text_of(cells)
    assert "diagnostics, mean over 10 edits: hits 1\n" in text
    assert "prompts answered by the memory at N = 10: mmlu 3\n" in text
    assert "memory" not in text_of(_cells("pass"))


def test_exact_and_teacher_forced_stand_below_the_table() -> None:
    """Both are labelled as not judged, and come from the largest N."""
    cells = [Cell("g-m", "efficacy", n, 1.0, Outcome.PASS, "quality", exact=n / 10, teacher_forced=1.0) for n in (1, 5)]
    assert "efficacy at N = 5, not judged: exact (and stops there) 0.50, teacher-forced 1.00\n" in text_of(cells)
    assert "not judged" not in text_of(_cells("pass"))
