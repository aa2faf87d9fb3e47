"""How a run ended: one word for every output, and an exit code that agrees with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editgate.report.conclusion import NEW, Conclusion, Result, Standing, conclude, standing
from editgate.verdict.outcome import Cell, Outcome
from meta.report.report_cases import cell

AREAS = ("capability", "safety", "quality", "integrity", "budget")
PASSED = cell("mmlu", 1, 1.0)
KNOWN = replace(cell("gsm8k", 1, 0.1, "regression"), known_failure="it is known", reason="REGRESSION: it fell")
ALLOWED = replace(cell("bbh", 1, 0.9, "inconclusive"), fails=False)
ENDINGS: dict[Result, list[Cell]] = {
    Result.PASS: [PASSED, KNOWN, ALLOWED],
    Result.COLLAPSE: [
        replace(cell("toxigen", 1, 1.2, "regression", "safety"), collapse="'No' on 97%"),
        cell("mmlu", 1, 0.1, "regression"),
    ],
    Result.REGRESSION: [cell("mmlu", 1, 0.1, "regression"), replace(PASSED, outcome=Outcome.NOT_EVALUATED)],
    Result.NOT_EVALUATED: [replace(PASSED, outcome=Outcome.NOT_EVALUATED), cell("bbh", 1, 0.9, "inconclusive")],
    Result.INCONCLUSIVE: [cell("bbh", 1, 0.9, "inconclusive"), PASSED],
    Result.UNEXPECTED_PASS: [replace(PASSED, unexpected_pass=True, known_failure="it fails", fails=True)],
    Result.NOTHING_JUDGED: [Cell("x-m", "undo", 0, None, Outcome.PASS, "integrity")],
}


@pytest.mark.parametrize("result", sorted(ENDINGS))
def test_the_word_is_the_worst_that_happened(result: Result) -> None:
    """Collapse, regression, error, doubt, unexpected pass; what is on record or allowed changes none of them."""
    found = conclude(ENDINGS[result])
    assert found.result is result
    assert found.line.startswith(f"{result.upper()}: ")
    assert found.exit == (0 if result in {Result.PASS, Result.NOTHING_JUDGED} else 1)
    if result is not Result.NOTHING_JUDGED:
        assert conclude([*ENDINGS[result], PASSED, KNOWN, ALLOWED]).result is result


def test_a_pass_counts_what_it_rests_on() -> None:
    """The first line of a green run says how much of it is on record, how much is undecided, and who allows that."""
    found = conclude([PASSED, KNOWN, ALLOWED, replace(PASSED, known_failure="sometimes")], allowed_by="smoke")
    assert found.line == (
        "PASS: 1 method; 0 new failures, 1 known, 1 undecided (allowed by smoke), 1 held although a limit is on record"
    )
    assert found.reason == (
        "exit code 0: every verdict passes, is on record, or has too few items to decide, which smoke allows"
    )


def test_a_red_line_says_of_what_kind_the_failures_are() -> None:
    """New failures are counted in all and by kind, in the singular and the plural."""
    found = conclude([*ENDINGS[Result.COLLAPSE], cell("mmlu", 5, 0.1, "regression"), *ENDINGS[Result.INCONCLUSIVE]])
    assert found.line.startswith("COLLAPSE: 1 method; 4 new failures (1 collapse, 2 regressions, 1 undecided)")


@pytest.mark.parametrize(
    ("changes", "result", "words"),
    [
        ({"other_failures": 2}, Result.OTHER_FAILURES, "2 other failed tests"),
        ({"ended": "1 of 3 tests ended"}, Result.INCOMPLETE, "INCOMPLETE"),
        ({"exit_code": 1}, Result.OTHER_FAILURES, "OTHER FAILURES"),
        ({"exit_code": 3}, Result.OTHER_FAILURES, "OTHER FAILURES"),
    ],
)
def test_nothing_but_exit_code_0_is_a_pass(changes: dict[str, object], result: Result, words: str) -> None:
    """Other failures, a run that ended early, or any other exit code of pytest take the word away, and say why."""
    found = conclude([PASSED], **changes)  # type: ignore[arg-type]
    assert found.result is result
    assert found.exit != 0
    assert words in found.line


def test_what_was_judged_is_counted() -> None:
    """Methods are told from models; a checkpoint that was changed elsewhere is no method."""
    two = [replace(PASSED, trajectory=name) for name in ("rome-gpt2-mini", "rome-llama-mini", "memit-llama-mini")]
    assert conclude(two).subject == "2 methods on 2 models"
    assert conclude([replace(PASSED, external=True)]).subject == "1 changed checkpoint"
    assert conclude([]).subject == "no method"


cells = st.builds(
    Cell,
    trajectory=st.sampled_from(["rome-m", "memit-m"]),
    check=st.sampled_from(["mmlu", "toxigen"]),
    edits=st.integers(0, 3),
    value=st.sampled_from([None, 0.5]),
    outcome=st.sampled_from([each for each in Outcome if each not in {"known failure", "unexpected pass"}]),
    area=st.sampled_from(AREAS),
    reason=st.sampled_from(["", "it fell"]),
    known_failure=st.sampled_from(["", "known"]),
    unexpected_pass=st.booleans(),
    collapse=st.sampled_from(["", "'No' on 97%"]),
    fails=st.booleans(),
)


@given(st.lists(cells, max_size=6), st.integers(0, 2), st.sampled_from(["complete", "stopped"]))
def test_a_pass_is_exit_code_0_and_the_other_way_round(found: list[Cell], others: int, ended: str) -> None:
    """Whatever the cells: the word PASS stands exactly where the exit code is 0 and something was judged."""
    end = conclude(found, other_failures=others, ended=ended)
    assert end.passed == (end.exit == 0 and end.result is not Result.NOTHING_JUDGED)
    assert end.exit != 0 or not any(standing(each) in NEW for each in found)
    assert sum(end.counts.values()) == len(found)
    assert Conclusion.model_validate_json(end.model_dump_json()) == end


def test_doubt_is_on_record_only_if_its_test_failed() -> None:
    """Where doubt passes, the test of a known failure passes too: that is doubt, and not what is on record."""
    doubt = replace(cell("bbh", 1, 0.9, "inconclusive"), fails=False, known_failure="sometimes")
    assert standing(doubt) is Standing.ALLOWED
    assert standing(replace(doubt, reason="INCONCLUSIVE: it fell")) is Standing.KNOWN
