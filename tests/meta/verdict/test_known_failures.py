"""Limits measured over several orders: where all fail, where some do, and the file that says so."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from editgate.verdict.judging import Measured

from editgate.inputs.edit_lists import ordered
from editgate.verdict import judging
from editgate.verdict.known_failures import Curve, bounds, render
from editgate.verdict.thresholds import load_policy
from editors import Edit
from meta.support.settings_factory import miniature, settings

if TYPE_CHECKING:
    from editgate.measure.model_under_test import Run
    from editgate.measure.session import EvaluationSession


def _curve(**held: str) -> Curve:
    """One order a letter: + holds, - does not."""
    return {int(n[1:]): [Measured(sign == "+", 0.5) for sign in signs] for n, signs in held.items()}


@pytest.mark.parametrize(
    ("curve", "wanted"),
    [
        (_curve(n1="+++", n5="+++"), (None, None)),
        (_curve(n1="+++", n5="---"), (5, 5)),
        (_curve(n1="+-+", n5="---"), (1, 5)),
        (_curve(n1="+++", n5="+-+"), (5, None)),
        (_curve(n1="---", n5="-+-", n10="---"), (1, 10)),
        (_curve(n1="+", n5="-", n10="-"), (5, None)),
    ],
)
def test_bounds_are_where_some_and_where_all_fail(curve: Curve, wanted: tuple[int | None, int | None]) -> None:
    """The first N that some order fails; the N from which on no order ever holds again."""
    assert bounds(curve) == wanted


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """The file that is written is a valid one and covers exactly the cells that failed; old reasons are kept."""
    curves = {"mmlu": _curve(n1="+++", n5="+-+", n10="---"), "gsm8k": _curve(n1="+++", n5="+++", n10="+++")}
    text = render(
        "python -m editgate.verdict.known_failures rome", "llama-mini", curves, {"mmlu": 'an "old" reason'}, new="new"
    )
    default = Path(__file__).parents[3] / "thresholds" / "default.toml"
    (tmp_path / "default.toml").write_text(default.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "rome.toml").write_text(text, encoding="utf-8")
    policy = load_policy(tmp_path, ["rome"], ["mmlu", "gsm8k"], ["llama-mini"])
    found = {n: policy.known_failure("rome", "llama-mini", "mmlu", n) for n in (1, 5, 10)}
    assert {n: limit and limit.always for n, limit in found.items()} == {1: None, 5: False, 10: True}
    assert found[5] is not None
    assert found[5].reason == 'an "old" reason'
    assert "0.50 (2 of 3 hold) at 5, 0.50 at 10" in found[5].evidence
    assert policy.known_failure("rome", "llama-mini", "gsm8k", 10) is None


@pytest.mark.parametrize(("inconclusive", "held"), [("fail", False), ("pass", True)])
def test_doubt_holds_where_it_passes(
    inconclusive: str, *, held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a profile lets pass is no limit under it."""
    doubtful = SimpleNamespace(outcome="inconclusive", passed=False, retention=0.97)
    monkeypatch.setattr(judging, "benchmark_verdict", lambda *_: (doubtful, None))
    monkeypatch.setattr(judging, "quality_verdict", lambda *_: None)
    session = SimpleNamespace(settings=settings(tmp_path, edit_counts="1", inconclusive=inconclusive))
    run = SimpleNamespace(base=SimpleNamespace(source=miniature(session.settings)))
    cells = [cell for _, _, cell in judging.measured(cast("EvaluationSession", session), cast("Run", run))]
    assert cells
    assert {cell.held for cell in cells} == {held}


def test_a_method_without_limits_has_a_file_too() -> None:
    """It says what was measured, and holds no limit."""
    text = render(
        "python -m editgate.verdict.known_failures rome",
        "llama-mini",
        {"mmlu": _curve(n1="+++", n5="+++")},
        {},
        new="new",
    )
    assert tomllib.loads(text) == {}
    assert "Everything held on llama-mini at N = 1, 5" in text
    assert "by order: 5, 5, 5" in text


def test_the_budget_of_an_order_ends_before_its_first_failure() -> None:
    """By order; any benchmark that fails ends it, and a later pass does not count."""
    curves = {"mmlu": _curve(n1="+++", n5="+-+", n10="+++"), "gsm8k": _curve(n1="++-", n5="+++", n10="-++")}
    text = render("python -m editgate.verdict.known_failures rome", "llama-mini", curves, {}, new="new")
    assert "by order: 5, 1, 0" in text


def test_an_order_moves_the_first_edits_only() -> None:
    """Every order ends with the same edits applied; the file's own order is number 0, the rest stays in place."""
    edits = [Edit("{} is", str(n), "x") for n in range(30)]
    orders = [ordered(edits, 20, order) for order in range(3)]
    assert orders[0] == tuple(edits)
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(o[:20], key=lambda e: e.subject) == sorted(edits[:20], key=lambda e: e.subject) for o in orders)
    assert all(order[20:] == tuple(edits[20:]) for order in orders)


@pytest.mark.parametrize(("changes", "strict"), [({}, True), ({"limit": 50}, False), ({"inconclusive": "pass"}, False)])
def test_a_limit_is_strict_only_where_it_was_measured(changes: dict[str, object], strict: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """With fewer items a verdict is often inconclusive: that ROME at 50 edits does not fail then is no surprise."""
    chosen = settings(tmp_path, edit_counts="50", **changes)
    (spec,) = (spec for spec in chosen.editors if spec.name == "rome")
    limit = chosen.known_failure(spec, miniature(chosen), "mmlu", 50)
    assert limit is not None
    assert limit.always is strict
