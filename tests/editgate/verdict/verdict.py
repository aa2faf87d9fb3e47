"""Pass, regression or inconclusive: one benchmark, held against its floor.

The edited model may lose `allowed` = (1 - floor) (baseline - chance). With one-sided bounds on the paired
drop it **passes** if the upper bound is at most `allowed`, it is a **regression** if the lower bound is above
it, and anything between is **inconclusive**. What cannot be judged at all raises instead
(editgate.errors).

A model that answers one class to nearly everything is a regression whatever its accuracy says: on a safety
benchmark with one class in the majority, collapse looks like progress.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from editgate.errors import BaselineAtChance, TestCannotFail
from editgate.inputs.probes import KL, LARGEST
from editgate.measure.items import Evaluation, Item, got_worse, pair
from editgate.verdict import statistics
from editgate.verdict.outcome import Outcome

ONE_CLASS = 0.9  # one answer on this share of the items is a collapse, if the baseline was below it
CLASS_RISE = 0.1  # and if the share rose by at least this much: 0.89 -> 0.91 is not a collapse
FLIPS_SHOWN = 3
Bound = Callable[[Sequence[float], Sequence[float], float], statistics.Bounds]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one checkpoint did to one benchmark.

    Attributes:
        outcome: pass, regression or inconclusive.
        benchmark: its name.
        metric: lm-eval's metric and filter.
        n: paired items.
        baseline: score of the unedited model.
        edited: score of the edited model.
        chance: score of guessing.
        floor: the least retention allowed.
        retention: (edited - chance) / (baseline - chance).
        drop: baseline - edited.
        lower: one-sided lower bound of the drop.
        upper: one-sided upper bound of the drop.
        allowed: the largest tolerated drop.
        alpha: error probability of the upper bound.
        lower_alpha: that of the lower bound: the same, or less where many verdicts share it.
        lost: items right before and wrong after (real-valued: worse).
        gained: items wrong before and right after (real-valued: better).
        flips: a few lost items, as (before, after).
        flipped: all of them.
        detectable: the smallest true drop that this n would call a regression in 80 % of all runs.
        enough: about how many items would decide an inconclusive verdict; None if unknown or decided.
        label: the class that the edited model answers most, if the benchmark has classes.
        label_share: how often it does, and `label_before` how often the baseline answered it.
        label_before: see there.
        collapse: one class took over; makes it a regression.
        unparsed: share of answers without a parseable result or without any text, after the edits.
        unparsed_before: the same before them.
        probe: drop, lower, upper and allowed are nats a token, `baseline` and `edited` the probe's own number before
            and after: perplexity, or nats a token. Retention is exp(-drop).
    """

    outcome: Outcome
    benchmark: str
    metric: str
    n: int
    baseline: float
    edited: float
    chance: float
    floor: float
    retention: float
    drop: float
    lower: float
    upper: float
    allowed: float
    alpha: float
    lower_alpha: float
    lost: int
    gained: int
    flips: tuple[tuple[Item, Item], ...]
    flipped: tuple[tuple[Item, Item], ...]
    detectable: float
    enough: int | None
    label: str
    label_share: float
    label_before: float
    collapse: bool
    unparsed: float
    unparsed_before: float
    probe: bool = False

    @property
    def band(self) -> tuple[float, float]:
        """Retention at the upper and at the lower bound of the drop."""
        if self.probe:
            return math.exp(-self.upper), math.exp(-self.lower)
        lead = self.baseline - self.chance
        return (lead - self.upper) / lead, (lead - self.lower) / lead

    @property
    def passed(self) -> bool:
        """True for "pass" alone."""
        return self.outcome is Outcome.PASS


