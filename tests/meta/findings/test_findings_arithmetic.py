"""Findings: intervals over orders, what counts as failing, and each claim's three outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from editgate.errors import ConfigError
from editgate.inputs.editor_specs import find
from editgate.inputs.models import miniatures
from editgate.measure.session import EvaluationSession
from findings import claims, families, prediction, session, tables
from findings.claims import CAPABILITIES, Finding
from findings.intervals import interval
from findings.sweeps import Sweep, sweep
from meta.support.settings_factory import miniature, settings

COUNTS = (1, 10, 50, 100)
KEPT, LOST = (1.0, 0.99, 0.98, 0.97), (1.0, 0.7, 0.3, 0.1)
NOISE = np.array([[-0.01], [0.0], [0.01]])  # of the three orders


def made(left: tuple[float, ...], model: str = "toy", **other: tuple[float, ...]) -> Sweep:
    """Return a sweep with this retention of every benchmark, but for those that are named."""
    names = (*CAPABILITIES, "triviaqa", *claims.SAFETY)
    retention = {name: np.array(other.get(name, left)) + NOISE for name in names}
    return Sweep("rome", model, COUNTS, retention, np.full((3, 4), 0.5))


def test_an_interval_is_that_of_student() -> None:
    """Mean and bounds are scipy's t interval of the observations; one observation has none."""
    values = [0.2, 0.5, 0.3]
    found = interval(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert (interval([0.1, 0.11, 0.12]).sign, interval([-0.1, 0.1]).sign) == (1, 0)
    with pytest.raises(ValueError, match="at least two orders"):
        interval([0.5])


def test_failing_is_the_first_n_below_nine_tenths() -> None:
    """Every order has its own; a method that keeps nine tenths never fails, and left-out benchmarks do not count."""
    assert made(LOST).fails_at(CAPABILITIES) == [10, 10, 10]
    assert made(KEPT).fails_at(CAPABILITIES) == [None, None, None]
    one = made(KEPT, mmlu=LOST)
    assert one.fails_at(["mmlu"]) == [10, 10, 10]
    del one.retention["mmlu"]
    assert one.fails_at(CAPABILITIES) == [None, None, None]


def few(*lefts: tuple[float, ...]) -> Finding:
    return claims.few_edits([made(left) for left in lefts])


def tuned(base: tuple[float, ...], chat: tuple[float, ...]) -> Finding:
    return claims.instruction_tuning([made(base)], [made(chat)])


def sized(*lefts: tuple[float, ...]) -> Finding:
    return claims.size([[made(left, str(place)) for place, left in enumerate(lefts)]])


OUTCOMES: dict[str, tuple[Callable[[], Finding], str]] = {
    "most fail": (lambda: few(LOST, LOST, KEPT), "agrees"),
    "few fail": (lambda: few(LOST, KEPT, KEPT), "disagrees"),
    "half fail": (lambda: few(LOST, KEPT), "undecided"),
    "chat keeps more": (lambda: tuned(LOST, KEPT), "agrees"),
    "chat keeps less": (lambda: tuned(KEPT, LOST), "disagrees"),
    "chat is like its base": (lambda: tuned(LOST, LOST), "undecided"),
    "the largest keeps more": (lambda: sized(LOST, LOST, KEPT), "agrees"),
    "the largest keeps less": (lambda: sized(KEPT, KEPT, LOST), "disagrees"),
    "all abilities alike": (lambda: claims.kinds_of_ability([made(LOST), made(KEPT)]), "agrees"),
    "mathematics first": (lambda: claims.kinds_of_ability([made(LOST, gsm8k=(0.2, 0.0, 0.0, 0.0))]), "disagrees"),
    "safety lost": (lambda: claims.safety([made(KEPT, toxigen=LOST), made(LOST), made(KEPT)]), "agrees"),
    "safety kept": (lambda: claims.safety([made(KEPT), made(KEPT), made(LOST)]), "disagrees"),
    "safety lost by half": (lambda: claims.safety([made(KEPT), made(LOST)]), "undecided"),
}


@pytest.mark.parametrize("case", sorted(OUTCOMES))
def test_outcome(case: str) -> None:
    """Each claim can agree, disagree and stay open, and its rows can be shown and recorded."""
    make, outcome = OUTCOMES[case]
    found = make()
    assert found.outcome == outcome, found.summary
    assert all(name in tables.table(found.rows) for name in found.rows)
    assert tables.to_json(found.rows)


def test_sizes_are_compared_on_what_all_of_them_can() -> None:
    """A benchmark on which the smallest model guesses is left out for all sizes."""
    small, large = made(KEPT, "small"), made(KEPT, "large", mmlu=LOST)
    del small.retention["mmlu"]
    found = claims.size([[small, large]])
    assert found.outcome == "undecided"
    assert "mmlu" not in found.summary


def test_the_published_tables_give_the_first_failures() -> None:
    """ROME fails at 50 in both; PMET never on Llama, but at 10 on Mistral; what is known to be defective is out."""
    assert prediction.published("Llama-2-7B") == {"rome": 50, "memit": 100, "pmet": math.inf, "kn": 10}
    assert prediction.published("Mistral-7B") == {"rome": 50, "memit": 100, "pmet": 10, "kn": 50}
    assert set(prediction.tables()["excluded"]) == {"mend", "grace", "serac"}


def test_correlation_of_ranks() -> None:
    """The same order is 1 and its reverse -1, with the exact chance of four methods; one rank for all has no order."""
    there = {"a": 1.0, "b": 5.0, "c": 20.0, "d": math.inf}
    same = prediction.compare({"a": 5, "b": 10, "c": 50, "d": math.inf, "e": 1}, there)
    assert same.methods == 4
    assert (same.correlation, same.p_value) == pytest.approx((1, 2 / 24))
    assert prediction.compare({"a": math.inf, "b": 50, "c": 10, "d": 5}, there).correlation == pytest.approx(-1)
    with pytest.raises(ValueError, match="no ranks to compare"):
        prediction.compare(dict.fromkeys("abcd", 5.0), there)


def test_every_model_of_the_shipped_family_is_shipped() -> None:
    """What `pytest tests/findings` asks is there, and each of its methods is built in."""
    asked = session.pairs(families.FAMILIES["mini"])
    assert {model for _, model in asked} <= set(miniatures())
    assert all(find(method, {}).built_in for method, _ in asked)
    assert len(set(asked)) == len(asked)


def test_unknown_families_are_refused() -> None:
    """The message lists those that there are."""
    with pytest.raises(ConfigError, match=r"unknown\. Allowed: mini, paper"):
        families.find("tiny")


def test_a_sweep_of_an_editor_that_changes_little(tmp_path: Path) -> None:
    """Every order is measured along the whole grid; a later order shares the first one's model and store."""
    chosen = settings(tmp_path, editor=["editgate.controls:Vandal"], edit_counts="1,2", limit=20)
    session = EvaluationSession(chosen, lambda _: None)
    found = sweep(session, chosen.editors[-1], miniature(chosen), orders=2)
    assert found.counts == (1, 2)
    assert all(left.shape == (2, 2) for left in found.retention.values())
    assert {"mmlu", "toxigen"} <= set(found.retention)
    assert min(left.min() for left in found.retention.values()) < 0.9
