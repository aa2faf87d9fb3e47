"""The edit budget: how many edits a method may apply before something gives way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from editgate.errors import ConfigError
from editgate.inputs.files.validation import brief
from editgate.verdict.outcome import OrderBudget

ORDERS = 3  # of a bare `--budget`
NUMBER = re.compile(r"0*[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class BudgetRequest:
    """What `--budget` and `--min-budget` ask for.

    Attributes:
        orders: of the same edits; the budget is found in each.
        least: how many edits every order must survive; 0 asks for nothing, the budget is only reported.
    """

    orders: int
    least: int = 0

    def describe(self, most: int) -> str:
        """Return what is looked for, in words; `most` is the largest N tried."""
        orders = "1 order" if self.orders == 1 else f"{self.orders} orders"
        least = f", at least {self.least} asked for" if self.least else ""
        return f"by bisection over N = 1 to {most} in {orders} of the edits{least}"


def budget_request(orders: str | None, least: int | None, most: int) -> BudgetRequest | None:
    """Return what the two options ask for, None if neither is given; `most` is the largest N of `--edit-counts`.

    Raises:
        ConfigError: no number of orders, or a least budget that is below 1 or beyond `most`.
    """
    if orders is None and least is None:
        return None
    wanted = str(ORDERS) if orders is None else orders
    if not NUMBER.fullmatch(wanted):
        raise ConfigError(
            f"--budget {brief(wanted)} is not a valid number of orders. Allowed: whole "
            f"numbers of at least 1, with an equals sign (--budget=5), or --budget alone for {ORDERS}."
        )
    if least is not None and not 1 <= least <= most:
        raise ConfigError(
            f"--min-budget is {least}; allowed: 1 to {most}, the largest N of --edit-counts. A larger budget needs "
            "a larger N there."
        )
    return BudgetRequest(int(wanted), least or 0)


def budget(held: Mapping[int, bool]) -> int:
    """Return the largest N up to which everything held; 0 if the smallest failed.

    Only Ns that were judged count, and an N counts only if all smaller judged ones held.
    """
    best = 0
    for edits in sorted(held):
        if not held[edits]:
            break
        best = edits
    return best


def bisect(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest N from 1 to `most` that holds, 0 if none does, by asking about few of them.

    It takes for granted that what fails at N fails beyond. Two things hold even where that is not so: the N it returns
    was asked about and held (unless it is 0), and N + 1 was asked about and failed (unless N is `most`). It asks at
    most ceil(log2(most + 1)) times, about no N twice, and a run that goes on from the largest N that held takes at most
    `most` steps for all questions together (the standard library's `bisect` would take more).
    """
    holding, failing = 0, most + 1
    while failing - holding > 1:
        middle = (holding + failing) // 2
        if holds(middle):
            holding = middle
        else:
            failing = middle
    return holding


def describe(orders: Sequence[OrderBudget]) -> str:
    """Return budgets in one line: `1 to 5 (orders 0, 1: 1, 5); ended by commonsenseqa at 2, toxigen (safety) at 6`."""
    budgets = [each.budget for each in orders]
    low, high = min(budgets), max(budgets)
    least = "at least " if all(each.failed_at is None for each in orders) else ""
    span = f"{low}" if low == high else f"{low} to {high}"
    names = ", ".join(str(each.order) for each in orders)
    word = "order" if len(orders) == 1 else "orders"
    ends = ", ".join(f"{each.end} at {each.failed_at}" for each in orders if each.failed_at is not None)
    by_order = f"({word} {names}: {', '.join(each.shown for each in orders)})"
    return f"{least}{span} {by_order}" + (f"; ended by {ends}" if ends else "; nothing ended it")
