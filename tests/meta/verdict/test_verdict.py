"""The verdict: three values at the right places, and no way for a broken run to pass."""

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate.errors import (
    BaselineAtChance,
    EvaluationError,
    ItemsMismatch,
    NoItemsScored,
    NonFiniteModel,
    TestCannotFail,
)
from editgate.measure.items import Evaluation, Item, pair, shorten, shorten_apart
from editgate.verdict.verdict import judge

LETTERS = "ABCD"


def evaluation(
    scores: Sequence[float],
    labels: str | None = None,
    *,
    chance: float = 0.25,
    kind: Literal["choice", "generated"] = "choice",
    parse_failures: int = 0,
) -> Evaluation:
    """One item per score; without labels the answers go round the four letters."""
    items = tuple(
        Item(
            task=f"mmlu_{i % 3}",
            doc_hash=f"d{i}",
            prompt_hash=f"p{i}",
            score=score,
            answer=(labels or LETTERS)[i % len(labels or LETTERS)],
            expected="A",
            question=f"question {i}",
        )
        for i, score in enumerate(scores)
    )
    return Evaluation("mmlu", "acc,none", chance, items, kind, parse_failures=parse_failures)


def right(correct: int, n: int = 400, *, first: int = 0) -> list[float]:
    """`correct` ones among n zeros, from item `first` on."""
    return [float(first <= i < first + correct) for i in range(n)]


def spoiled(side: int, scores: list[float]) -> tuple[Evaluation, Evaluation]:
    """Baseline and edited model, of which one has these scores instead of good ones."""
    good, bad = evaluation(right(320)), evaluation(scores)
    return (bad, good) if side == 0 else (good, bad)


def test_nothing_lost_passes() -> None:
    """The same answers as the baseline pass, with retention 1 and no flips."""
    verdict = judge(evaluation(right(320)), evaluation(right(320)), 0.9)
    assert verdict.passed
    assert (verdict.retention, verdict.drop, verdict.lost, verdict.flips) == (1, 0, 0, ())
    assert verdict.allowed == pytest.approx(0.1 * (0.8 - 0.25))


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [(0, "pass"), (14, "pass"), (15, "inconclusive"), (30, "inconclusive"), (31, "regression")],
)
def test_three_values_at_their_borders(lost: int, outcome: str) -> None:
    """With 22 of 400 items allowed, pass ends at 14 lost and regression begins at 31."""
    verdict = judge(evaluation(right(320)), evaluation(right(320 - lost)), 0.9)
    assert verdict.allowed * 400 == pytest.approx(22)
    assert verdict.outcome == outcome
    assert (verdict.upper <= verdict.allowed, verdict.lower > verdict.allowed) == (
        outcome == "pass",
        outcome == "regression",
    )


def test_pairing_beats_two_separate_scores() -> None:
    """The same two scores: 40 lost and 40 gained is less certain than nothing changed."""
    still = judge(evaluation(right(320)), evaluation(right(320)), 0.9)
    churned = judge(evaluation(right(320)), evaluation(right(320, first=40)), 0.9)
    assert churned.edited == still.edited
    assert (churned.lost, churned.gained) == (40, 40)
    assert churned.upper > 3 * still.upper


def test_order_of_items_does_not_matter() -> None:
    """Items are joined by what they ask, not by where they stand."""
    baseline, edited = evaluation(right(320)), evaluation(right(280))
    shuffled = list(edited.items)
    random.Random(0).shuffle(shuffled)
    again = judge(baseline, dataclasses.replace(edited, items=tuple(shuffled)), 0.9)
    assert again == judge(baseline, edited, 0.9)


def test_flips_are_lost_items_from_several_tasks() -> None:
    """The examples are items that were right and are wrong, and not all from one subject."""
    verdict = judge(evaluation(right(320)), evaluation(right(200), "BCDA"), 0.9)
    assert len(verdict.flips) == 3
    assert all(before.score > after.score and before.key == after.key for before, after in verdict.flips)
    assert len({before.task for before, _ in verdict.flips}) == 3


def test_the_same_answer_is_no_flip() -> None:
    """A probability that moves by rounding, or by much, leaves no example where the answer stayed what it was."""
    before = evaluation([0.9] * 20 + [0.4] * 20)
    noise = evaluation([0.9 - 1e-7] * 20 + [0.4 + 1e-7] * 20)
    assert judge(before, noise, 0.9).flips == ()
    assert judge(before, evaluation([0.3] * 40), 0.9).flips == ()
    changed = judge(before, evaluation([0.3] * 40, "BCDA"), 0.9).flips
    assert len(changed) == 3
    assert all(old.answer != new.answer and old.score > new.score for old, new in changed)


