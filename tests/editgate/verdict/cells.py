"""From a verdict to what the summary and the report are told of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from editgate.inputs.benchmarks import benchmark
from editgate.measure.edit_quality import EditQuality, Kind, same
from editgate.measure.items import shorten
from editgate.measure.model_under_test import Run
from editgate.measure.perplexity import perplexity_at
from editgate.measure.session import EvaluationSession
from editgate.verdict import statistics
from editgate.verdict.outcome import Age, Cell, Flip
from editgate.verdict.thresholds import Floor
from editgate.verdict.verdict import Verdict
from editors import Edit

FLIPS = 5  # a person reads a few; all items are in the store
WEIGHTS = 6  # the ones that moved most
ANSWER = 120  # characters
TWO_CLASSES = 0.5  # what guessing scores where there are two, such as hateful or not
AGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # each begins a class of ages


def benchmark_cell(session: EvaluationSession, run: Run, count: int, name: str, verdict: Verdict) -> Cell:
    """Return a benchmark's cell, with retention's band from the verdict's bounds of the drop."""
    lead = verdict.baseline - verdict.chance
    return Cell(
        trajectory=run.name,
        check=name,
        edits=count,
        value=verdict.retention,
        outcome=verdict.outcome,
        area=benchmark(name).area,
        routed=session.evaluation(run, count, name).routed,
        diagnostics={} if run.stepwise else run.diagnostics(count),
        low=(lead - verdict.upper) / lead,
        high=(lead - verdict.lower) / lead,
        floor=verdict.floor,
        items=verdict.n,
        before=verdict.baseline,
        after=verdict.edited,
        chance=verdict.chance,
        collapse=_balance(verdict) if verdict.collapse else "",
        label_distribution=_balance(verdict) if verdict.chance == TWO_CLASSES and verdict.label else "",
        flips=() if verdict.passed else tuple(_flip(verdict))[:FLIPS],
        norm_ratio=most_moved(session.growth(run, count)),
    )


def quality_cell(run: Run, count: int, kind: Kind, outcome: str, floor: Floor, *, early: float, late: float) -> Cell:
    """Return a quality's cell: the share after the last edit, `before` it the share right after each edit if known.

    Efficacy alone has a band: the prompts of one edit stand or fall together, so their number says too much.
    """
    rows = run.at_end(count)
    low, high = _band(rows) if kind == "efficacy" else (None, None)
    return Cell(
        trajectory=run.name,
        check=kind,
        edits=count,
        value=late,
        outcome=status,
        area="quality",
        diagnostics=run.diagnostics(count) if kind == "efficacy" else {},
        low=low,
        high=high,
        floor=floor.value,
        items=sum(getattr(row, kind) is not None for row in rows),
        before=early if run.stepwise else None,
        after=late,
        flips=() if status == "pass" else tuple(_lost(kind, run.edits, rows, run.immediate(count)))[:FLIPS],
        efficacy_by_age=ages(rows) if kind == "efficacy" else (),
    )


def with_perplexity(cell: Cell, session: EvaluationSession, run: Run) -> Cell:
    """Return the cell with what only the report wants, and what costs a few forward passes."""
    store = session.settings.store
    now, before = (perplexity_at(run, store, count) for count in (cell.edits, 0))
    return replace(cell, perplexity=now, perplexity_before=before)


def ages(rows: Sequence[EditQuality]) -> tuple[Age, ...]:
    """Group edits, oldest first in `rows`, by how many came after them; classes without an edit are left out."""
    took: dict[int, list[bool]] = {}
    for place, row in enumerate(rows):
        after = len(rows) - 1 - place
        took.setdefault(max(first for first in AGES if first <= after), []).append(row.efficacy == 1)
    return tuple(Age(first, _last(first, len(rows)), len(took[first]), sum(took[first])) for first in sorted(took))


def most_moved(growth: Mapping[str, float]) -> dict[str, float]:
    """Return the weights whose norm changed most, by its logarithm."""
    order = sorted(growth.items(), key=lambda each: -abs(math.log(max(each[1], 1e-9))))
    return dict(order[:WEIGHTS])


def _last(first: int, count: int) -> int:
    beyond = next((each for each in AGES if each > first), count)
    return min(beyond, count) - 1


def _band(rows: Sequence[EditQuality]) -> tuple[float, float]:
    low, high = statistics.share_bounds(sum(row.efficacy == 1 for row in rows), len(rows))
    return float(low), float(high)


def _balance(verdict: Verdict) -> str:
    """The answer that is given most, how often, and how often it was before."""
    return f"{verdict.label!r} on {verdict.label_share:.0%} of the items ({verdict.label_before:.0%} before)"


def _flip(verdict: Verdict) -> Iterator[Flip]:
    for before, after in verdict.flips:
        yield Flip(
            before.question,
            shorten(before.expected, ANSWER),
            shorten(before.answer, ANSWER),
            shorten(after.answer, ANSWER),
        )


def _lost(
    kind: Kind, edits: Sequence[Edit], rows: Sequence[EditQuality], early: Sequence[EditQuality]
) -> Iterator[Flip]:
    """The prompts that fail now: first those that were right when their edit was new."""
    found = [
        (prompt, wanted, then, now)
        for edit, row, new in zip(edits, rows, early, strict=False)
        for prompt, wanted, then, now in _asked(kind, edit, row, new)
        if not same(now, wanted)
    ]
    for prompt, wanted, then, now in sorted(found, key=lambda each: not same(each[2], each[1])):
        yield Flip(shorten(prompt), shorten(wanted, ANSWER), shorten(then, ANSWER), shorten(now, ANSWER))


def _asked(kind: Kind, edit: Edit, row: EditQuality, new: EditQuality) -> list[tuple[str, str, str, str]]:
    """(prompt, wanted, answer right after the edit, answer after the last) of each prompt of this kind."""
    if kind == "efficacy":
        return [(edit.text, row.target_new, new.answer, row.answer)]
    if kind == "paraphrase":
        pairs = zip(row.rephrased, new.rephrased, strict=True)
        return [(prompt, row.target_new, then, now) for (prompt, now), (_, then) in pairs]
    triples = zip(row.neighbors, new.neighbors, strict=True)
    return [(prompt, base, then, now) for (prompt, base, now), (_, _, then) in triples]
