"""How far the mean of paired items may have fallen: one-sided confidence bounds and what they can see.

Baseline and edited model answer the same items, so the drop is d = mean(baseline item - edited item), and
only the items on which the two differ carry information about it.

**Items that are right or wrong.** With b items lost (right, then wrong) and c gained among n,
d = (b - c) / n. The bounds combine exact (Clopper-Pearson) limits of the two shares by the method of variance
estimates recovery (Zou and Donner 2008, Stat Med 27:1693; Newcombe 1998, Stat Med 17:2635, combines Wilson
limits in the same way):

    upper(d) = d + sqrt(u² + l² - 2 r u l),   u = U(b) - b/n,   l = c/n - L(c)
    r = -sqrt(b' c' / ((n' - b') (n' - c'))),  b' = b + 1/2,  c' = c + 1/2,  n' = n + 1

where r is the correlation of two shares of one multinomial; the half items keep it from being 0 / 0.

With c = 0 this is nearly the exact bound of one share: at b = c = 0 it is 1 - alpha^(1/n), the rule of three.
Its error, summed over all outcomes of the trinomial, stays below alpha, also for few items and where almost
nothing differs (tests/meta/verdict/test_statistics.py). One-sided score and normal intervals do not: at b = c = 0 the
score interval (Tango 1998) ends at about 2.7/n, and a drop of that size shows no flip in 6.7 % of all runs.

**Real-valued items**, between 0 and 1: the paired t bound. Where fewer than ten items differ, their spread
says nothing about a rare large loss, so every difference is counted as a whole lost item instead.

**Several benchmarks are not corrected for multiplicity** by default, on purpose. The gate passes only if every
benchmark passes. That is an intersection-union test: a model that is over the line somewhere gets through all of them
with probability at most alpha, however many there are. A correction protects against something else: calling one
of many harmless edits a regression. Such a call needs the lower bound above `allowed`, and for an edit that costs
nothing that is far rarer than alpha (docs/power.md has the measurement). Where edits may lose nearly what is allowed,
[multiplicity] in a default.toml shares alpha of the lower bounds among all verdicts (Bonferroni). Holm's steps need
all of them at once, and each test of the gate must be able to end alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from editgate.errors import NoItemsScored, NonFiniteModel

Array: TypeAlias = npt.NDArray[np.float64]
RESAMPLES, BATCH = 9999, 500
FEW = 10  # real-valued differences below this number say nothing about their spread


@dataclass(frozen=True, slots=True)
class Bounds:
    """A drop of the mean with its two one-sided bounds, each missed with probability at most alpha.

    Attributes:
        drop: mean of baseline minus edited; negative if the edited model is better.
        lower: the drop is above this.
        upper: the drop is below this.
        lost: items on which the edited model is worse.
        gained: items on which it is better.
    """

    drop: float
    lower: float
    upper: float
    lost: int
    gained: int


def share_bounds(hits: npt.ArrayLike, n: npt.ArrayLike, alpha: float = 0.05) -> tuple[Array, Array]:
    """Exact one-sided bounds of a share (Clopper and Pearson 1934), elementwise.

    Args:
        hits: events, between 0 and n.
        n: trials, at least 1.
        alpha: error probability of each bound.
    """
    k, m = np.asarray(hits, dtype=float), np.asarray(n, dtype=float)
    low = special.betaincinv(np.maximum(k, 1), m - k + 1, alpha)
    high = special.betaincinv(k + 1, np.maximum(m - k, 1), 1 - alpha)
    return np.where(k > 0, low, 0.0), np.where(k < m, high, 1.0)


def drop_bounds(
    lost: npt.ArrayLike, gained: npt.ArrayLike, n: npt.ArrayLike, alpha: float = 0.05
) -> tuple[Array, Array]:
    """Lower and upper bound of d = (lost - gained) / n for paired right-or-wrong items, elementwise.

    Args:
        lost: items right before and wrong after.
        gained: items wrong before and right after; lost + gained is at most n.
        n: items, at least 1.
        alpha: error probability of each bound.
    """
    b, c, m = np.asarray(lost, float), np.asarray(gained, float), np.asarray(n, float)
    p, q = b / m, c / m
    (low_p, high_p), (low_q, high_q) = share_bounds(b, m, alpha), share_bounds(c, m, alpha)
    r = -np.sqrt((b + 0.5) * (c + 0.5) / ((m - b + 0.5) * (m - c + 0.5)))
    lower = p - q - _joined(p - low_p, high_q - q, r)
    upper = p - q + _joined(high_p - p, q - low_q, r)
    return np.maximum(lower, -1.0), np.minimum(upper, 1.0)


def _joined(first: Array, second: Array, r: Array) -> Array:
    return np.sqrt(first**2 + second**2 - 2 * r * first * second)


def bound_drop(baseline: npt.ArrayLike, edited: npt.ArrayLike, alpha: float = 0.05) -> Bounds:
    """Bounds of the mean of baseline - edited over paired items.

    Args:
        baseline: (n,) scores of the unedited model, between 0 and 1.
        edited: (n,) scores of the edited model on the same items, in the same order.
        alpha: error probability of each bound.

    Raises:
        NoItemsScored: n is 0.
        NonFiniteModel: a score is NaN or infinite.
        ValueError: the shapes differ, or alpha is not in (0, 0.5).
    """
    before, after = np.asarray(baseline, dtype=float), np.asarray(edited, dtype=float)
    _check(before, after, alpha)
    difference = before - after
    lost, gained = int((difference > 0).sum()), int((difference < 0).sum())
    if bool(np.isin(before, (0.0, 1.0)).all() and np.isin(after, (0.0, 1.0)).all()):
        low, high = drop_bounds(lost, gained, before.size, alpha)
        lower, upper = float(low), float(high)
    else:
        lower, upper = _real_bounds(difference, lost, gained, alpha)
    return Bounds(float(difference.mean()), lower, upper, lost, gained)


def _check(before: Array, after: Array, alpha: float) -> None:
    if before.shape != after.shape or before.ndim != 1:
        raise ValueError(f"paired items need two lists of one length, got {before.shape} and {after.shape}")
    if not before.size:
        raise NoItemsScored("no item was scored, so no bound can be given")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise NonFiniteModel("an item's score is NaN or infinite; no bound can be given")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}; allowed: above 0 and below 0.5")


def _real_bounds(difference: Array, lost: int, gained: int, alpha: float) -> tuple[float, float]:
    n = difference.size
    if lost + gained < FEW:
        return -float(share_bounds(gained, n, alpha)[1]), float(share_bounds(lost, n, alpha)[1])
    margin = float(special.stdtrit(n - 1, 1 - alpha) * difference.std(ddof=1) / math.sqrt(n))
    return float(difference.mean()) - margin, float(difference.mean()) + margin


def bootstrap_drop(baseline: npt.ArrayLike, edited: npt.ArrayLike, alpha: float = 0.05) -> Bounds:
    """Bounds of the mean of baseline - edited over paired items of any size, such as nats.

    By the bootstrap, bias-corrected and accelerated (Efron 1987, JASA 82:171), of the items; it is seeded.

    Args:
        baseline: (n,) scores of the unedited model.
        edited: (n,) scores of the edited model on the same items, in the same order.
        alpha: error probability of each bound.

    Raises:
        As `bound_drop`.
    """
    before, after = np.asarray(baseline, dtype=float), np.asarray(edited, dtype=float)
    _check(before, after, alpha)
    difference = before - after
    mean, lost, gained = float(difference.mean()), int((difference > 0).sum()), int((difference < 0).sum())
    if np.ptp(difference) == 0:  # nothing to draw from: of a no-op every difference is 0
        return Bounds(mean, mean, mean, lost, gained)
    from scipy import stats  # noqa: PLC0415 - most of a second to import, and only probes need it

    found = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=1 - 2 * alpha,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Bounds(mean, float(found.low), float(found.high), lost, gained)


def critical_loss(allowed: float, n: int, gained: int = 0, alpha: float = 0.05) -> int | None:
    """The fewest lost items that would be a regression; None if losing every item would not be."""
    lost = np.arange(n - gained + 1)
    over = drop_bounds(lost, gained, n, alpha)[0] > allowed
    return int(lost[over][0]) if over.any() else None


def detectable(n: int, allowed: float, gained: int = 0, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true drop that n right-or-wrong items call a regression in `power` of all runs.

    Args:
        n: items.
        allowed: the drop that is still tolerated.
        gained: items expected to go from wrong to right; they hide losses.
        alpha: error probability of the lower bound.
        power: how often the drop must be seen.

    Returns:
        A drop between `allowed` and 1; infinite if no outcome at this n would be a regression.
    """
    needed = critical_loss(allowed, n, gained, alpha)
    if needed is None:
        return math.inf
    if needed == 0:
        return 0.0
    # P(Binomial(n, p) >= k) is the incomplete beta function I_p(k, n - k + 1): solved for p.
    share = float(special.betaincinv(needed, n - needed + 1, power))
    return max(share - gained / n, 0.0)


