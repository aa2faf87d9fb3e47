"""One question of the gate, answered: `evaluate_cell` measures what a case asks for, judges it, and says it in words.

Tests, `check_editor`, the edit budget and the record of known failures all come through here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from editgate import inert
from editgate.cases import Case
from editgate.errors import IntegrityError
from editgate.inputs.benchmarks import ALL
from editgate.measure import edit_quality
from editgate.measure.edit_quality import KINDS, EditQuality, Kind
from editgate.measure.items import Evaluation, shorten
from editgate.measure.model_under_test import Run
from editgate.measure.perplexity import perplexity_at
from editgate.measure.session import EvaluationSession
from editgate.verdict import statistics
from editgate.verdict.failure_message import Context, failure_message
from editgate.verdict.outcome import Age, Cell, Flip, Outcome
from editgate.verdict.sequential import judge_in_blocks
from editgate.verdict.thresholds import Floor
from editgate.verdict.verdict import Verdict, check_baseline, judge
from editors import Edit

MAX_SHORT = 3  # edits that fell short, in a message
MAX_WEIGHTS = 6  # the ones that moved most
ANSWER = 120  # characters
TWO_CLASSES = 0.5  # what guessing scores where there are two, such as hateful or not
AGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # each begins a class of ages


def evaluate_cell(session: EvaluationSession, case: Case, *, command: str = "", order: int = 0) -> Cell:
    """Measure what a case asks for and judge it.

    Args:
        session: where numbers come from.
        case: the check, its trajectory and N.
        command: repeats this; it ends the message.
        order: seed of another order of the edits; the rules of integrity are checked in the first order only.

    Raises:
        IntegrityError: a rule is broken that makes every number of this editor meaningless.
        EvaluationError: no verdict is possible.
        EditorError: the method cannot apply an edit.
    """
    run = session.trajectory(case.editor, case.model, order=order)
    if case.area == "integrity":
        return _rule_cell(session, run, case)
    if order == 0:
        session.check_all(run)
    if case.check in KINDS:
        return _quality_cell(session, run, case, command)
    floor = session.settings.policy.floor(case.editor.name, case.model.name, case.check, case.area, case.edits)
    lower_alpha = session.settings.lower_alpha(case.model)
    if session.settings.asks_in_blocks(case.check):
        verdict, after = _judged_in_blocks(session, run, case, floor.value, lower_alpha)
    else:
        before = session.baseline(case.model, case.check)
        if before.kind != "probe" and before.n and math.isfinite(before.score):
            check_baseline(before)
        after = session.evaluation(run, case.edits, case.check)
        verdict = judge(before, after, floor.value, lower_alpha=lower_alpha)
    context = Context(run.described(case.edits), floor, command, session.norm_ratio(run, case.edits), after.routed)
    inconclusive_fails = session.settings.inconclusive == "fail"
    fails = verdict.outcome is Outcome.REGRESSION or (verdict.outcome is Outcome.INCONCLUSIVE and inconclusive_fails)
    cell = benchmark_cell(run, case.edits, verdict, context, case.area)
    return replace(cell, reason="" if verdict.passed else failure_message(verdict, context), fails=fails)


def _judged_in_blocks(
    session: EvaluationSession, run: Run, case: Case, floor: float, lower_alpha: float
) -> tuple[Verdict, Evaluation]:
    """The verdict, and what the edited model was asked for it."""

    def ask(block: tuple[int, int]) -> tuple[Evaluation, Evaluation]:
        before = session.baseline(case.model, case.check, block)
        return before, session.evaluation(run, case.edits, case.check, block)

    return judge_in_blocks(ask, session.questions.count(case.model, case.check), floor, lower_alpha=lower_alpha)


def benchmark_cell(run: Run, count: int, verdict: Verdict, context: Context, area: str) -> Cell:
    """Return a benchmark's cell, with retention's band from the verdict's bounds of the drop."""
    low, high = verdict.band
    labels = f"{verdict.label!r} on {verdict.label_share:.0%} of the items ({verdict.label_before:.0%} before)"
    return Cell(
        trajectory=run.name,
        check=verdict.benchmark,
        edits=count,
        value=verdict.retention,
        outcome=verdict.outcome,
        area=area,
        routed=context.routed,
        diagnostics={} if run.measured_per_edit else run.diagnostics(count),
        low=low,
        high=high,
        floor=verdict.floor,
        items=verdict.n,
        before=verdict.baseline,
        after=verdict.edited,
        chance=verdict.chance,
        collapse=labels if verdict.collapse else "",
        label_distribution=labels if verdict.chance == TWO_CLASSES and verdict.label else "",
        flips=tuple(_flips(verdict)),
        flipped=len(verdict.flipped),
        norm_ratio=most_moved(context.norm_ratio),
    )


