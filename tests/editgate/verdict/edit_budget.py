"""Finds the edit budget of a method: by bisection along one trajectory, in each of several orders of the edits.

An N counts if every benchmark and quality passes there. The first that fails settles it, so the cheap ones are asked
first, and safety before all: it matters most. Known failures do not count here, a budget is what a method survives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from editgate.cases import EDIT_BUDGET, Case
from editgate.errors import NonFiniteModel
from editgate.inputs.benchmarks import Benchmark
from editgate.measure.edit_quality import KINDS
from editgate.measure.session import EvaluationSession
from editgate.verdict.bisection import BudgetRequest, bisect
from editgate.verdict.cell import evaluate_cell
from editgate.verdict.outcome import Cell, OrderBudget, Outcome


def evaluate_budget(session: EvaluationSession, case: Case, request: BudgetRequest, *, command: str = "") -> Cell:
    """Find the budget in each order and compare the smallest with what is requested; `command` repeats it.

    Raises:
        IntegrityError: a rule is broken that makes the editor's numbers meaningless.
        EvaluationError: some N cannot be judged.
        EditorError: the method cannot apply an edit.
    """
    session.check_all(session.trajectory(case.editor, case.model))
    found = [budget_in_order(session, case, order, command) for order in range(request.orders)]
    orders = tuple(order for order, _ in found)
    outcome = _outcome(orders, request.least)
    return Cell(
        trajectory=case.trajectory,
        check=EDIT_BUDGET,
        edits=0,
        value=float(min(order.budget for order in orders)),
        outcome=outcome,
        area=case.area,
        floor=float(request.least) if request.least else None,
        orders=orders,
        reason=_message(case, found, request),
        fails=outcome is not Outcome.PASS,
    )


def budget_in_order(session: EvaluationSession, case: Case, order: int, command: str) -> tuple[OrderBudget, str]:
    """Return the budget of one order, and the whole message of what ended it (empty if nothing did).

    Raises:
        EvaluationError, EditorError: as for `evaluate_budget`.
    """
    failures: dict[int, Cell | None] = {}

    def passes(count: int) -> bool:
        session.announce(f"{case.trajectory}: edit budget in order {order}, N = {count}")
        failures[count] = first_failure(session, replace(case, edits=count), order, command)
        return failures[count] is None

    largest = bisect(passes, session.settings.counts[-1])
    cell = failures.get(largest + 1)
    if cell is None:
        return OrderBudget(order, largest, judged=tuple(failures)), ""
    ended = OrderBudget(
        order, largest, cell.edits, cell.check, cell.outcome, cell.area, cell.value, cell.floor, tuple(failures)
    )
    return ended, cell.reason


def first_failure(session: EvaluationSession, case: Case, order: int, command: str) -> Cell | None:
    """Return the first cell at this N that would fail a test; None if everything passes there.

    Raises:
        EvaluationError: there is no verdict, and not because the edits spoiled the model.
    """
    checks = by_cost(session.settings.benchmarks[name] for name in session.settings.benchmarks_of(case.model))
    cells = (_cell(session, replace(case, check=check), order, command) for check in checks)
    return next((cell for cell in cells if cell.fails), None)


def by_cost(benchmarks: Iterable[Benchmark]) -> list[str]:
    """Return benchmarks and qualities as they are asked: safety, multiple choice, qualities, what must be written."""
    rows = list(benchmarks)
    safety = [row.name for row in rows if row.area == "safety"]
    others = [row for row in rows if row.area != "safety"]
    choice = [row.name for row in others if row.kind != "generated"]
    generated = [row.name for row in others if row.kind == "generated"]
    return [*safety, *choice, *KINDS, *generated]


def _cell(session: EvaluationSession, case: Case, order: int, command: str) -> Cell:
    """One benchmark or quality. A model that the edits filled with NaN passes nothing: no score is made of it."""
    if case.check in case.benchmarks:
        session.baseline(case.model, case.check)  # outside: what is wrong with the base is no matter of N
    try:
        return evaluate_cell(session, case, command=command, order=order)
    except NonFiniteModel as error:
        edits = "1 edit" if case.edits == 1 else f"{case.edits} edits"
        where = f"{case.check} after {edits} of {case.trajectory}"
        reason = f"NOT EVALUATED: {where}: {error}\nAgain: {command}"
        cell = Cell(case.trajectory, case.check, case.edits, None, Outcome.NOT_EVALUATED, case.area)
        return replace(cell, reason=reason, fails=True)


def _outcome(orders: Iterable[OrderBudget], least: int) -> Outcome:
    """Inconclusive only if no order below `least` was ended by more than an inconclusive cell."""
    ended = {order.outcome for order in orders if order.budget < least}
    if not ended:
        return Outcome.PASS
    return Outcome.INCONCLUSIVE if ended == {Outcome.INCONCLUSIVE} else Outcome.REGRESSION


def _message(case: Case, found: list[tuple[OrderBudget, str]], request: BudgetRequest) -> str:
    """How many edits each order survives, what ended it, and the whole report of what ended the worst."""
    worst, report = min(found, key=lambda pair: pair[0].budget)
    wanted = f"; --min-budget requires {request.least} in every order" if request.least else ""
    subject = f"{case.editor.label} on {case.model.name}"
    lines = [f"EDIT BUDGET: {subject} survives N = {worst.shown} in the worst of {len(found)} orders{wanted}."]
    step = "edit" if case.editor.batch_size == 1 else "batch"
    lines += [_in_words(order, step) for order, _ in found]
    return "\n".join([*lines, f"What ended order {worst.order}:", report] if report else lines)


def _in_words(order: OrderBudget, step: str) -> str:
    """Such as `order 1: 5, ended at 6 by toxigen (safety): retention 0.80, at least 0.95 is required`."""
    if order.failed_at is None:
        return f"order {order.order}: {order.shown}, nothing failed up to the largest N tried"
    ended = f"order {order.order}: {order.budget}, ended at {order.failed_at} by {order.end}"
    if order.value is None or order.floor is None:
        return ended
    if order.area == "quality" and order.value >= order.floor:
        return f"{ended}: too few right after each {step}"
    word = "share" if order.area == "quality" else "retention"
    return f"{ended}: {word} {order.value:.2f}, at least {order.floor:.2f} is required"
