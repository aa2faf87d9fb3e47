"""`--items=auto`: ask in blocks, and stop a benchmark as soon as its verdict is decided either way.

Looking several times gives chance several tries. So the error probability alpha of each bound is spent over the looks
(Lan and DeMets 1983, Biometrika 70:659): after n of at most m items, alpha · n / m of it is spent (Kim and DeMets 1987,
Biometrika 74:149, with exponent 1), and look k tests at the part that was added since the look before:

    alpha_k = alpha (n_k - n_(k-1)) / m,     n = 50, 100, 200, 400, … m

The parts add up to alpha. So, by the union bound, a true drop above `allowed` passes at some look with probability at
most alpha, and one of at most `allowed` is called a regression at some look with at most alpha, for any dependence
between looks. The bounds of each look are those of the fixed test, and as exact. The looks depend on nothing that a
model answers.

**Dependent items.** Which items come first is drawn by a seed of the suite's own. What was asked is a sample without
replacement of all items that there are, and about their mean drop it says what it says whatever depends on what:
binomial bounds are conservative there (Hoeffding 1963, JASA 58:13, theorem 4). About other questions of the same kind
bounds say too much where items of one fact fall together, here as in the fixed test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from editgate.errors import BaselineAtChance, TestCannotFail
from editgate.measure.items import Evaluation, joined
from editgate.verdict.outcome import Outcome
from editgate.verdict.verdict import Verdict, judge

FIRST = 50  # items of the first look; each later look has twice as many
Block = tuple[int, int]
Ask = Callable[[Block], tuple[Evaluation, Evaluation]]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the items so far.

    Attributes:
        block: how many items were asked before, and how many after it.
        share: of the error probability that it may use.
    """

    block: Block
    share: float


def looks(most: int) -> tuple[Look, ...]:
    """Return the looks at up to `most` items; the last block takes in what would be less than half of one."""
    ends = []
    end = FIRST
    while end <= most / 1.5:
        ends.append(end)
        end *= 2
    ends.append(most)
    return tuple(Look((start, end), (end - start) / most) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def judge_in_blocks(
    ask: Ask, most: int, floor: float, *, lower_alpha: float, alpha: float = 0.05
) -> tuple[Verdict, Evaluation]:
    """Return the verdict of the look that decides, or of the last one, and all that the edited model was asked.

    Args:
        ask: the items of a block: as the unedited model answers them, and as the edited one does.
        most: items that there are.
        floor: least retention allowed.
        lower_alpha: error probability of the lower bound, over all looks.
        alpha: that of the upper bound.

    Raises:
        EvaluationError: as `judge`; that so few items cannot be judged ends only the last look.
    """
    before: list[Evaluation] = []
    after: list[Evaluation] = []
    for look in looks(most):
        asked = ask(look.block)
        before.append(asked[0])
        after.append(asked[1])
        edited = joined(after)
        try:
            verdict = judge(
                joined(before), edited, floor, alpha=alpha * look.share, lower_alpha=lower_alpha * look.share
            )
        except (BaselineAtChance, TestCannotFail):
            if look.block[1] == most:
                raise
            continue
        if verdict.outcome is not Outcome.INCONCLUSIVE or look.block[1] == most:
            break
    return verdict, edited
