"""The gate without a command line: the same checks, as plain results and as tests of somebody else's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from editgate import Result, check_editor, checks_of
from editgate.controls import KeepsLast, Vandal
from editgate.errors import ConfigError
from editgate.verdict.outcome import Outcome


def made(editor: type | str, store: Path, counts: str, *names: str) -> dict[str, Result]:
    """Make only the checks of these names."""
    return {c.name: c.result() for c in checks_of(editor, edit_counts=counts, store=store) if c.name in names}


def test_a_method_that_does_harm_is_told_with_numbers(store: Path) -> None:
    """Rules hold, a benchmark regresses with its scores before and after, and the message names the method."""
    found = made(Vandal, store, "2", "undo_gives_back_the_base", "gsm8k-n2")
    assert found["undo_gives_back_the_base"] == Result("undo_gives_back_the_base", Outcome.PASS)
    lost = found["gsm8k-n2"]
    assert lost.outcome == "regression"
    assert not lost.passed
    assert lost.numbers["after"] < 0.1
    assert lost.numbers["before"] > 0.9
    assert lost.reason.startswith("REGRESSION: gsm8k after 2 edits of llama-mini with vandal")
    assert str(lost).startswith("regression      gsm8k-n2 ")


def test_a_broken_rule_makes_numbers_not_evaluated(store: Path) -> None:
    """The rule's own check says that it is broken; no benchmark is given a number."""
    found = made(KeepsLast, store, "2", "edits_accumulate", "toxigen-n2")
    assert found["edits_accumulate"].outcome == "rule broken"
    assert "Only the last edit is kept" in found["edits_accumulate"].reason
    assert found["toxigen-n2"].outcome == "not evaluated"
    assert found["toxigen-n2"].numbers == {}


def test_results_come_one_by_one(store: Path) -> None:
    """A caller may stop early, and is called back for each result that it got."""
    told: list[Result] = []
    running = check_editor(Vandal, callback=told.append, edit_counts="2", store=store)
    first = next(running)
    assert told == [first]
    assert first.name == "edits_change_the_model"


def test_known_failures_are_expected(store: Path) -> None:
    """What is on record as failing is named as such, with its reason, and passes."""
    found = made("kn", store, "1", "efficacy-n1")["efficacy-n1"]
    assert found.outcome == "known failure"
    assert found.reason
    assert found.passed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"edit_count": "2"}, "there is no option 'edit_count'"),
        ({"model": "lama"}, "--model 'lama' is not known"),
        ({"shard": "1/2"}, "Allowed: pytest --shard"),
        ({"ray_worker": "cpus=2"}, "Allowed: pytest --ray-worker"),
    ],
)
def test_a_wrong_option_is_told_at_once(given: dict[str, str], message: str) -> None:
    """Nothing is loaded for a misspelt option or model."""
    with pytest.raises(ConfigError, match=message):
        checks_of("rome", **given)


THREE_LINES = """
from editgate import parametrize_with_checks

@parametrize_with_checks("editgate.controls:Vandal", edit_counts="2", store={store!r})
def test_mine(check):
    check()
"""


def test_three_lines_in_a_test_file_of_ones_own(pytester: pytest.Pytester, store: Path) -> None:
    """A decorated test is one test a check, with its name as id, and fails with the gate's message."""
    pytester.makepyfile(test_theirs=THREE_LINES.format(store=str(store)))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", "gsm8k or undo", "-rA")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*regression: REGRESSION: gsm8k after 2 edits*"])
