"""Which drop a floor can see with the items that there are: known from the unedited model alone, before any edit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from editgate.verdict import statistics

POWER = 0.8  # of all runs


@dataclass(frozen=True, slots=True)
class Power:
    """What so many right-or-wrong items can say about one floor, if edits turn no wrong answer right.

    Such gains hide losses: with them less passes and less is a regression. Scores that are no whole items have a
    smaller spread: at the worst, theirs is this.

    Attributes:
        allowed: the drop of the score that is tolerated.
        most_lost: lost items up to which a verdict is a pass; None if not even none is.
        fewest_lost: lost items from which on it is a regression; None if not even all are.
        passes: the largest true drop that passes in 80 % of all runs; None as for `most_lost`.
        fails: the smallest true drop that is called a regression in 80 % of all runs; None as for `fewest_lost`.
    """

    allowed: float
    most_lost: int | None
    fewest_lost: int | None
    passes: float | None
    fails: float | None


def power_of(
    n: int, baseline: float, chance: float, floor: float, *, alpha: float = 0.05, lower_alpha: float | None = None
) -> Power:
    """Return what `n` items can say.

    Args:
        n: items, at least 1.
        baseline: score of the unedited model, above chance.
        chance: score of guessing.
        floor: the least retention allowed.
        alpha: error probability of each one-sided bound.
        lower_alpha: another one for the lower bound.
    """
    below = alpha if lower_alpha is None else lower_alpha
    allowed = (1 - floor) * (baseline - chance)
    losses = np.arange(n + 1)
    passing = losses[statistics.drop_bounds(losses, 0, n, alpha)[1] <= allowed]
    most_lost = int(passing[-1]) if passing.size else None
    fewest_lost = statistics.critical_loss(allowed, n, alpha=below)
    return Power(
        allowed=allowed,
        most_lost=most_lost,
        fewest_lost=fewest_lost,
        # P(Binomial(n, p) <= k) is the incomplete beta function 1 - I_p(k + 1, n - k): solved for p.
        passes=None if most_lost is None else float(special.betaincinv(most_lost + 1, n - most_lost, 1 - POWER)),
        fails=None if fewest_lost is None else statistics.detectable(n, allowed, alpha=below, power=POWER),
    )
