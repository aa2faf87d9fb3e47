"""Works a task by the very functions of the session that the tests call: no number has a second way to come about."""

from __future__ import annotations

from editgate.cases import EDIT_BUDGET, Case
from editgate.measure.model_under_test import Run
from editgate.measure.perplexity import perplexity_at
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editgate.plan.tasks import NORMS, PERPLEXITY, QUALITY, Task
from editgate.verdict.edit_budget import budget_in_order


def work(task: Task, session: EvaluationSession) -> None:
    """Have in the store what the task is about; what is there already is only read.

    Raises:
        EvaluationError: as the test that asks for it would: a rule is broken, or there is no number.
        EditorError: the method cannot apply an edit.
    """
    settings = session.settings
    model = settings.model(task.model)
    if not task.editor:
        (session.of_all_items if task.all_items else session).baseline(model, task.what)
        return
    editor = settings.editor(task.editor)
    if task.kind == "search":
        case = Case(editor, model, EDIT_BUDGET, benchmarks=settings.benchmarks)
        budget_in_order(session, case, task.order, "")
        return
    run = session.trajectory(editor, model, order=task.order)
    if task.kind == "prepare":
        if isinstance(run, Trajectory):  # a model that was changed elsewhere prepares nothing
            run.fresh_editor()
    elif task.kind == "check":
        session.check(run, task.what)
    elif task.kind == "edit":
        run.immediate(task.edits)
    elif task.kind == "score":
        session.evaluation(run, task.edits, task.what)
    else:
        _measure(task, session, run)


def _measure(task: Task, session: EvaluationSession, run: Run) -> None:
    if task.what == QUALITY:
        run.final(task.edits)
    elif task.what == NORMS:
        session.norm_ratio(run, task.edits)
    elif task.what == PERPLEXITY:
        for count in (task.edits, 0):
            perplexity_at(run, session.settings.store, count)
