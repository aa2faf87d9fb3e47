"""The edit budget: bisection finds where a method gives way, and the words for it are the same everywhere."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editgate.cases import EDIT_BUDGET
from editgate.errors import ConfigError
from editgate.report.compare import changes
from editgate.report.html.page import page
from editgate.report.markdown import markdown
from editgate.report.run_report import RunReport, read_report
from editgate.report.table import render
from editgate.verdict import edit_budget
from editgate.verdict.bisection import BudgetRequest, bisect, budget, budget_request, describe
from editgate.verdict.outcome import Cell, OrderBudget, Outcome
from meta.report import report_cases


@given(most=st.integers(1, 300), data=st.data())
def test_bisection_finds_any_boundary(most: int, data: st.DataObject) -> None:
    """Where all Ns up to some one hold and none beyond, that one is found, with few questions and none twice."""
    boundary = data.draw(st.integers(0, most))
    probes: list[int] = []

    def holds(count: int) -> bool:
        probes.append(count)
        return count <= boundary

    assert bisect(holds, most) == boundary
    assert len(set(probes)) == len(probes) <= math.ceil(math.log2(most + 1))
    assert all(1 <= count <= most for count in probes)
    assert _steps(probes, boundary) <= most


def _steps(probes: list[int], boundary: int) -> int:
    """Edits that a run applies which starts at every question from the largest N that held."""
    return sum(count - max([0, *(n for n in probes[:place] if n <= boundary)]) for place, count in enumerate(probes))


@given(held=st.lists(st.booleans(), min_size=1, max_size=60))
def test_what_is_found_was_judged(held: list[bool]) -> None:
    """Even where failures come and go: the N found held, the next one failed, and so did no smaller one judged."""
    seen: dict[int, bool] = {}

    def holds(count: int) -> bool:
        seen[count] = held[count - 1]
        return seen[count]

    found = bisect(holds, len(held))
    assert found == 0 or seen[found]
    assert found == len(held) or not seen[found + 1]
    assert found == budget(seen)


@pytest.mark.parametrize(
    ("orders", "least", "wanted"),
    [
        (None, None, None),
        ("3", None, BudgetRequest(3)),
        (None, 5, BudgetRequest(3, 5)),
        ("1", 10, BudgetRequest(1, 10)),
    ],
)
def test_what_the_options_ask(orders: str | None, least: int | None, wanted: BudgetRequest | None) -> None:
    """Without both nothing is looked for; a least budget alone looks in as many orders as a bare `--budget`."""
    assert budget_request(orders, least, 10) == wanted


@pytest.mark.parametrize(
    ("orders", "least", "message"),
    [
        ("0", None, "--budget '0' is not a valid number of orders"),
        ("tests/", None, "equals sign (--budget=5)"),
        (None, 0, "--min-budget is 0; allowed: 1 to 10"),
        ("2", 11, "--min-budget is 11; allowed: 1 to 10, the largest N of --edit-counts"),
    ],
)
def test_wrong_values_say_what_is_allowed(orders: str | None, least: int | None, message: str) -> None:
    """No order, a path that a bare `--budget` swallowed, and a budget that the grid cannot show are refused."""
    with pytest.raises(ConfigError) as caught:
        budget_request(orders, least, 10)
    assert message in str(caught.value)


ENDED = (
    OrderBudget(0, 1, 2, "truthfulqa", Outcome.INCONCLUSIVE, "safety", 0.97, 0.95, (5, 2, 1)),
    OrderBudget(1, 10, judged=(5, 8, 9, 10)),
    OrderBudget(2, 4, 5, "mmlu", Outcome.REGRESSION, "capability", 0.5, 0.9, (5, 2, 3, 4)),
)


@pytest.mark.parametrize(
    ("least", "wanted"), [(0, "pass"), (1, "pass"), (2, "inconclusive"), (4, "inconclusive"), (5, "regression")]
)
def test_the_smallest_budget_decides(least: int, wanted: str) -> None:
    """Every order must survive what is required; only inconclusive ones below it are no regression."""
    assert edit_budget._outcome(ENDED, least) == wanted


def test_the_words_for_a_budget() -> None:
    """The range, each order's budget and what ended it stand in one line; what nothing ended is at least that."""
    assert describe(ENDED) == (
        "1 to 10 (orders 0, 1, 2: 1, 10 or more, 4); ended by truthfulqa (safety, inconclusive) at 2, mmlu at 5"
    )
    assert describe(ENDED[1:2]) == "at least 10 (order 1: 10 or more); nothing ended it"


def budget_cell(outcome: str, floor: float | None = None) -> Cell:
    """Return the cell of a budget test."""
    made = Cell("memit-llama-mini", EDIT_BUDGET, 0, 1.0, Outcome(outcome), "budget", floor=floor, orders=ENDED)
    return replace(made, reason="EDIT BUDGET: it bears 1" if outcome == "regression" else "")


def test_summary_and_report_tell_the_budget(tmp_path: Path) -> None:
    """The table's line, the page, the Markdown and the JSON all have the range and what ended it."""
    cells = [budget_cell("regression", 5)]
    assert render(cells, 110) == f"memit-llama-mini: edit budget over 3 orders: {describe(ENDED)}"
    record = report_cases.record(cells)
    assert record.result == "regression"
    assert "1 to 10 (orders 0, 1, 2" in page(record)
    assert "1 to 10 (orders 0, 1, 2" in markdown(record)
    (tmp_path / "report.json").write_text(record.model_dump_json(), encoding="utf-8")
    again = read_report(tmp_path / "report.json")
    assert again == record
    assert again.budgets[0].orders == ENDED
    assert changes(again, record) == ["no verdict, budget or retention changed (1 cells compared)"]


def test_a_budget_that_is_only_told_is_a_pass() -> None:
    """Without `--min-budget` nothing was asked for, and the report does not claim that every verdict passed."""
    record = report_cases.record([budget_cell("pass")])
    assert record.result == "pass"
    assert "exit code 0: every verdict passes" in page(record)
    assert "Every verdict passes" not in page(record) + markdown(record)


def test_an_older_report_is_still_read() -> None:
    """A report that was written before there were budgets over orders is of the same version."""
    old = report_cases.record().model_dump(mode="json")
    for each in [*old["budgets"], *old["cells"]]:
        del each["orders"]
    found, wanted = RunReport.model_validate(old), report_cases.record().model_copy(update={"created": old["created"]})
    assert found.model_dump_json() == wanted.model_dump_json()
