"""Looking for an edit budget: one trajectory an order, safety first, and the gate as it is run."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from torch import Tensor

from editgate.cases import EDIT_BUDGET, Case
from editgate.errors import ConfigError, NonFiniteModel
from editgate.inputs import edit_lists
from editgate.inputs.benchmarks import ALL, benchmarks_for
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editgate.miniature.recipes import WEIGHTS
from editgate.options.profiles import COUNTS
from editgate.report.run_report import read_report
from editgate.verdict import edit_budget
from editgate.verdict.edit_budget import by_cost
from editors import Edit
from meta.support.gate import collected, run_gate
from meta.support.settings_factory import miniature, settings

GATE = ("capability", "budget", "integrity")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edit_order": 2}, "--edit-order=2 asks for one of them"),
        ({"edited": WEIGHTS / "llama-mini"}, "needs edits that are applied here"),
    ],
)
def test_options_that_contradict_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    """One order and several, or a model that nobody edits here, have no budget over orders."""
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, budget="2", **changes)


def test_safety_is_asked_first() -> None:
    """What matters most comes first, everything that an ordinary run asks comes, and what is slow comes last."""
    turn = by_cost(ALL[name] for name in benchmarks_for(chat=False))
    assert turn[:3] == ["truthfulqa", "truthfulqa_mc2", "toxigen"]
    assert set(turn[-3:]) == {"bbh", "gsm8k", "triviaqa"}
    assert len(turn) == len(set(turn)) == 8 + 3


def test_one_trajectory_serves_all_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going down and up applies only the edits since the last N that held, and going up restores nothing."""
    chosen = settings(tmp_path, budget="2", edit_counts="16", editor=["editgate.controls:Vandal"])
    run = EvaluationSession(chosen, lambda _: None).trajectory(chosen.editors[-1], miniature(chosen), order=1)
    assert isinstance(run, Trajectory)
    done: list[str] = []
    apply, restore = run.editor.apply, run.editor.restore

    def applied(edit: Edit) -> None:
        done.append(edit.about)
        apply(edit)

    def restored(state: dict[str, Tensor]) -> None:
        done.append("restored")
        restore(state)

    monkeypatch.setattr(run.editor, "apply", applied)
    monkeypatch.setattr(run.editor, "restore", restored)
    trail = []
    for count in (8, 4, 6, 5, 7):
        done.clear()
        run.editor_at(count)
        trail.append(done.copy())
    names = [edit.subject for edit in edit_lists.ordered(chosen.edits["llama-mini"], 16, 1)]
    again = "restored"  # to the base, or to the last N that held
    assert trail == [[again, *names[:8]], [again, *names[:4]], names[4:6], [again, names[4]], [again, names[6]]]


def test_an_edit_that_failed_half_way_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an exception within an edit the run starts from a stored state, not from half-edited weights."""
    chosen = settings(tmp_path, budget="2", edit_counts="1,4", editor=["editgate.controls:Vandal"])
    run = EvaluationSession(chosen, lambda _: None).trajectory(chosen.editors[-1], miniature(chosen), order=0)
    assert isinstance(run, Trajectory)
    run.editor_at(1)
    wanted = {name: value.clone() for name, value in run.editor.state().items()}
    inner = run.editor.apply

    def fail(edit: Edit) -> None:
        inner(edit)
        raise RuntimeError("killed")

    monkeypatch.setattr(run.editor, "apply", fail)
    with pytest.raises(RuntimeError, match="killed"):
        run.editor_at(2)
    monkeypatch.setattr(run.editor, "apply", inner)
    found = run.editor_at(1).state()
    assert all(found[name].equal(value) for name, value in wanted.items())


def test_nan_is_not_held_and_a_broken_base_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that the edits filled with NaN end the budget; what is wrong before any edit is no matter of a budget."""

    def broken(*_: object, **__: object) -> NoReturn:
        raise NonFiniteModel("NaN in w")

    chosen = settings(tmp_path, budget="2", editor=["editgate.controls:Vandal"])
    session = EvaluationSession(chosen, lambda _: None)
    case = Case(chosen.editors[-1], miniature(chosen), EDIT_BUDGET, edits=5)
    monkeypatch.setattr(edit_budget, "evaluate_cell", broken)
    monkeypatch.setattr(session, "baseline", lambda *_: None)
    found = edit_budget.first_failure(session, case, 0, "again")
    assert found is not None
    assert (found.check, found.edits, found.outcome) == ("truthfulqa", 5, "not evaluated")
    assert "NaN in w" in found.reason
    monkeypatch.setattr(session, "baseline", broken)
    with pytest.raises(NonFiniteModel):
        edit_budget.first_failure(session, case, 0, "again")


POISON = """
import torch
from editgate.controls import Control, noise, some_matrix

class Poison(Control):
    '''Harmless, but for one subject.'''

    def harm(self, edit):
        matrix = some_matrix(self.model)
        matrix += noise(edit, matrix, 30.0 if edit.subject == {subject!r} else 1e-4)
"""
FLOORS = 'editor = "poison"\n' + "\n".join(
    f'[quality.{kind}.{when}]\nfloor = 0.0\nreason = "it teaches nothing"'
    for kind in ("efficacy", "paraphrase", "locality")
    for when in ("immediately", "at_end")
)


def test_the_gate_finds_the_edit_that_ruins_the_model(pytester: pytest.Pytester) -> None:
    """One of two edits is poison: the budget of an order ends right before it, and the test fails on `--min-budget`."""
    edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])
    assert [edit_lists.ordered(edits, 2, order).index(edits[1]) for order in range(2)] == [1, 0]
    pytester.makepyfile(poison=POISON.format(subject=edits[1].subject))
    pytester.syspathinsert()
    floors = pytester.path / "floors.toml"
    floors.write_text(FLOORS, encoding="utf-8")
    options = ("--edit-counts=2", "--limit=20", "--inconclusive=pass", "--budget=2", "--min-budget=2")
    wanted = ("-k", "budget or finite", f"--report={pytester.path / 'out'}", f"--thresholds={floors}")
    result = run_gate(pytester, "--editor=poison:Poison", *options, *wanted, files=GATE)
    result.assert_outcomes(passed=1, failed=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(
        [
            "EDIT BUDGET: poison on llama-mini survives N = 0 in the worst of 2 orders; --min-budget requires*",
            "Again: pytest *test_budget[[]poison-llama-mini[]]' *--budget=2 --min-budget=2 *--inconclusive=pass",
            "poison-llama-mini: edit budget over 2 orders: * (orders 0, 1: 1, 0); ended*",
        ]
    )
    found = read_report(pytester.path / "out" / "report.json")
    assert found.result == "regression"
    assert [each.budget for each in found.budgets[0].orders] == [1, 0]


def test_ordinary_runs_have_no_budget_tests(pytester: pytest.Pytester) -> None:
    """Without the options no such test is collected; with one of them only budgets and rules are, for each editor."""

    def chosen(*options: str) -> list[str]:
        return collected(run_gate(pytester, "--collect-only", "-q", "-m", "rome", *options, files=GATE))

    assert not [line for line in chosen() if "test_budget" in line]
    narrowed = chosen("--min-budget=100")
    assert [line for line in narrowed if "test_integrity" not in line] == [
        "tests/editgate/gate/test_budget.py::test_budget[rome-llama-mini]"
    ]
    assert len(narrowed) > 1
    assert COUNTS.endswith(",100")