def quality_cell(run: Run, count: int, kind: Kind, *, floor: float, passed: bool) -> Cell:
    """Return a quality's cell: the share after the last edit, `before` it the share right after each edit if known.

    Efficacy alone has a band: the prompts of one edit stand or fall together, so their number says too much.
    """
    final, immediate = run.final(count), run.immediate(count)
    value = edit_quality.share(kind, final)
    flips = tuple(_failed_prompts(kind, run.edits, final, immediate))
    low, high = (None, None)
    if kind == "efficacy":
        low, high = map(float, statistics.share_bounds(sum(row.efficacy == 1 for row in final), len(final)))
    return Cell(
        trajectory=run.name,
        check=kind,
        edits=count,
        value=value,
        outcome=Outcome.PASS if passed else Outcome.REGRESSION,
        area="quality",
        diagnostics=run.diagnostics(count) if kind == "efficacy" else {},
        low=low,
        high=high,
        floor=floor,
        items=sum(getattr(row, kind) is not None for row in final),
        before=edit_quality.share(kind, immediate) if run.measured_per_edit else None,
        after=value,
        flips=flips,
        flipped=len(flips),
        efficacy_by_age=efficacy_by_age(final, run.spec.batch_size) if kind == "efficacy" else (),
        exact=edit_quality.exact_share(kind, final),
        teacher_forced=sum(row.teacher_forced for row in final) / len(final) if kind == "efficacy" else None,
        fails=not passed,
    )


def with_perplexity(session: EvaluationSession, case: Case, cell: Cell) -> Cell:
    """Return the cell with what only the report shows, and what costs a few forward passes."""
    run = session.trajectory(case.editor, case.model)
    now, before = (perplexity_at(run, session.settings.store, count) for count in (case.edits, 0))
    return replace(cell, perplexity=now, perplexity_before=before)