def judge(
    baseline: Evaluation, edited: Evaluation, floor: float, *, alpha: float = 0.05, lower_alpha: float | None = None
) -> Verdict:
    """Holds the edited model's items against the baseline's.

    Args:
        baseline: the unedited model's items.
        edited: the edited model's items on the same questions, in any order.
        floor: least retention allowed, at least 0 and below 1.
        alpha: error probability of each one-sided bound.
        lower_alpha: another one for the lower bound; `Policy.lower_alpha` shares it among the verdicts of a gate.

    Raises:
        NoItemsScored, NonFiniteModel, ItemsMismatch: see `editgate.measure.items.pair`.
        BaselineAtChance: the baseline is not above chance with confidence 1 - alpha.
        TestCannotFail: with these items even losing everything would not be a regression.
        ValueError: the floor is out of range.
    """
    below = alpha if lower_alpha is None else lower_alpha
    if not 0 <= floor < 1:
        raise ValueError(f"floor is {floor}; allowed: at least 0 and below 1")
    pairs = pair(baseline, edited)
    if baseline.kind == "probe":
        return judge_probe(baseline, edited, floor, alpha=alpha, lower_alpha=below)
    before, after = [b.score for b, _ in pairs], [a.score for _, a in pairs]
    check_baseline(baseline, alpha)
    allowed = (1 - floor) * (baseline.score - baseline.chance)
    _check_can_fail(baseline, before, allowed, floor, below)
    bounds = _bounds(statistics.bound_drop, before, after, alpha, below)
    label, share, share_before = _top_label(baseline, edited)
    collapse = _is_collapse(pairs, label, share, share_before, alpha)
    outcome = Outcome.REGRESSION if collapse else _outcome(bounds, allowed)
    flipped = _flips(pairs)
    return Verdict(
        outcome=outcome,
        benchmark=baseline.benchmark,
        metric=baseline.metric,
        n=len(pairs),
        baseline=baseline.score,
        edited=edited.score,
        chance=baseline.chance,
        floor=floor,
        retention=(edited.score - baseline.chance) / (baseline.score - baseline.chance),
        drop=bounds.drop,
        lower=bounds.lower,
        upper=bounds.upper,
        allowed=allowed,
        alpha=alpha,
        lower_alpha=below,
        lost=bounds.lost,
        gained=bounds.gained,
        flips=flipped[:FLIPS_SHOWN],
        flipped=flipped,
        detectable=statistics.detectable(len(pairs), allowed, bounds.gained, alpha=below),
        enough=statistics.items_to_decide(bounds, len(pairs), allowed, alpha, below)
        if outcome is Outcome.INCONCLUSIVE
        else None,
        label=label,
        label_share=share,
        label_before=share_before,
        collapse=collapse,
        unparsed=_unparsed(edited),
        unparsed_before=_unparsed(baseline),
    )


def judge_probe(
    baseline: Evaluation, edited: Evaluation, floor: float, *, alpha: float = 0.05, lower_alpha: float = 0.05
) -> Verdict:
    """Hold perplexity, or the divergence from the unedited model, against the least share that must be kept.

    What is kept is exp(-d) with d the nats a token that the edits cost: of perplexity unedited / edited, of a
    divergence exp(-KL). So d may be at most -ln(floor): 0.9 allows a perplexity 1.11 times as high, or a KL of 0.105.

    Args:
        baseline: the unedited model's items, in nats a token.
        edited: the edited model's.
        floor: above 0 and below 1.
        alpha: error probability of each one-sided bound.
        lower_alpha: that of the lower one, as of `judge`.

    Raises:
        NoItemsScored, NonFiniteModel, ItemsMismatch: see `editgate.measure.items.pair`.
        ValueError: the floor is out of range.
    """
    if not 0 < floor < 1:
        raise ValueError(f"floor of {baseline.benchmark} is {floor}; allowed: above 0 and below 1")
    pairs = pair(baseline, edited)
    before, after = [b.score for b, _ in pairs], [a.score for _, a in pairs]
    bounds = _bounds(statistics.bootstrap_drop, before, after, alpha, lower_alpha)
    allowed = -math.log(floor)
    flipped = tuple(sorted((p for p in pairs if got_worse(*p)), key=lambda p: p[1].score - p[0].score))
    shown = (lambda score: -score) if baseline.benchmark == KL else (lambda score: math.exp(min(-score, LARGEST)))
    return Verdict(
        outcome=_outcome(bounds, allowed),
        benchmark=baseline.benchmark,
        metric=baseline.metric,
        n=len(pairs),
        baseline=shown(baseline.score),
        edited=shown(edited.score),
        chance=0.0,
        floor=floor,
        retention=math.exp(-bounds.drop),
        drop=bounds.drop,
        lower=bounds.lower,
        upper=bounds.upper,
        allowed=allowed,
        alpha=alpha,
        lower_alpha=lower_alpha,
        lost=bounds.lost,
        gained=bounds.gained,
        flips=flipped[:FLIPS_SHOWN],
        flipped=flipped,
        detectable=math.inf,
        enough=None,
        label="",
        label_share=0.0,
        label_before=0.0,
        collapse=False,
        unparsed=0.0,
        unparsed_before=0.0,
        probe=True,
    )


