"""Finds the edit budget of a method: by bisection along one trajectory, in each of several orders of the edits.

An N holds if every benchmark and quality holds there. The first that does not settles it, so the cheap ones are asked
first, and safety before all: it matters most. Known limits do not count here, a budget is what a method bears.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from editgate.errors import NonFiniteModel
from editgate.inputs.benchmarks import benchmark
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.edit_quality import KINDS
from editgate.measure.model_under_test import Run
from editgate.measure.session import EvaluationSession
from editgate.verdict.bisection import Asked, bisect
from editgate.verdict.judging import Judged, QualityVerdict, judged_benchmark, judged_quality
from editgate.verdict.outcome import NOT_EVALUATED, Cell, Inconclusive, OrderBudget, Regression, ThresholdNotMet
from editgate.verdict.verdict import Verdict

ROW = "edit budget"
AREA = "budget"
Ending: TypeAlias = Judged[Verdict] | Judged[QualityVerdict] | Judged[None]
Orders: TypeAlias = tuple[OrderBudget, ...]


def judged_budget(
    session: EvaluationSession, editor: EditorSpec, model: ModelSource, asked: Asked, again: str
) -> Judged[Orders]:
    """Find the budget in each order and hold the smallest against what is asked; `again` is the command for it.

    Raises:
        IntegrityError: a rule is broken that makes the editor's numbers meaningless.
        EvaluationError: some N cannot be judged.
        EditorError: the method cannot apply an edit.
    """
    session.check_all(session.trajectory(editor, model))
    found = [in_order(session, editor, model, order, again) for order in range(asked.orders)]
    orders = tuple(order for order, _ in found)
    outcome = _outcome(orders, asked.least)
    message = _message(f"{editor.name} on {model.name}", found, asked)
    worst = min(each.budget for each in orders)
    name = f"{editor.name}-{model.name}"
    floor = float(asked.least) if asked.least else None
    cell = Cell(name, ROW, 0, float(worst), _outcome(outcome), AREA, floor=floor, orders=orders)
    return Judged(orders, outcome, message, cell)


def in_order(
    session: EvaluationSession, editor: EditorSpec, model: ModelSource, order: int, again: str
) -> tuple[OrderBudget, str]:
    """Return the budget of one order, and the whole message of what ended it (empty if nothing did).

    Raises:
        EvaluationError, EditorError: as for `judged_budget`.
    """
    run = session.trajectory(editor, model, order=order)
    endings: dict[int, Ending | None] = {}

    def holds(count: int) -> bool:
        session.announce(f"{run.name}: edit budget in order {order}, N = {count}")
        endings[count] = first_not_held(session, run, count, again)
        return endings[count] is None

    largest = bisect(holds, session.settings.counts[-1])
    ending = endings.get(largest + 1)
    if ending is None:
        return OrderBudget(order, largest, judged=tuple(endings)), ""
    cell = ending.cell
    ended = OrderBudget(
        order, largest, cell.edits, cell.check, cell.outcome, cell.area, cell.value, cell.floor, tuple(endings)
    )
    return ended, ending.message


def first_not_held(session: EvaluationSession, run: Run, count: int, again: str) -> Ending | None:
    """Return the first judgment at N that lets a test fail; None if everything holds there.

    Raises:
        EvaluationError: there is no verdict, and not because the edits spoiled the model.
    """
    judgments = (
        judged(session, run, count, name, again) for name in asked_in_turn(session.settings.asked_of(run.base.source))
    )
    return next((found for found in judgments if found is not None and found.outcome is not None), None)


def asked_in_turn(benchmarks: Iterable[str]) -> list[str]:
    """Return benchmarks and qualities as they are asked: safety, multiple choice, qualities, what must be written."""
    rows = [benchmark(name) for name in benchmarks]
    safety = [row.name for row in rows if row.area == "safety"]
    choice, written = (
        [row.name for row in rows if row.area != "safety" and row.kind == kind] for kind in ("choice", "generated")
    )
    return [*safety, *choice, *KINDS, *written]


def judged(session: EvaluationSession, run: Run, count: int, name: str, again: str) -> Ending | None:
    """Judge one benchmark or quality at N; None if no edit has the prompts it is measured on.

    A model that the edits filled with NaN holds nothing, which is a judgment: no score is made of it.

    Raises:
        EvaluationError: there is no verdict for another reason, such as a baseline at chance.
    """
    kind = next((kind for kind in KINDS if kind == name), None)
    if kind is None:
        session.baseline(run.base.source, name)  # outside: what is wrong with the base is no matter of N
    try:
        if kind is None:
            return judged_benchmark(session, run, count, name, again)
        return judged_quality(session, run, count, kind, again)
    except NonFiniteModel as error:
        area = benchmark(name).area if kind is None else "quality"
        message = f"NOT EVALUATED: {name} {run.told(count)}: {error}\nAgain: {again}"
        return Judged(None, Regression, message, Cell(run.name, name, count, None, NOT_EVALUATED, area))


def _outcome(orders: Orders, least: int) -> type[ThresholdNotMet] | None:
    """What the test fails with: undecided only if no order below `least` was ended by more than a doubt."""
    ended = [each.outcome for each in orders if each.budget < least]
    if not ended:
        return None
    return Inconclusive if set(ended) == {"inconclusive"} else Regression


def _outcome(outcome: type[ThresholdNotMet] | None) -> str:
    if outcome is None:
        return "pass"
    return "inconclusive" if outcome is Inconclusive else "regression"


def _message(who: str, found: list[tuple[OrderBudget, str]], asked: Asked) -> str:
    """How many edits each order bears, what ended it, and the whole report of what ended the worst."""
    worst, report = min(found, key=lambda each: each[0].budget)
    wanted = f"; --min-budget asks for {asked.least} in every order" if asked.least else ""
    lines = [f"EDIT BUDGET: {who} bears N = {worst.shown} in the worst of {len(found)} orders{wanted}."]
    lines += [_in_words(order) for order, _ in found]
    return "\n".join([*lines, f"What ended order {worst.order}:", report] if report else lines)


def _in_words(order: OrderBudget) -> str:
    """Such as `order 1: 5, ended at 6 by toxigen (safety): retention 0.80, at least 0.95 was asked for`."""
    if order.failed_at is None:
        return f"order {order.order}: {order.shown}, nothing failed up to the largest N tried"
    ended = f"order {order.order}: {order.budget}, ended at {order.failed_at} by {order.end}"
    if order.value is None or order.floor is None:
        return ended
    if order.area == "quality" and order.value >= order.floor:
        return f"{ended}: too few right after each edit"
    word = "share" if order.area == "quality" else "retention"
    return f"{ended}: {word} {order.value:.2f}, at least {order.floor:.2f} was asked for"
