"""The estimate of a run, for people: what it will take in all, and of what that is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from editgate.cases import BaselineCase, Case
from editgate.estimate.work import Work, left
from editgate.measure.session import EvaluationSession
from editgate.pytest_run.progress_line import duration

if TYPE_CHECKING:
    from editgate.estimate.total import Estimate

SHORT = 60.0  # seconds; of less no details are given
FEW_EDITS, FEW_QUESTIONS = 20, 2000  # of a small model: to time it would take as long as to run it


def lines(session: EvaluationSession, cases: Sequence[Case | BaselineCase], workers: int = 1) -> list[str]:
    """Return what a person should know before the first long step; nothing if nothing is long.

    Args:
        session: where models, benchmarks and the store are.
        cases: what the tests of the run are about.
        workers: processes that share the work.
    """
    try:
        todo = left(session, cases)
        if _is_little(todo):
            return []
        from editgate.estimate.total import estimate  # noqa: PLC0415 - it imports what runs models

        session.announce("timing a few passes")
        shared_out = session.settings.every_worker_has_room and len(todo.trajectories) < workers
        return list(describe(estimate(todo), workers, shared_out=shared_out))
    except Exception as error:  # noqa: BLE001 - whatever a model or a method raises, its own tests say it better
        return [f"estimate: none, a timed pass ended with {type(error).__name__}: {' '.join(str(error).split())}"]


def _is_little(todo: Work) -> bool:
    """Whether timing the models would take about as long as the work itself, or there is none."""
    if not (todo.trajectories or todo.baselines):
        return True
    from editgate.inference.side_by_side import is_small  # noqa: PLC0415 - as above

    bases = [work.run.base for work in todo.trajectories] + [base for base, _ in todo.baselines]
    if not all(is_small(base.model) for base in bases):
        return False
    asked = [prepared for work in todo.trajectories for prepared in work.questions]
    questions = sum(sum(map(len, prepared.items.values())) for prepared in asked)
    return sum(work.edits for work in todo.trajectories) <= FEW_EDITS and questions <= FEW_QUESTIONS


def describe(found: Estimate, workers: int = 1, *, shared_out: bool = False) -> Iterator[str]:
    """Yield the whole, and if that is not short the parts and the memory."""
    seconds = found.seconds(workers, shared_out=shared_out)
    if seconds < SHORT:
        yield f"estimate: about {duration(seconds)} here"
        return
    on = f" on {workers} processes" if workers > 1 else ""
    yield f"estimate: about {duration(seconds)} here{on}, by passes timed in {duration(found.measuring)}:"
    if found.matrices:
        many = f"{found.matrices} matrices" if found.matrices > 1 else "1 matrix"
        yield f"  covariances of {many}: {found.covariance_tokens:,} tokens, about {duration(found.covariances)}"
    if found.edits:
        rules = f" and {found.ruled} for the rules of integrity" if found.ruled else ""
        yield f"  {found.edited} edits{rules}, and the questions about them: about {duration(found.edits)}"
    if found.asked:
        yield f"  a benchmark is asked {found.asked} times: about {duration(found.questions)}"
    if found.untried:
        yield f"  not in it: preparing and editing with {', '.join(sorted(found.untried))}"
    yield f"  memory: about {found.bytes / 1e9:.1f} GB{' a process' if workers > 1 else ''}"
