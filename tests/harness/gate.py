"""What stands between the laboratory's numbers and a test's outcome: verdicts with their floors, messages and notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import pytest

from editors import Edit
from tests.harness import models, quality
from tests.harness.benchmarks import BENCHMARKS
from tests.harness.editor_specs import EditorSpec
from tests.harness.laboratory import Laboratory
from tests.harness.message import Context, failure_message
from tests.harness.models import ModelSource
from tests.harness.outcomes import Cell, NotHeld, RegressionFound, Undecided, note, refuse
from tests.harness.quality import KINDS, EditQuality, Kind
from tests.harness.settings import Settings
from tests.harness.threshold_files import When
from tests.harness.thresholds import Floor
from tests.harness.trajectory import Trajectory
from tests.harness.verdict import Verdict, judge

WHEN: tuple[When, ...] = ("immediately", "at_end")
SHOWN = 3
REPEATED = (
    "--model",
    "--editor",
    "--editor-arg",
    "--thresholds",
    "--edits",
    "--edit-counts",
    "--edit-order",
    "--limit",
    "--device",
    "--dtype",
)  # decide a verdict


@dataclass(frozen=True)
class QualityVerdict:
    """Shares of edits that took (efficacy, paraphrase) or of neighbours that stayed (locality)."""

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
    """A verdict and what a test does with it."""

    verdict: T
    outcome: type[NotHeld] | None
    message: str

    def hold(self) -> None:
        """Fail the test unless the verdict lets it pass.

        Raises:
            NotHeld: the message is the whole report.
        """
        if self.outcome is not None:
            refuse(self.outcome, self.message)


def runs(chosen: Settings) -> Iterator[tuple[EditorSpec, ModelSource, str]]:
    """Yield every editor with every model, and the trajectory's name."""
    for model in chosen.models:
        if model.name in chosen.edits:
            for editor in chosen.editors:
                yield editor, model, f"{editor.name}-{model.name}"


def is_chosen(item: pytest.Item, chosen: Settings, keyword: str) -> bool:
    """Return whether `--model`, `--editor` and `-k` leave this test in; tests without such parameters always stay.

    `-k` with exactly an editor's name means that editor, not each whose name contains it: `-k rome` is not R-ROME.
    """
    named = {spec.name for spec in chosen.editors} & {keyword.strip()}
    editors = chosen.chosen_editors or named
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    for value in parameters.values():
        members = value if isinstance(value, tuple) else tuple(vars(value).values()) if hasattr(value, "edits") else ()
        for member in members:
            if isinstance(member, ModelSource) and member.name not in chosen.chosen_models:
                return False
            if isinstance(member, EditorSpec) and editors and member.name not in editors:
                return False
    return True


def header(chosen: Settings) -> list[str]:
    """Return the lines that say what this run is about."""
    names = ", ".join(f"{m.name} ({models.digest_of(m)})" for m in chosen.models if m.name in chosen.chosen_models)
    editors = sorted(chosen.chosen_editors or {spec.name for spec in chosen.editors})
    counts = ", ".join(map(str, chosen.counts)) + (f" in order {chosen.order}" if chosen.order else "")
    limit = "all items" if chosen.limit is None else f"at most {chosen.limit} items a benchmark"
    return [
        f"editgate: model {names}, editors {', '.join(editors)}",
        f"edits: {chosen.edits_name} at N = {counts}; {limit}; {chosen.dtype} on {chosen.device}",
        f"store: {chosen.store.root}",
    ]


def judge_benchmark(lab: Laboratory, run: Trajectory, count: int, name: str, node: pytest.Item) -> Judged[Verdict]:
    """Evaluate a benchmark after `count` edits and hold it against its floor.

    Raises:
        EvaluationError: no verdict is possible.
    """
    verdict, floor = benchmark_verdict(lab, run, count, name)
    routed = lab.evaluation(run, count, name).routed
    note(node, Cell(run.name, name, count, verdict.retention, verdict.status, BENCHMARKS[name].area, routed))
    growth = lab.growth(run, count)
    context = Context(run.spec.name, run.base.source.name, count, floor, _command(node), growth, routed)
    return Judged(verdict, _outcome(verdict, lab.settings), failure_message(verdict, context))


def benchmark_verdict(lab: Laboratory, run: Trajectory, count: int, name: str) -> tuple[Verdict, Floor]:
    """Return the verdict on a benchmark after `count` edits, and the floor that it was held against.

    Raises:
        EvaluationError: no verdict is possible.
    """
    model = run.base.source
    floor = lab.settings.policy.floor(run.spec.name, model.name, name, BENCHMARKS[name].area, count)
    return judge(lab.baseline(model, name), lab.evaluation(run, count, name), floor.value), floor


