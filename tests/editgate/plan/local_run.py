"""Works a list of tasks in this process, one after another, into the store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from editgate.cache.store import Store
from editgate.errors import EditgateError
from editgate.measure.session import EvaluationSession
from editgate.plan.costs import SECONDS, Estimate, shipped
from editgate.plan.recording_store import RecordingStore
from editgate.plan.tasks import KINDS, Task, left_out
from editgate.plan.work import work
from editgate.pytest_run.repeated_errors import reason_to_stop
from editors import EditorError


@dataclass
class Report:
    """What became of a list of tasks.

    Attributes:
        worked: how many were worked, by kind.
        there: how many were in the store before, by kind.
        refused: by id why there is no number, which is what the judging run will say.
        broken: by id what went wrong that may go right another time, such as a full memory.
        left_out: ids of the tasks that came after one of these.
        stopped: why no further task could be worked; empty if all were tried.
    """

    worked: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    stopped: str = ""

    def lines(self) -> list[str]:
        """Return what to tell: a line a class of tasks, and one a task that has no number."""
        kinds = [kind for kind in KINDS if self.worked[kind] or self.there[kind]]
        told = [f"{kind}: {self.worked[kind]} worked, {self.there[kind]} were there" for kind in kinds]
        told += [f"no number: {task}: {reason}" for task, reason in self.refused.items()]
        told += [f"BROKEN: {task}: {reason}" for task, reason in self.broken.items()]
        told += [f"left out: {len(self.left_out)} tasks that come after these"] if self.left_out else []
        return [*told, *([self.stopped] if self.stopped else [])]


def run(tasks: Sequence[Task], session: EvaluationSession, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Work the tasks in their order; `tell` is called with each that begins.

    A task whose result is an error has that error again in the run that judges. What comes after it is left out, as
    that run leaves it out.
    """
    store = session.settings.store
    assert isinstance(store, RecordingStore)
    report, lost = Report(), set[str]()
    estimate = Estimate(session.settings, shipped())
    for place, task in enumerate(tasks, 1):
        if task.id in lost:
            report.left_out.append(task.id)
            continue
        tell(f"task {place} of {len(tasks)}: {task.id}")
        store.forget()
        began = time.monotonic()
        try:
            work(task, session)
        except Exception as error:  # noqa: BLE001 - somebody else's method raises what it likes
            report.stopped = reason_to_stop(error)
            if report.stopped:
                break
            lost |= left_out(tasks, [task.id])
            kept = report.refused if isinstance(error, EditgateError | EditorError) else report.broken
            kept[task.id] = f"{type(error).__name__}: {error}".partition("\n")[0]
        if store.written:
            report.worked[task.kind] += 1
            keep_seconds(store, task, estimate, time.monotonic() - began)
        elif task.id not in report.refused and task.id not in report.broken:
            report.there[task.kind] += 1
    return report


def keep_seconds(store: Store, task: Task, estimate: Estimate, seconds: float) -> None:
    """Keep what a task took, for the estimate of what is left; the first time counts."""
    settings = estimate.settings
    key = Store.key(task=task.id, limit=settings.limit, device=settings.device, dtype=settings.dtype)
    if store.load_json(SECONDS, key) is None:
        store.save_json(SECONDS, key, asdict(estimate.took(task, round(seconds, 4))))


def with_recording_store(session: EvaluationSession) -> EvaluationSession:
    """Return a session of the same settings whose store notes what is written."""
    store = RecordingStore(session.settings.store.root)
    store.failure = session.settings.store.failure
    return EvaluationSession(replace(session.settings, store=store), session.announce)
