"""What the paper says, held against sweeps: RQ1 to RQ5 (sections 4.1 to 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from findings.intervals import Interval, interval
from findings.sweeps import FAILING, Array, Sweep
from findings.tables import Cell, never

CAPABILITIES = ("mmlu", "gsm8k", "bbh", "commonsenseqa")  # those of the paper's tables
KINDS = {
    "knowledge": ("mmlu", "commonsenseqa"),
    "reasoning": ("bbh",),
    "mathematics": ("gsm8k",),
    "reading": ("triviaqa",),
}
SAFETY = ("truthfulqa", "toxigen")
DOZENS = 50
ALIKE = 0.1  # of retention: kinds of ability that differ by no more are affected alike
Outcome: TypeAlias = Literal["agrees", "disagrees", "undecided"]


@dataclass(frozen=True)
class Finding:
    """One of the paper's findings, measured.

    Attributes:
        paper: what the paper says.
        outcome: whether what was measured agrees; undecided where the interval leaves both open.
        summary: why, in one line.
        rows: the numbers, by what they are about.
    """

    paper: str
    outcome: Outcome
    summary: str
    rows: dict[str, dict[str, Cell]]


def few_edits(sweeps: Sequence[Sweep]) -> Finding:
    """RQ1: after how many edits does a method fail?"""
    rows: dict[str, dict[str, Cell]] = {}
    failed = np.zeros((len(sweeps), len(sweeps[0].mean(CAPABILITIES))), dtype=bool)
    for place, sweep in enumerate(sweeps):
        at = sweep.fails_at(CAPABILITIES)
        failed[place] = [n is not None and n <= DOZENS for n in at]
        rows[sweep.editor] = {
            "fails at, by order": ", ".join(map(never, at)),
            **{
                f"left at {n}": interval(left) for n, left in zip(sweep.counts, sweep.mean(CAPABILITIES).T, strict=True)
            },
        }
    least, most = int(failed.sum(0).min()), int(failed.sum(0).max())
    half = len(sweeps) / 2
    return Finding(
        "most methods keep general abilities for a few dozen edits only",
        "agrees" if least > half else "disagrees" if most < half else "undecided",
        f"{_span(least, most)} of {len(sweeps)} methods fail by {DOZENS} edits",
        rows,
    )


def instruction_tuning(base: Sequence[Sweep], chat: Sequence[Sweep]) -> Finding:
    """RQ2: does an instruction-tuned model lose its abilities more slowly?"""
    gains = {b.editor: _left(c, CAPABILITIES) - _left(b, CAPABILITIES) for b, c in zip(base, chat, strict=True)}
    rows: dict[str, dict[str, Cell]] = {
        b.editor: {
            b.model: interval(_left(b, CAPABILITIES)),
            c.model: interval(_left(c, CAPABILITIES)),
            "difference": interval(gains[b.editor]),
        }
        for b, c in zip(base, chat, strict=True)
    }
    pooled = interval(np.mean(list(gains.values()), axis=0))
    return Finding(
        "an instruction-tuned model declines more slowly than its base",
        _outcome(pooled),
        f"chat minus base, mean retention over the grid and all methods: {pooled}",
        rows,
    )


def size(sweeps: Sequence[Sequence[Sweep]]) -> Finding:
    """RQ3: does a larger model bear more edits? `sweeps`: by method, each from the smallest model to the largest."""
    asked = [name for name in CAPABILITIES if all(name in one.retention for ladder in sweeps for one in ladder)]
    rows: dict[str, dict[str, Cell]] = {}
    gains = []
    for ladder in sweeps:
        left = {one.model: _left(one, asked) for one in ladder}
        gains.append(left[ladder[-1].model] - left[ladder[0].model])
        rows[ladder[0].editor] = {
            **{model: interval(each) for model, each in left.items()},
            **{f"{more} - {less}": interval(left[more] - left[less]) for less, more in pairwise(left)},
            "largest - smallest": interval(gains[-1]),
        }
    pooled = interval(np.mean(gains, axis=0))
    return Finding(
        "a larger model suffers less",
        _outcome(pooled),
        f"largest minus smallest on {', '.join(asked)}, mean retention over the grid and all methods: {pooled}",
        rows,
    )


def kinds_of_ability(sweeps: Sequence[Sweep]) -> Finding:
    """RQ4: are all kinds of ability affected alike? Methods that take nothing from the model say nothing here."""
    costly = [sweep for sweep in sweeps if any(n is not None for n in sweep.fails_at(CAPABILITIES))]
    left = {kind: [_left(sweep, names) for sweep in costly] for kind, names in KINDS.items()}
    middle = np.mean(list(left.values()), axis=0)  # [methods, orders]
    apart = {kind: interval(np.mean(np.asarray(each) - middle, axis=0)) for kind, each in left.items()}
    rows: dict[str, dict[str, Cell]] = {
        sweep.editor: {kind: interval(left[kind][place]) for kind in KINDS} for place, sweep in enumerate(costly)
    }
    rows["apart from the mean"] = dict(apart)
    alike = all(each.low > -ALIKE and each.high < ALIKE for each in apart.values())
    unlike = any(each.low > ALIKE or each.high < -ALIKE for each in apart.values())
    worst = max(apart, key=lambda kind: abs(apart[kind].mean))
    return Finding(
        "all kinds of ability are affected about equally",
        "agrees" if alike else "disagrees" if unlike else "undecided",
        f"{worst} lies furthest from the mean of the kinds: {apart[worst]}; alike is within {ALIKE:g}",
        rows,
    )


def safety(sweeps: Sequence[Sweep]) -> Finding:
    """RQ5: is safety lost within dozens of edits?"""
    rows: dict[str, dict[str, Cell]] = {}
    lost, kept = 0, 0
    for sweep in sweeps:
        place = max(place for place, n in enumerate(sweep.counts) if n <= DOZENS)
        left = {name: interval(sweep.retention[name][:, place]) for name in SAFETY if name in sweep.retention}
        lost += any(each.high < FAILING for each in left.values())
        kept += all(each.low >= FAILING for each in left.values())
        answers = interval(sweep.one_class[:, place])
        rows[f"{sweep.editor} on {sweep.model}"] = {**left, "ToxiGen answers of one class": answers}
    half = len(sweeps) / 2
    return Finding(
        "dozens of edits compromise safety",
        "agrees" if lost > half else "disagrees" if kept > half else "undecided",
        f"after {DOZENS} edits {lost} of {len(sweeps)} lost a tenth of one for certain, {kept} kept both",
        rows,
    )


def _left(sweep: Sweep, benchmarks: Sequence[str]) -> Array:
    """Return the mean retention over the grid, [orders]."""
    return np.asarray(sweep.mean(benchmarks).mean(axis=1))


def _outcome(gain: Interval) -> Outcome:
    """What a difference means that the paper says is positive."""
    outcomes: dict[int, Outcome] = {1: "agrees", -1: "disagrees", 0: "undecided"}
    return outcomes[gain.sign]


def _span(least: int, most: int) -> str:
    return f"in every order {least}" if least == most else f"by order {least} to {most}"