def _bounds(
    bound: Bound, before: Sequence[float], after: Sequence[float], alpha: float, lower_alpha: float
) -> statistics.Bounds:
    """The drop's bounds, the lower one with its own error probability where that differs."""
    bounds = bound(before, after, alpha)
    return bounds if lower_alpha == alpha else replace(bounds, lower=bound(before, after, lower_alpha).lower)


def _outcome(bounds: statistics.Bounds, allowed: float) -> Outcome:
    if bounds.upper <= allowed:
        return Outcome.PASS
    return Outcome.REGRESSION if bounds.lower > allowed else Outcome.INCONCLUSIVE


def check_baseline(baseline: Evaluation, alpha: float = 0.05) -> None:
    """Refuse a benchmark on which the unedited model guesses, before an edited one is asked for nothing.

    Raises:
        BaselineAtChance: the baseline is not above chance with confidence 1 - alpha.
    """
    if not statistics.above_chance([item.score for item in baseline.items], baseline.chance, alpha):
        raise BaselineAtChance(
            f"{baseline.benchmark}: the unedited model scores {baseline.score:.3f} on {baseline.n} items, "
            f"which is not above chance ({baseline.chance:.3f}). It has nothing to lose here, so no "
            "edit can be judged: use more items (--limit) or a stronger model."
        )


def _check_can_fail(baseline: Evaluation, scores: list[float], allowed: float, floor: float, alpha: float) -> None:
    """The worst that can happen: every item drops to 0. If that is no regression, a pass says nothing."""
    worst = statistics.bound_drop(scores, [0.0] * len(scores), alpha)
    if worst.lower <= allowed:
        raise TestCannotFail(
            f"{baseline.benchmark}: with {baseline.n} items, a baseline of {baseline.score:.3f} and a floor "
            f"of {floor:g}, even losing every right answer would not be a regression. Not judged: use more "
            "items (--limit) or a higher floor."
        )


def _top_label(baseline: Evaluation, edited: Evaluation) -> tuple[str, float, float]:
    """The edited model's commonest class, its share now and in the baseline; empty if no classes."""
    if edited.kind != "choice":
        return "", 0.0, 0.0
    label, share = next(iter(edited.label_distribution.items()))
    return label, share, baseline.label_distribution.get(label, 0.0)


def _is_collapse(pairs: list[tuple[Item, Item]], label: str, share: float, before: float, alpha: float) -> bool:
    """One class took over: at least ONE_CLASS now, not so before, and more than a few items can show."""
    if share < ONE_CLASS or before >= ONE_CLASS or share - before < CLASS_RISE:
        return False
    now = [float((after.label or after.answer) == label) for _, after in pairs]
    then = [float((item.label or item.answer) == label) for item, _ in pairs]
    return statistics.bound_drop(now, then, alpha).lower > 0


def _unparsed(evaluation: Evaluation) -> float:
    return max(evaluation.parse_failures, evaluation.empty) / evaluation.n


def _flips(pairs: list[tuple[Item, Item]]) -> tuple[tuple[Item, Item], ...]:
    """The items that got worse: first those with the largest loss, each from another task where there are several."""
    lost = sorted((p for p in pairs if got_worse(*p)), key=lambda p: p[1].score - p[0].score)
    first_of_task = {before.task: (before, after) for before, after in reversed(lost)}
    chosen = [p for p in lost if first_of_task[p[0].task] is p]
    chosen += [p for p in lost if p not in chosen]
    return tuple(chosen)
