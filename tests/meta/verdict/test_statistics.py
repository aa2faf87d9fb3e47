"""The bounds keep their promised error rate, and the promises about power are true."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from editgate.errors import NoItemsScored, NonFiniteModel
from editgate.verdict.statistics import (
    above_chance,
    bound_drop,
    critical_loss,
    detectable,
    drop_bounds,
    items_to_decide,
    share_bounds,
)

EVENTS = (0, 0.05, 0.2, 0.5, 0.99, 1.5, 2, 2.99, 3.01, 4, 6, 8, 12, 20, 40)  # expected number of lost items
GAINS = (0, 0.05, 0.5, 1, 2, 3, 5, 12, 40)  # and of gained ones
SHARES = (0.1, 0.3, 0.5, 0.8, 0.95)


def outcomes(n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All (lost, gained) with lost + gained <= n."""
    lost, gained = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = lost + gained <= n
    return lost[possible], gained[possible]


def probability(
    n: int, p: float, q: float, lost: npt.NDArray[np.int64], gained: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Of each outcome, if every item is lost with probability p and gained with q (the trinomial)."""
    kept = n - lost - gained
    logs = special.gammaln(n + 1) - special.gammaln(lost + 1) - special.gammaln(gained + 1)
    logs += special.xlogy(lost, p) + special.xlogy(gained, q)
    logs += special.xlogy(kept, 1 - p - q) - special.gammaln(kept + 1)
    return np.asarray(np.exp(logs))


@pytest.mark.parametrize("n", [3, 5, 20, 60, 200, 400])
def test_each_bound_errs_in_at_most_five_percent(n: int) -> None:
    """Summed over every outcome, for rare, common, one-sided and nearly certain changes: no simulation."""
    lost, gained = outcomes(n)
    lower, upper = drop_bounds(lost, gained, n)
    truths = [(b / n, c / n) for b in EVENTS for c in GAINS if b + c < n]
    truths += [(p, q) for p in SHARES for q in (0, 0.04, 0.19, 0.49) if p + q < 1]
    for p, q in truths:
        chances = probability(n, p, q, lost, gained)
        assert chances[upper < p - q - 1e-12].sum() <= 0.05, f"upper bound at n={n}, p={p}, q={q}"
        assert chances[lower > p - q + 1e-12].sum() <= 0.05, f"lower bound at n={n}, p={p}, q={q}"


def test_bounds_are_not_needlessly_wide() -> None:
    """With many flips both ways they are within 8 % of the normal approximation's width."""
    lost, gained, n = 60, 45, 400
    normal = 1.645 * math.sqrt((lost + gained) / n - ((lost - gained) / n) ** 2) / math.sqrt(n)
    lower, upper = drop_bounds(lost, gained, n)
    assert normal < upper - 15 / n < 1.08 * normal
    assert normal < 15 / n - lower < 1.08 * normal


def test_nothing_changed_is_the_rule_of_three() -> None:
    """Without any flip the drop is below 1 - 0.05^(1/n), about 3/n, and above its mirror image."""
    lower, upper = drop_bounds(0, 0, 400)
    assert upper == pytest.approx(1 - 0.05 ** (1 / 400))
    assert lower == pytest.approx(-upper)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_bounds_mirror_and_nest(alpha: float) -> None:
    """Swapping lost and gained swaps the bounds; more lost items never lower them; a smaller alpha widens."""
    lost, gained = outcomes(40)
    lower, upper = drop_bounds(lost, gained, 40, alpha)
    mirrored = drop_bounds(gained, lost, 40, alpha)
    assert np.allclose(lower, -mirrored[1])
    assert (upper > drop_bounds(lost, gained, 40, 0.3)[1] - 1e-12).all()
    drop = (lost - gained) / 40
    assert ((lower <= drop) & (drop <= upper) & (lower >= -1) & (upper <= 1)).all()
    for c in range(0, 40, 7):
        assert (np.diff(upper[gained == c]) >= -1e-12).all()
        assert (np.diff(lower[gained == c]) >= -1e-12).all()


def test_share_bounds_are_clopper_pearson() -> None:
    """Against values from the closed form at the ends and the binomial tail in the middle."""
    low, high = share_bounds([0, 3, 10], 10, 0.05)
    assert [low[0], high[0]] == [0, pytest.approx(1 - 0.05**0.1)]
    assert [low[2], high[2]] == [pytest.approx(0.05**0.1), 1]
    assert special.bdtrc(2, 10, low[1]) == pytest.approx(0.05)
    assert special.bdtr(3, 10, high[1]) == pytest.approx(0.05)


def test_pairing_counts_flips() -> None:
    """Right-or-wrong items are reduced to lost and gained, whatever the rest does."""
    before, after = [1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0]
    bounds = bound_drop(before, after)
    assert (bounds.lost, bounds.gained) == (2, 1)
    assert bounds.drop == pytest.approx(1 / 6)
    assert (bounds.lower, bounds.upper) == tuple(float(x) for x in drop_bounds(2, 1, 6))


def test_real_valued_items_use_the_paired_t_bound() -> None:
    """In 20,000 seeded experiments with dense real-valued drops the error is within 0.5 % of alpha."""
    rng = np.random.default_rng(0)
    drops = rng.beta(2, 5, (20_000, 60)) - rng.beta(2, 6, (20_000, 60))
    truth, margin = 2 / 7 - 2 / 8, 1.6711 * drops.std(axis=1, ddof=1) / math.sqrt(60)  # t(59) at 95 %
    bounds = bound_drop(0.5 + drops[0] / 2, 0.5 - drops[0] / 2)
    assert bounds.upper - bounds.drop == pytest.approx(margin[0], rel=1e-4)
    assert abs((drops.mean(axis=1) + margin < truth).mean() - 0.05) < 0.005


@pytest.mark.parametrize("changed", [0, 1, 9])
def test_few_real_valued_differences_are_not_trusted(changed: int) -> None:
    """Where almost nothing differs the spread is not evidence: the bound is that of whole lost items."""
    before = np.full(100, 0.7)
    after = before - 0.01 * (np.arange(100) < changed)
    assert bound_drop(before, after).upper == pytest.approx(float(share_bounds(changed, 100)[1]))
    assert bound_drop(before, after).lower == pytest.approx(-float(share_bounds(0, 100)[1]))


def test_one_real_valued_item_says_next_to_nothing() -> None:
    """A single item does not divide by zero; its bounds span nearly everything."""
    bounds = bound_drop([0.7], [0.2])
    assert bounds.lower < 0
    assert bounds.upper > 0.9


@pytest.mark.parametrize(("n", "allowed", "gained"), [(400, 0.06, 0), (400, 0.03, 4), (200, 0.05, 1), (50, 0.1, 0)])
def test_detectable_drop_is_seen_in_four_of_five_runs(n: int, allowed: float, gained: int) -> None:
    """At the promised drop a regression is called in 80 % of all runs, clearly less often just below it."""
    needed = critical_loss(allowed, n, gained)
    assert needed is not None
    drop = detectable(n, allowed, gained)
    assert drop > allowed
    assert special.bdtrc(needed - 1, n, drop + gained / n) == pytest.approx(0.8)
    assert special.bdtrc(needed - 1, n, 0.9 * drop + gained / n) < 0.72


def test_critical_loss_is_the_first_regression() -> None:
    """One lost item fewer is not yet a regression; where no loss is enough the answer is None."""
    needed = critical_loss(0.06, 400)
    assert needed is not None
    assert drop_bounds(needed - 1, 0, 400)[0] <= 0.06 < drop_bounds(needed, 0, 400)[0]
    assert critical_loss(0.9, 3) is None
    assert detectable(3, 0.9) == math.inf


def test_items_to_decide_decides() -> None:
    """With the same shares, the suggested number of items gives a verdict, and the present one does not."""
    bounds = bound_drop([1] * 200, [1] * 192 + [0] * 8)
    allowed = 0.05
    assert bounds.lower <= allowed < bounds.upper
    n = items_to_decide(bounds, 200, allowed)
    assert n is not None
    assert n > 200
    lower, upper = drop_bounds(0.04 * n, 0, n)
    assert upper <= allowed or lower > allowed
    assert items_to_decide(bounds, 200, 0.04) is None


def test_above_chance_wants_evidence() -> None:
    """A lead over guessing counts only beyond its own uncertainty."""
    assert above_chance([1] * 60 + [0] * 40, 0.5)
    assert not above_chance([1] * 54 + [0] * 46, 0.5)
    assert not above_chance([0] * 100, 0.0)
    assert above_chance(np.linspace(0.4, 0.8, 50), 0.5)
    assert not above_chance([0.9], 0.5)


def test_bad_input_is_refused() -> None:
    """No items, NaN, unequal lengths and a senseless alpha each have their own error."""
    with pytest.raises(NoItemsScored):
        bound_drop([], [])
    with pytest.raises(NonFiniteModel):
        bound_drop([1.0, math.nan], [1.0, 1.0])
    with pytest.raises(ValueError, match="one length"):
        bound_drop([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"alpha is 0\.5"):
        bound_drop([1.0], [1.0], alpha=0.5)