def test_different_answers_look_different() -> None:
    """Long answers that begin alike are shown from where they part, also without a space; the others as usual."""
    moon, pyramid = ("Cleopatra lived nearer in time to the " + end for end in ("Moon landing", "Great Pyramid"))
    assert shorten_apart([moon, moon, pyramid], 30) == ["…Moon landing", "…Moon landing", "…Great Pyramid"]
    assert shorten_apart([moon, "", "Paris"], 30) == [shorten(moon, 30), "", "Paris"]
    one, other = shorten_apart(["a" * 50, "a" * 49 + "b"], 30)
    assert one != other
    assert max(len(one), len(other)) <= 30


def test_improvement_passes() -> None:
    """More right answers are a pass with retention above 1."""
    verdict = judge(evaluation(right(300)), evaluation(right(360)), 0.95)
    assert verdict.passed
    assert verdict.retention > 1


def test_inconclusive_says_how_many_items_would_do() -> None:
    """It suggests more items than there are, and the drop it could see is above the allowed one."""
    verdict = judge(evaluation(right(320)), evaluation(right(304)), 0.9)
    assert verdict.outcome == "inconclusive"
    assert verdict.enough is not None
    assert verdict.enough > 400
    assert verdict.allowed < verdict.detectable < 0.2


@pytest.mark.parametrize("side", [0, 1], ids=["baseline", "edited"])
def test_zero_items_is_an_error(side: int) -> None:
    """An empty benchmark is neither a pass nor a failure: it could not be evaluated."""
    baseline, edited = spoiled(side, [])
    with pytest.raises(NoItemsScored, match="no item was scored"):
        judge(baseline, edited, 0.9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1], ids=["baseline", "edited"])
def test_a_metric_that_is_not_a_number_is_an_error(side: int, value: float) -> None:
    """One NaN among 400 items is enough, on either side; the message counts them and shows one."""
    baseline, edited = spoiled(side, [*right(320, 399), value])
    with pytest.raises(NonFiniteModel, match=r"on 1 of 400 items .*'question 399'"):
        judge(baseline, edited, 0.9)


def test_other_questions_are_an_error() -> None:
    """A missing item, and a changed prompt of the same document, are named and told apart."""
    baseline, edited = evaluation(right(320)), evaluation(right(320))
    with pytest.raises(ItemsMismatch, match=r"400 items, the edited model 399.*'question 399'.*not at all"):
        judge(baseline, dataclasses.replace(edited, items=edited.items[:-1]), 0.9)
    moved = dataclasses.replace(edited.items[7], prompt_hash="other few-shot examples")
    with pytest.raises(ItemsMismatch, match=r"only 399 .*'question 7'.*in another prompt"):
        judge(baseline, dataclasses.replace(edited, items=(*edited.items[:7], moved, *edited.items[8:])), 0.9)


def test_repeated_documents_pair_one_to_one() -> None:
    """A document that occurs twice is joined twice, in order; three against two is a mismatch."""
    item = evaluation([1.0]).items[0]
    twice = evaluation([1.0, 1.0])
    baseline = dataclasses.replace(twice, items=(item, item))
    edited = dataclasses.replace(twice, items=(item, dataclasses.replace(item, score=0.0)))
    assert [after.score for _, after in pair(baseline, edited)] == [1.0, 0.0]
    with pytest.raises(ItemsMismatch):
        pair(baseline, dataclasses.replace(edited, items=(item,) * 3))


@pytest.mark.parametrize("correct", [80, 100, 113])
def test_a_baseline_at_chance_is_an_error(correct: int) -> None:
    """A model that guesses has nothing to lose, and a lead within its own noise is no lead."""
    with pytest.raises(BaselineAtChance, match=r"not above chance \(0\.250\)"):
        judge(evaluation(right(correct)), evaluation(right(correct)), 0.9)


def test_a_test_that_cannot_fail_is_an_error() -> None:
    """With three items, even losing them all would be no regression: that must not look like a pass."""
    three = evaluation([1.0, 1.0, 1.0], chance=0.0)
    with pytest.raises(TestCannotFail, match=r"with 3 items.*losing every right answer"):
        judge(three, three, 0.5)