def efficacy_by_age(rows: Sequence[EditQuality], batch_size: int = 1) -> tuple[Age, ...]:
    """Group edits, oldest first in `rows`, by how many came after them; classes without an edit are left out.

    After an edit came those of later batches; those of its own came with it.
    """
    took: dict[int, list[bool]] = {}
    for index, row in enumerate(rows):
        after = max(len(rows) - (index // batch_size + 1) * batch_size, 0)
        took.setdefault(max(first for first in AGES if first <= after), []).append(row.efficacy == 1)
    ends = {first: min(next((age for age in AGES if age > first), len(rows)), len(rows)) - 1 for first in took}
    return tuple(Age(first, ends[first], len(took[first]), sum(took[first])) for first in sorted(took))


def most_moved(norm_ratio: Mapping[str, float]) -> dict[str, float]:
    """Return the weights whose norm changed most, by its logarithm."""
    order = sorted(norm_ratio.items(), key=lambda entry: -abs(math.log(max(entry[1], 1e-9))))
    return dict(order[:MAX_WEIGHTS])


def checks_at(session: EvaluationSession, case: Case) -> list[Case]:
    """Return every benchmark and quality that a trajectory is judged by at each N, N by N."""
    names = (*session.settings.benchmarks_of(case.model), *KINDS)
    return [replace(case, check=name, edits=count) for count in session.settings.counts for name in names]


def curves(session: EvaluationSession, case: Case) -> dict[str, dict[str, float]]:
    """Return retention by benchmark and N, and the qualities' shares after the last edit.

    Raises:
        IntegrityError, EvaluationError, EditorError: as for `evaluate_cell`.
    """
    found: dict[str, dict[str, float]] = {}
    for at in reversed(checks_at(session, case)):  # another worker may be at the last N, and comes from the other end
        cell = evaluate_cell(session, at)
        if cell.value is not None:
            found.setdefault(at.check, {})[f"{at.edits:03}"] = cell.value
    return found


def _rule_cell(session: EvaluationSession, run: Run, case: Case) -> Cell:
    cell = Cell(case.trajectory, case.check, 0, None, Outcome.PASS, case.area)
    try:
        session.check(run, case.check)
    except IntegrityError as error:
        return replace(cell, outcome=Outcome.RULE_BROKEN, reason=f"{type(error).__name__}: {error}", fails=True)
    return cell


def _quality_cell(session: EvaluationSession, run: Run, case: Case, command: str) -> Cell:
    """Judge efficacy, paraphrase or locality, right after each edit and again after the last."""
    kind, count, policy = cast("Kind", case.check), case.edits, session.settings.policy
    names = (case.editor.name, case.model.name, kind)
    early, late = policy.quality(*names, "immediately", count), policy.quality(*names, "at_end", count)
    immediate, final = run.immediate(count), run.final(count)
    shares = edit_quality.share(kind, immediate), edit_quality.share(kind, final)
    if shares[0] is None or shares[1] is None:
        reason = f"none of the edits has the prompts that {kind} is measured on"
        return Cell(case.trajectory, kind, count, None, Outcome.SKIPPED, case.area, reason=reason)
    passed = shares[1] >= late.value and (shares[0] >= early.value or not run.measured_per_edit)
    cell = quality_cell(run, count, kind, floor=late.value, passed=passed)
    if passed:
        return cell
    new = f"right after each {'edit' if run.spec.batch_size == 1 else 'batch'}"
    moments = [_moment(new.capitalize(), kind, immediate, early, run.edits)] if run.measured_per_edit else []
    moments.append(_moment(f"After all {count}" if count > 1 else "After the edit", kind, final, late, run.edits))
    fell = f"{shares[0]:.2f} {new}, at least {early.value:.2f} is required"
    if shares[1] < late.value:
        fell = f"{shares[1]:.2f} after the last edit, at least {late.value:.2f} is required"
    subject = inert.terminal(f"{kind.upper()} {run.described(count).rstrip(',')}: {fell}.")
    return replace(cell, reason="\n".join([subject, *moments, f"Again: {command}"]))


def _moment(when: str, kind: Kind, rows: Sequence[EditQuality], floor: Floor, edits: Sequence[Edit]) -> str:
    """Say how a share compares with its floor, with the edits that fell short if it is below."""
    share = edit_quality.share(kind, rows) or 0.0
    wanted = f"{floor.value:.2f} is required by [{floor.key}] in {floor.file}"
    if share >= floor.value:
        return f"{when}: {share:.2f}, at least {wanted}"
    short = [i for i, row in enumerate(rows) if (getattr(row, kind) or 0.0) < 1.0][:MAX_SHORT]
    examples = [
        "  " + inert.terminal(f"{edits[i].text!r} -> {edits[i].target_new!r}: {rows[i].describe(kind)}") for i in short
    ]
    return "\n".join([f"{when}: {share:.2f}, but at least {wanted}", *examples])


def _flips(verdict: Verdict) -> Iterator[Flip]:
    for before, after in verdict.flipped:
        expected, then, now = (shorten(text, ANSWER) for text in (before.expected, before.answer, after.answer))
        yield Flip(before.question, expected, then, now, before.task, before.doc_hash)


def _failed_prompts(
    kind: Kind, edits: Sequence[Edit], final: Sequence[EditQuality], immediate: Sequence[EditQuality]
) -> Iterator[Flip]:
    """The prompts that fail now: first those that were right when their edit was new."""
    found = [
        (prompt, wanted, then, now)
        for edit, row, new in zip(edits, final, immediate, strict=False)
        for prompt, wanted, then, now in _prompts(kind, edit, row, new)
        if not edit_quality.right(kind, now, wanted)
    ]
    for prompt, wanted, then, now in sorted(found, key=lambda flip: not edit_quality.right(kind, flip[2], flip[1])):
        yield Flip(shorten(prompt), shorten(wanted, ANSWER), shorten(then, ANSWER), shorten(now, ANSWER), task=kind)


def _prompts(kind: Kind, edit: Edit, row: EditQuality, new: EditQuality) -> list[tuple[str, str, str, str]]:
    """(prompt, wanted, answer right after the edit, answer after the last) of each prompt of this kind."""
    if kind == "efficacy":
        return [(edit.text, row.target_new, new.answer, row.answer)]
    if kind == "paraphrase":
        pairs = zip(row.rephrased, new.rephrased, strict=True)
        return [(prompt, row.target_new, then, now) for (prompt, now), (_, then) in pairs]
    triples = zip(row.neighbors, new.neighbors, strict=True)
    return [(prompt, base, then, now) for (prompt, base, now), (_, _, then) in triples]


assert set(KINDS).isdisjoint(ALL)  # a check's name says what it is