def items_to_decide(
    bounds: Bounds, n: int, allowed: float, alpha: float = 0.05, lower_alpha: float | None = None
) -> int | None:
    """About how many items would turn inconclusive into a verdict, if the same shares went on.

    `lower_alpha` is the error probability of the lower bound where it differs.

    Returns:
        A number rounded up to two digits, or None if a hundred times as many would not do (the drop is
        practically the allowed one).
    """
    factors = np.geomspace(1, 100, 200)
    more = np.ceil(factors * n)
    shares = (bounds.lost / n * more, bounds.gained / n * more, more)
    upper, lower = drop_bounds(*shares, alpha)[1], drop_bounds(*shares, lower_alpha or alpha)[0]
    decided = more[(upper <= allowed) | (lower > allowed)]
    if not decided.size:
        return None
    unit = 10 ** max(len(str(int(decided[0]))) - 2, 0)
    return int(math.ceil(decided[0] / unit) * unit)


def above_chance(scores: npt.ArrayLike, chance: float, alpha: float = 0.05) -> bool:
    """True if the mean is above chance with confidence 1 - alpha (exact for right-or-wrong items)."""
    values: npt.NDArray[Any] = np.asarray(scores, dtype=float)
    if bool(np.isin(values, (0.0, 1.0)).all()):
        return bool(share_bounds(values.sum(), values.size, alpha)[0] > chance)
    if values.size < 2:
        return False
    margin = special.stdtrit(values.size - 1, 1 - alpha) * values.std(ddof=1) / math.sqrt(values.size)
    return bool(values.mean() - margin > chance)