@pytest.mark.parametrize("floor", [-0.1, 1.0, math.nan])
def test_senseless_floors_are_refused(floor: float) -> None:
    """A floor of 1 allows no drop at all, which no number of items can confirm."""
    with pytest.raises(ValueError, match="floor is"):
        judge(evaluation(right(320)), evaluation(right(320)), floor)


def test_collapse_is_a_regression_though_accuracy_rises() -> None:
    """ToxiGen with 60 % "no": answering "no" always scores higher than an honest 58 %, and is caught."""
    truth = [i % 5 < 3 for i in range(400)]
    honest = evaluation([float(i % 12 < 7) for i in range(400)], "yn", chance=0.5)
    collapsed = evaluation([float(t) for t in truth], "n", chance=0.5)
    verdict = judge(honest, collapsed, 0.95)
    assert verdict.edited > verdict.baseline
    assert (verdict.outcome, verdict.collapse) == ("regression", True)
    assert (verdict.label, verdict.label_share, verdict.label_before) == ("n", 1.0, 0.5)


def test_a_baseline_of_one_class_is_not_a_collapse() -> None:
    """What the unedited model did already is not the edit's doing, nor is a hair's breadth more of it."""
    mostly = "n" * 9 + "y"
    assert not judge(evaluation(right(320), mostly), evaluation(right(320), "n"), 0.9).collapse
    nearly = "n" * 89 + "y" * 11
    assert not judge(evaluation(right(320), nearly), evaluation(right(320), "n" * 91 + "y" * 9), 0.9).collapse


def test_an_explicit_label_stands_in_for_the_answer() -> None:
    """Where options have no letters, the label says which was chosen: always the first is a collapse."""
    baseline = evaluation(right(320))
    first = tuple(dataclasses.replace(item, answer=item.question, label="1") for item in baseline.items)
    assert judge(baseline, dataclasses.replace(baseline, items=first), 0.9).collapse


def test_generated_answers_have_no_classes() -> None:
    """A generation benchmark may answer one thing often; unparsed answers are counted instead."""
    before = evaluation(right(320), chance=0.0, kind="generated", parse_failures=4)
    after = evaluation(right(320), "x", chance=0.0, kind="generated", parse_failures=200)
    verdict = judge(before, after, 0.9)
    assert not verdict.collapse
    assert (verdict.unparsed_before, verdict.unparsed) == (0.01, 0.5)


def test_real_valued_metrics_are_judged() -> None:
    """TruthfulQA mc2 gives a probability per item: an even loss of 0.1 is a regression, of 0.001 a pass."""
    before = [0.5 + 0.4 * math.sin(i) ** 2 for i in range(400)]
    noise = [0.01 * math.sin(7 * i) for i in range(400)]
    for loss, outcome in ((0.1, "regression"), (0.001, "pass")):
        after = [b - loss + e for b, e in zip(before, noise, strict=True)]
        assert judge(evaluation(before), evaluation(after), 0.9).outcome == outcome


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    correct=st.floats(0, 1),
    lost=st.floats(0, 1),
    gained=st.floats(0, 1),
    floor=st.floats(0, 0.99),
)
def test_any_outcome_is_consistent(n: int, correct: float, lost: float, gained: float, floor: float) -> None:
    """Every outcome is either refused by name or one of three statuses that agrees with its own bounds."""
    hits = round(correct * n)
    after = right(hits - round(lost * hits), n)
    after[hits:] = right(round(gained * (n - hits)), n - hits)
    try:
        verdict = judge(evaluation(right(hits, n)), evaluation(after), floor)
    except EvaluationError:
        return
    assert verdict.lower <= verdict.drop <= verdict.upper
    assert verdict.passed == (verdict.upper <= verdict.allowed)
    assert (verdict.outcome == "regression") == (verdict.lower > verdict.allowed)
    assert verdict.drop == pytest.approx((verdict.lost - verdict.gained) / n)


def test_evaluation_survives_json() -> None:
    """Through JSON and back it is equal, to the last digit of every float."""
    original = evaluation([0.1 + 0.2, 1 / 3, 1.0], kind="generated", parse_failures=2)
    assert Evaluation.from_json(json.loads(json.dumps(original.to_json()))) == original


def test_label_distribution_counts_answers() -> None:
    """Shares come largest first and sum to one."""
    assert evaluation([1.0] * 4, "AABA").label_distribution == {"A": 0.75, "B": 0.25}


def test_shorten_keeps_one_line() -> None:
    """Newlines go, long text ends in an ellipsis within the limit, short text stays."""
    assert shorten("a\n  b") == "a b"
    assert shorten("x" * 300, 10) == "x" * 9 + "…"
