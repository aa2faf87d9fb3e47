"""What is said before a run of what its items can see is what verdicts then do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from editgate.power import main
from editgate.verdict.outcome import Outcome
from editgate.verdict.power import POWER, power_of
from editgate.verdict.verdict import judge
from meta.verdict.test_verdict import evaluation


@given(st.integers(60, 600), st.floats(0.6, 1), st.floats(0, 0.4), st.sampled_from([0.8, 0.9, 0.95]))
def test_counts_are_the_verdicts(n: int, share: float, chance: float, floor: float) -> None:
    """With the most lost items that pass a verdict passes, with one more it does not; the same of a regression."""
    right = round(share * n)
    found = power_of(n, right / n, chance, floor)
    assume(found.most_lost is not None and found.fewest_lost is not None and found.fewest_lost <= right)
    assert found.most_lost is not None
    assert found.fewest_lost is not None
    before = evaluation([1] * right + [0] * (n - right), chance=chance)

    def outcome(lost: int) -> Outcome:
        after = evaluation([0] * lost + [1] * (right - lost) + [0] * (n - right), chance=chance)
        return judge(before, after, floor).outcome

    assert outcome(found.most_lost) is Outcome.PASS
    assert outcome(found.most_lost + 1) is not Outcome.PASS
    assert outcome(found.fewest_lost) is Outcome.REGRESSION
    assert outcome(found.fewest_lost - 1) is not Outcome.REGRESSION


@given(st.integers(60, 2000), st.floats(0.5, 1), st.sampled_from([0.8, 0.9, 0.95]))
def test_drops_are_seen_as_often_as_promised(n: int, baseline: float, floor: float) -> None:
    """A true drop of `passes` leaves a pass in 80 % of all runs, one of `fails` a regression."""
    found = power_of(n, baseline, 0.25, floor)
    if found.most_lost is not None and found.passes is not None:
        assert stats.binom.cdf(found.most_lost, n, found.passes) == pytest.approx(POWER, abs=1e-6)
        assert found.passes <= found.allowed
    if found.fewest_lost is not None and found.fails is not None:
        assert stats.binom.sf(found.fewest_lost - 1, n, found.fails) == pytest.approx(POWER, abs=1e-6)
        assert found.fails > found.allowed


def test_few_items_see_nothing() -> None:
    """Where not even a model without a loss passes, and none can fail, no drop is named."""
    found = power_of(3, 1.0, 0.5, 0.95)
    assert (found.most_lost, found.passes) == (None, None)
    assert power_of(3, 0.9, 0.0, 0.1).fails is None


def test_the_program_asks_the_unedited_model_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints a row for each benchmark with its items, and makes no checkpoint."""
    main(["--benchmarks=toxigen", "--limit=100", f"--store={store / 'power'}"])
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("toxigen")]
    assert row[:5] == ["toxigen", "100", "1.000", "0.500", "0.95"]
    assert [path.name for path in (store / "power").iterdir() if any(path.glob("*.safetensors"))] == []


def test_floors_of_two_editors_are_two_questions(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More than one --editor is refused before a model is loaded."""
    with pytest.raises(SystemExit, match="2"):
        main(["--editor=rome", "--editor=memit", f"--store={store}"])
    assert "Allowed: one, or none" in capsys.readouterr().err
