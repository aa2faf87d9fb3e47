"""How often a whole gate is red without cause: 10,000 simulated gates of harmless changes, by the verdict's own bounds.

    pytest tests/meta/verdict/test_false_reds.py -rP        prints the shares

A gate is eight benchmarks at six Ns. Each item is lost or gained as often as `perturbed.json` says that it was after
changes of one size; `meta.verdict.perturbed` measures that file. Changes at different Ns are drawn apart from each
other, which gives the most chances. Items of one subject are drawn apart too, or all fall together.
"""

from __future__ import annotations

import numpy as np
import pytest

from editgate.verdict.statistics import Array, drop_bounds
from meta.verdict.perturbed import FILE, RECORD, SIZES, Asked

GATES, COUNTS = 10_000, 6
FLOORS = {"capability": 0.90, "safety": 0.95}
VERDICTS = 48


@pytest.fixture(scope="module")
def record() -> dict[str, Asked]:
    """What was measured."""
    return RECORD.validate_json(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("together", [False, True], ids=["apart", "subjects together"])
@pytest.mark.parametrize("size", SIZES)
def test_no_gate_calls_harmless_changes_a_regression(record: dict[str, Asked], size: float, together: bool) -> None:  # noqa: FBT001 - a parameter
    """At most 5 % of gates have any false regression, and where changes are as small as rounding any red at all."""
    regressions, undecided = simulated(record, size, together=together)
    print(f"size {size}: any regression {regressions:.2%}, any inconclusive {undecided:.2%} of {GATES} gates")
    assert regressions <= 0.05
    if size <= 0.01:
        assert regressions + undecided <= 0.05


@pytest.mark.parametrize("size", SIZES)
def test_measured_gates_have_no_regression(record: dict[str, Asked], size: float) -> None:
    """In the gates that were really asked, one N each, no change of any size was called a regression."""
    outcomes = [
        (each.lower > allowed(asked), each.upper > allowed(asked), each.seed)
        for asked in record.values()
        for each in asked.after
        if each.size == size
    ]
    seeds = {seed for *_, seed in outcomes}
    undecided = {seed for _, doubt, seed in outcomes if doubt}
    print(f"size {size}: {len(seeds)} gates measured, any inconclusive in {len(undecided)}")
    assert len(seeds) >= 10
    assert not any(regression for regression, *_ in outcomes)


@pytest.mark.parametrize(("correction", "share"), [(1, 0.05), (VERDICTS, 0.05)], ids=["none", "bonferroni"])
def test_the_correction_holds_where_every_verdict_stands_on_the_line(correction: int, share: float) -> None:
    """If each true drop is exactly the allowed one, the error of one verdict, and corrected of a whole gate, holds."""
    source, n, line = np.random.default_rng(0), 400, 0.045
    lost = source.binomial(n, line, (GATES, VERDICTS))
    called = drop_bounds(lost, 0, n, 0.05 / correction)[0] > line
    assert (called.any(axis=1) if correction > 1 else called).mean() <= share
    if correction == 1:
        assert called.any(axis=1).mean() > 0.5, "without a correction most gates are red on the line"


def allowed(asked: Asked) -> float:
    """The drop that the shipped floors tolerate."""
    return float((1 - FLOORS[asked.area]) * (np.mean(asked.scores) - asked.chance))


def simulated(record: dict[str, Asked], size: float, *, together: bool) -> tuple[float, float]:
    """Return the shares of gates with any regression, and of the others those with any inconclusive verdict."""
    source = np.random.default_rng(17)
    regression = np.zeros(GATES, dtype=bool)
    undecided = np.zeros(GATES, dtype=bool)
    for asked in record.values():
        for _ in range(COUNTS):
            lower, upper = _bounds(asked, size, source, together=together)
            regression |= lower > allowed(asked)
            undecided |= upper > allowed(asked)
    return float(regression.mean()), float((undecided & ~regression).mean())


def _bounds(asked: Asked, size: float, source: np.random.Generator, *, together: bool) -> tuple[Array, Array]:
    """Bounds of the drop in each gate; of real-valued scores those of a change that was measured."""
    after = [each for each in asked.after if each.size == size]
    if set(asked.scores) - {0, 1}:
        drawn = source.integers(len(after), size=GATES)
        return np.array([after[i].lower for i in drawn]), np.array([after[i].upper for i in drawn])
    n = len(asked.scores)
    lost = _counts(_rates([each.lost for each in after], n), asked.subjects, source, together=together)
    gained = _counts(_rates([each.gained for each in after], n), asked.subjects, source, together=together)
    return drop_bounds(lost, gained, n)


def _rates(flips: list[tuple[int, ...]], n: int) -> Array:
    """How often each item flipped."""
    return np.bincount([item for each in flips for item in each], minlength=n) / len(flips)


def _counts(rates: Array, subjects: tuple[int, ...], source: np.random.Generator, *, together: bool) -> Array:
    """How many items flip in each gate; of one subject all or none, equally often on average, if `together`."""
    sizes = np.bincount(subjects)
    if together:
        rates, weights = np.bincount(subjects, weights=rates) / sizes, sizes
    else:
        weights = np.ones(len(rates), dtype=int)
    can = rates > 0
    flips = source.random((GATES, int(can.sum()))) < rates[can]
    return np.asarray(flips @ weights[can], dtype=float)