def quality_verdict(lab: Laboratory, run: Trajectory, count: int, kind: Kind) -> QualityVerdict | None:
    """Return the shares right after each edit and at the end, held against their floors; None if nothing was asked.

    Raises:
        EditorError: the method cannot apply an edit.
    """
    policy, model = lab.settings.policy, run.base.source.name
    floors = [policy.quality(run.spec.name, model, kind, when, count) for when in WHEN]
    early, late = (quality.share(kind, rows) for rows in (run.immediate(count), run.at_end(count)))
    if early is None or late is None:
        return None
    held = [share >= floor.value for share, floor in zip((early, late), floors, strict=True)]
    return QualityVerdict(kind, early, late, all(held))


def judge_quality(lab: Laboratory, run: Trajectory, count: int, name: str, node: pytest.Item) -> Judged[QualityVerdict]:
    """Hold efficacy, paraphrase or locality against its floors, right after each edit and again after the last.

    Raises:
        EditorError: the method cannot apply an edit.
    """
    kind = cast("Kind", name)
    policy, model = lab.settings.policy, run.base.source.name
    early, late = run.immediate(count), run.at_end(count)
    floors = [policy.quality(run.spec.name, model, kind, when, count) for when in WHEN]
    verdict = quality_verdict(lab, run, count, kind)
    if verdict is None:
        pytest.skip(f"none of the edits has the prompts that {kind} is measured on")
    status = "pass" if verdict.passed else "regression"
    diagnostics = run.diagnostics(count) if kind == "efficacy" else {}
    note(node, Cell(run.name, kind, count, verdict.at_end, status, "quality", diagnostics=diagnostics))
    head = f"{kind.upper()}: {run.spec.name} on {model}, {count} edits."
    told = [
        _moment("right after each edit", kind, early, floors[0], run.edits),
        _moment(f"after all {count}", kind, late, floors[1], run.edits),
    ]
    message = "\n".join([head, *told, f"Again: {_command(node)}"])
    return Judged(verdict, None if verdict.passed else RegressionFound, message)


def curves(lab: Laboratory, editor: EditorSpec, model: ModelSource) -> dict[str, dict[str, float]]:
    """Return retention by benchmark and N, and the qualities' shares after the last edit.

    Raises:
        EvaluationError: no verdict is possible.
        IntegrityError: a rule is broken that makes the numbers meaningless.
    """
    run = lab.trajectory(editor, model)
    lab.check_all(run)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for count, name, cell in measured(lab, run):
        found[name][f"{count:03}"] = cell.value
    return dict(found)


def measured(lab: Laboratory, run: Trajectory) -> Iterator[tuple[int, str, Measured]]:
    """Yield every (N, benchmark or quality, cell) of a trajectory that can be measured, N by N.

    Raises:
        EvaluationError: no verdict is possible.
    """
    for count in lab.settings.counts:
        for name in BENCHMARKS:
            verdict, _ = benchmark_verdict(lab, run, count, name)
            yield count, name, Measured(verdict.passed, verdict.retention)
        for kind in KINDS:
            found = quality_verdict(lab, run, count, kind)
            if found is not None:
                yield count, kind, Measured(found.passed, found.at_end)


def _outcome(verdict: Verdict, chosen: Settings) -> type[NotHeld] | None:
    if verdict.status == "regression":
        return RegressionFound
    if verdict.status == "inconclusive" and chosen.inconclusive == "fail":
        return Undecided
    return None


def _moment(when: str, kind: Kind, rows: list[EditQuality], floor: Floor, edits: Sequence[Edit]) -> str:
    """Say how a share stands to its floor, with the edits that fell short if it is below."""
    share = quality.share(kind, rows) or 0.0
    asked = f"{floor.value:.2f} is asked for by [{floor.key}] in {floor.file}: {' '.join(floor.reason.split())}"
    if share >= floor.value:
        return f"{when}: {share:.2f}, at least {asked}"
    short = [i for i, row in enumerate(rows) if (getattr(row, kind) or 0.0) < 1.0][:SHOWN]
    examples = [f"  {edits[i].text!r} -> {edits[i].target_new!r}: {rows[i].describe(kind)}" for i in short]
    return "\n".join([f"{when}: {share:.2f}, but at least {asked}", *examples])


def _command(node: pytest.Item) -> str:
    """Return the command that gives this verdict again."""
    given = [str(argument) for argument in node.config.invocation_params.args]
    kept = []
    for place, argument in enumerate(given):
        if argument.partition("=")[0] in REPEATED:
            kept.append(argument)
            if "=" not in argument:
                kept += given[place + 1 : place + 2]
    return " ".join(["pytest", f"'{node.nodeid}'", *kept])
