"""The failure message says everything that a person needs, and a different thing for each kind of failure."""

import dataclasses

import pytest

from editgate.measure.items import Evaluation, Item
from editgate.verdict.failure_message import GROWN_NORM, WIDTH, Context, failure_message
from editgate.verdict.thresholds import Floor
from editgate.verdict.verdict import Verdict, judge

COMMAND = 'pytest "tests/test_mmlu.py::test_mmlu[rome-llama-mini-n10]"'
CONTEXT = Context(
    subject="after 10 edits of llama-mini with rome",
    floor=Floor(0.9, "thresholds/default.toml", "area.capability", "A tenth is\nwhat nobody notices."),
    command=COMMAND,
    norm_ratio={
        "layers.0.down_proj": 1.02,
        "layers.2.down_proj": 3.414,
        "layers.1.down_proj": 0.5,
        "d": 1.0,
    },
)


def verdict_of(correct: int, answers: str = "ABCD", *, unparsed: int = 0) -> Verdict:
    """400 items, 320 right before, `correct` after."""

    def evaluation(hits: int, letters: str, failures: int) -> Evaluation:
        items = tuple(
            Item(
                "mmlu_x",
                f"d{i}",
                f"p{i}",
                float(i < hits),
                letters[(i + (i >= hits)) % len(letters)],  # a wrong answer is another one
                "Paris",
                f"Capital of {i}?",
            )
            for i in range(400)
        )
        return Evaluation("mmlu", "acc,none", 0.25, items, parse_failures=failures)

    return judge(evaluation(320, "ABCD", 4), evaluation(correct, answers, unparsed), 0.9)


def test_a_regression_reads_like_a_sentence() -> None:
    """What fell, from what to what, on how many items, how sure, the floor, flips, norms, command."""
    text = " ".join(failure_message(verdict_of(240), CONTEXT).split())
    for part in (
        "REGRESSION: mmlu after 10 edits of llama-mini with rome fell from 0.800 to 0.600 on 400 items:",
        "64% of its lead over guessing is left, at least 90% is required.",
        "80 items scored worse and 0 better; the drop is above 0.1",
        "(each with 95% confidence), allowed is 0.055.",
        "The floor 0.9 is [area.capability] in thresholds/default.toml, with its reason.",
        "layers.2.down_proj x 3.41, layers.1.down_proj x 0.5, layers.0.down_proj x 1.02 and 1 more.",
        "Capital of 240? expected 'Paris', before 'A', now 'B'",
        f"Again: {COMMAND}",
    ):
        assert part in text


def test_inconclusive_says_what_this_many_items_can_see() -> None:
    """The smallest visible drop, how many items would do, and the two options."""
    verdict = verdict_of(304)
    text = " ".join(failure_message(verdict, CONTEXT).split())
    assert text.startswith("INCONCLUSIVE: mmlu after 10 edits of llama-mini with rome fell from 0.800 to 0.760")
    assert f"in four of five runs is {verdict.detectable:.3f}" in text
    assert f"--limit {verdict.enough}" in text
    assert "--inconclusive=pass" in text
    hopeless = dataclasses.replace(verdict, enough=None, detectable=float("inf"))
    text = " ".join(failure_message(hopeless, CONTEXT).split())
    assert "no drop at all could be called a regression; the drop is so close" in text


def test_collapse_is_not_told_as_a_score() -> None:
    """The class that took over comes first; the risen score is named as meaningless."""
    text = " ".join(failure_message(verdict_of(340, "B"), CONTEXT).split())
    assert text.startswith("COLLAPSE: mmlu after 10 edits of llama-mini with rome answers 'B' on 100% of 400 items")
    assert "(25% before). The score rose from 0.800 to 0.850; it is meaningless here." in text


def test_unreadable_answers_are_told_when_they_rose() -> None:
    """Damage to the form of answers is not passed off as lost knowledge; a usual share is not mentioned."""
    text = " ".join(failure_message(verdict_of(200, unparsed=150), CONTEXT).split())
    assert "No answer could be read from 38% of the generations (1% before)" in text
    assert "No answer could be read" not in failure_message(verdict_of(200, unparsed=8), CONTEXT)


def test_nothing_left_is_said_in_words() -> None:
    """A negative retention is not printed as a percentage."""
    assert "nothing of its lead over guessing is left" in " ".join(failure_message(verdict_of(40), CONTEXT).split())


def test_unedited_weights_are_silent() -> None:
    """There is no sentence about norms where no weight was edited."""
    context = dataclasses.replace(CONTEXT, subject="after 1 edit of llama-mini with rome", norm_ratio={})
    text = failure_message(verdict_of(240), context)
    assert "Norms" not in text


def test_a_pass_is_one_line() -> None:
    """A passed verdict has nothing to explain."""
    assert failure_message(verdict_of(320), CONTEXT).endswith("with rome: passed, retention 1.00.")


@pytest.mark.parametrize("correct", [200, 304, 340])
def test_lines_fit_a_terminal(correct: int) -> None:
    """Nothing but the command may be longer than a line, however long questions and answers are."""
    verdict = verdict_of(correct, "A" if correct == 340 else "ABCD")
    long = tuple(
        (dataclasses.replace(b, question="why? " * 90, answer="x" * 90), dataclasses.replace(a, answer=""))
        for b, a in verdict.flips
    )
    lines = failure_message(dataclasses.replace(verdict, flips=long), CONTEXT).splitlines()
    assert all(len(line) <= WIDTH + 8 for line in lines if not line.startswith("Again:"))


def test_no_number_of_another_run_is_quoted() -> None:
    """The policy's reason has an example of its own; a message that gives this run's numbers does not repeat it."""
    for correct in (200, 304, 340):
        assert "nobody notices" not in failure_message(verdict_of(correct), CONTEXT)


def test_a_norm_that_grew_much_is_explained() -> None:
    """A factor of a thousand makes a reader doubt the method, and one sentence answers; a few percent need none."""
    grown = dataclasses.replace(CONTEXT, norm_ratio={"layers.0.down_proj": 1755.0})
    text = " ".join(failure_message(verdict_of(240), grown).split())
    assert f"layers.0.down_proj x 1.76e+03. {GROWN_NORM}" in text
    assert GROWN_NORM not in " ".join(failure_message(verdict_of(240), CONTEXT).split())


def test_questions_and_answers_act_on_nothing() -> None:
    """A question with escape sequences or a workflow command is shown, and is no command at the start of a line."""
    evil = "::add-mask::x\x1b]0;owned\u202e##[error]"
    verdict = verdict_of(240)
    flips = tuple(
        (dataclasses.replace(b, question=evil, answer=evil, expected=evil), dataclasses.replace(a, answer=evil))
        for b, a in verdict.flips
    )
    subject = f"after 10 edits of {evil} with rome"
    text = failure_message(
        dataclasses.replace(verdict, flips=flips, label=evil), dataclasses.replace(CONTEXT, subject=subject)
    )
    assert all(line.isprintable() for line in text.splitlines())
    assert "##[" not in text
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())
