"""From the laboratory's numbers to a judgment: the verdict with its floor, what a test does with it, and the words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from editgate.inputs.benchmarks import benchmark
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure import edit_quality
from editgate.measure.edit_quality import KINDS, EditQuality, Kind
from editgate.measure.model_under_test import Run
from editgate.measure.session import EvaluationSession
from editgate.options.settings import Settings
from editgate.verdict import cells
from editgate.verdict.failure_message import Context, failure_message
from editgate.verdict.outcome import Cell, Inconclusive, Regression, ThresholdNotMet, refuse
from editgate.verdict.threshold_schema import When
from editgate.verdict.thresholds import Floor
from editgate.verdict.verdict import Verdict, judge
from editors import Edit

WHEN: tuple[When, ...] = ("immediately", "at_end")
SHOWN = 3


@dataclass(frozen=True)
class QualityVerdict:
    """Shares of edits that took (efficacy, paraphrase) or of neighbors that stayed (locality)."""

    kind: Kind
    immediate: float
    at_end: float
    passed: bool


@dataclass(frozen=True)
class Measured:
    """One cell: did it hold, and its retention or share after the last edit."""

    held: bool
    value: float


T = TypeVar("T")


@dataclass(frozen=True)
class Judged(Generic[T]):
    """A verdict and what a test does with it.

    Attributes:
        verdict: the numbers.
        outcome: what the test fails with; None if it passes.
        message: the whole report, for a person.
        cell: the same for tables.
    """

    verdict: T
    outcome: type[ThresholdNotMet] | None
    message: str
    cell: Cell

    def hold(self) -> None:
        """Fail the test unless the verdict lets it pass.

        Raises:
            ThresholdNotMet: the message is the whole report.
        """
        if self.outcome is not None:
            refuse(self.outcome, self.message)


def judged_benchmark(session: EvaluationSession, run: Run, count: int, name: str, again: str) -> Judged[Verdict]:
    """Evaluate a benchmark after `count` edits and hold it against its floor; `again` is the command that repeats it.

    Raises:
        EvaluationError: no verdict is possible.
    """
    verdict, floor = benchmark_verdict(session, run, count, name)
    cell = cells.benchmark_cell(session, run, count, name, verdict)
    context = Context(run.told(count), floor, again, session.growth(run, count), cell.routed)
    return Judged(verdict, _outcome(verdict, session.settings), failure_message(verdict, context), cell)


def benchmark_verdict(session: EvaluationSession, run: Run, count: int, name: str) -> tuple[Verdict, Floor]:
    """Return the verdict on a benchmark after `count` edits, and the floor that it was held against.

    Raises:
        EvaluationError: no verdict is possible.
    """
    model = run.base.source
    floor = session.settings.policy.floor(run.spec.name, model.name, name, benchmark(name).area, count)
    return judge(session.baseline(model, name), session.evaluation(run, count, name), floor.value), floor


def quality_verdict(session: EvaluationSession, run: Run, count: int, kind: Kind) -> QualityVerdict | None:
    """Return the shares right after each edit and at the end, held against their floors; None if nothing was asked.

    Raises:
        EditorError: the method cannot apply an edit.
    """
    floors = _quality_floors(session, run, count, kind)
    early, late = (edit_quality.share(kind, rows) for rows in (run.immediate(count), run.at_end(count)))
    if early is None or late is None:
        return None
    held = late >= floors[1].value and (early >= floors[0].value or not run.stepwise)
    return QualityVerdict(kind, early, late, held)


def judged_quality(
    session: EvaluationSession, run: Run, count: int, kind: Kind, again: str
) -> Judged[QualityVerdict] | None:
    """Hold efficacy, paraphrase or locality against its floors, right after each edit and again after the last.

    Returns:
        None if no edit has the prompts that it is measured on.

    Raises:
        EditorError: the method cannot apply an edit.
    """
    verdict = quality_verdict(session, run, count, kind)
    if verdict is None:
        return None
    early, late = _quality_floors(session, run, count, kind)
    told = [_moment(f"after all {count}", kind, run.at_end(count), late, run.edits)]
    if run.stepwise:
        told.insert(0, _moment("right after each edit", kind, run.immediate(count), early, run.edits))
    message = "\n".join([f"{kind.upper()} {run.told(count).rstrip(',')}.", *told, f"Again: {again}"])
    status = "pass" if verdict.passed else "regression"
    cell = cells.quality_cell(run, count, kind, status, late, early=verdict.immediate, late=verdict.at_end)
    return Judged(verdict, None if verdict.passed else Regression, message, cell)


def _quality_floors(session: EvaluationSession, run: Run, count: int, kind: Kind) -> tuple[Floor, Floor]:
    """The floors right after each edit and after the last."""
    policy, model = session.settings.policy, run.base.source.name
    early, late = (policy.quality(run.spec.name, model, kind, when, count) for when in WHEN)
    return early, late


def curves(session: EvaluationSession, editor: EditorSpec, model: ModelSource) -> dict[str, dict[str, float]]:
    """Return retention by benchmark and N, and the qualities' shares after the last edit.

    Raises:
        EvaluationError: no verdict is possible.
        IntegrityError: a rule is broken that makes the numbers meaningless.
    """
    run = session.trajectory(editor, model)
    session.check_all(run)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for count, name, cell in measured(session, run):
        found[name][f"{count:03}"] = cell.value
    return dict(found)


def measured(session: EvaluationSession, run: Run) -> Iterator[tuple[int, str, Measured]]:
    """Yield every (N, benchmark or quality, cell) of a trajectory that can be measured, N by N.

    Raises:
        EvaluationError: no verdict is possible.
    """
    for count in session.settings.counts:
        for name in session.settings.asked_of(run.base.source):
            verdict, _ = benchmark_verdict(session, run, count, name)
            yield count, name, Measured(_outcome(verdict, session.settings) is None, verdict.retention)
        for kind in KINDS:
            found = quality_verdict(session, run, count, kind)
            if found is not None:
                yield count, kind, Measured(found.passed, found.at_end)


def _outcome(verdict: Verdict, chosen: Settings) -> type[ThresholdNotMet] | None:
    if verdict.outcome == "regression":
        return Regression
    if verdict.outcome == "inconclusive" and chosen.inconclusive == "fail":
        return Inconclusive
    return None


def _moment(when: str, kind: Kind, rows: list[EditQuality], floor: Floor, edits: Sequence[Edit]) -> str:
    """Say how a share stands to its floor, with the edits that fell short if it is below."""
    share = edit_quality.share(kind, rows) or 0.0
    asked = f"{floor.value:.2f} is asked for by [{floor.key}] in {floor.file}: {' '.join(floor.reason.split())}"
    if share >= floor.value:
        return f"{when}: {share:.2f}, at least {asked}"
    short = [i for i, row in enumerate(rows) if (getattr(row, kind) or 0.0) < 1.0][:SHOWN]
    examples = [f"  {edits[i].text!r} -> {edits[i].target_new!r}: {rows[i].describe(kind)}" for i in short]
    return "\n".join([f"{when}: {share:.2f}, but at least {asked}", *examples])
