"""The plan of a run: every task after what it needs, and no task for what no test asks."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from editgate.cases import CURVE, EDIT_BUDGET, BaselineCase, Case
from editgate.measure import integrity
from editgate.options.settings import Settings
from editgate.plan.from_cases import plan
from editgate.plan.tasks import Task, chains, left_out
from meta.support.settings_factory import miniature, settings


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    """A small run."""
    return settings(tmp_path, limit=20)


def _case(chosen: Settings, check: str, edits: int = 0, editor: str = "memit") -> Case:
    return Case(chosen.editor(editor), miniature(chosen), check, edits, chosen.benchmarks)


def _by_id(tasks: list[Task]) -> dict[str, Task]:
    return {task.id: task for task in tasks}


def test_each_task_comes_once_and_after_what_it_needs(chosen: Settings) -> None:
    """Whoever works the list from front to back never meets a task whose needs are not done."""
    checks = ("mmlu", "toxigen", "efficacy", "edits_accumulate")
    cases = [_case(chosen, check, n, editor) for editor in ("memit", "rome") for n in (5, 1) for check in checks]
    tasks = plan([*cases, BaselineCase(miniature(chosen), "mmlu")], chosen, reported=True)
    done: set[str] = set()
    for task in tasks:
        assert done.issuperset(task.needs), task
        assert task.id not in done
        done.add(task.id)
    assert len(tasks) > len(cases)


def test_a_cell_asks_for_its_checkpoint_its_baseline_and_the_rules_that_gate_it(chosen: Settings) -> None:
    """MMLU at N = 5 needs the edits from the last planned N on, which need each rule but those that fail alone."""
    tasks = _by_id(plan([_case(chosen, "mmlu", 1), _case(chosen, "mmlu", 5)], chosen))
    assert tasks["score memit-llama-mini n5 mmlu"].needs == ("edit memit-llama-mini 2-5", "score llama-mini mmlu")
    assert tasks["edit memit-llama-mini 2-5"].needs[-1] == "edit memit-llama-mini 1-1"
    rules = {task.what for task in tasks.values() if task.kind == "check"}
    assert rules == {*integrity.rules_of(chosen.editor("memit"))} - integrity.FAILS_ALONE
    assert {f"check memit-llama-mini {rule}" for rule in rules} < {*tasks["edit memit-llama-mini 2-5"].needs}
    assert not any(task.what in {"edit quality", "perplexity of texts"} for task in tasks.values())


def test_one_model_comes_after_the_other(tmp_path: Path) -> None:
    """Whoever holds one model at a time loads each once, whatever the order of the tests."""
    chosen = settings(tmp_path, limit=20)
    editor, names = chosen.editor("memit"), ("llama-mini", "pythia-mini-s")
    cases = [Case(editor, chosen.model(name), check, 5) for check in ("mmlu", "gsm8k") for name in names]
    assert [name for name, _ in groupby(task.model for task in plan(cases, chosen))] == [*names]


def test_a_rule_alone_asks_for_no_edits(chosen: Settings) -> None:
    """A run of one rule prepares the method and checks it; the rule about zero edits needs its baseline."""
    assert [*_by_id(plan([_case(chosen, "edits_accumulate")], chosen))] == [
        "prepare memit-llama-mini",
        "check memit-llama-mini edits_accumulate",
    ]
    zero = plan([_case(chosen, integrity.ZERO_EDITS)], chosen)
    assert next(task.id for task in zero) == "score llama-mini toxigen"


def test_a_report_is_told_perplexity(chosen: Settings) -> None:
    """With a report each checkpoint's perplexity is measured, once, whatever the number of benchmarks."""
    cases = [_case(chosen, check, 5) for check in ("mmlu", "gsm8k", "efficacy")]
    with_report, without = (plan(cases, chosen, reported=reported) for reported in (True, False))
    assert {task.id for task in with_report} - {task.id for task in without} == {
        "measure memit-llama-mini n5 perplexity of texts"
    }


def test_a_recorded_baseline_is_asked_whole(chosen: Settings) -> None:
    """A shipped model's baseline on record is of all items, beside that of the run's own limit; on a GPU of none."""
    cases: list[Case | BaselineCase] = [BaselineCase(miniature(chosen), "mmlu"), _case(chosen, "mmlu", 5)]
    ids = [*_by_id(plan(cases, chosen))]
    assert {"score llama-mini mmlu of all items", "score llama-mini mmlu"} < {*ids}
    unlimited = [*_by_id(plan(cases, replace(chosen, limit=None)))]
    assert "score llama-mini mmlu" in unlimited
    assert not any(name.endswith("of all items") for name in unlimited)
    assert plan(cases[:1], replace(chosen, device="cuda")) == []


def test_a_curve_asks_for_every_cell(tmp_path: Path) -> None:
    """All benchmarks and qualities at all Ns of the default run; of another run nothing, since its test is skipped."""
    default = settings(tmp_path, edit_counts="1,5,10,20,50,100")
    tasks = plan([_case(default, CURVE)], default)
    scored = [task for task in tasks if task.kind == "score" and task.editor]
    assert len(scored) == 6 * len(default.benchmarks_of(miniature(default)))
    assert plan([_case(default, CURVE)], replace(default, counts=(1, 5))) == []


def test_a_budget_is_one_search_an_order(tmp_path: Path) -> None:
    """Each order is a chain of its own, which no other need wait for."""
    chosen = settings(tmp_path, budget="3")
    searches = [task for task in plan([_case(chosen, EDIT_BUDGET)], chosen) if task.kind == "search"]
    assert [task.order for task in searches] == [0, 1, 2]
    assert len({task.chain for task in searches}) == 3


def test_what_cannot_be_worked_takes_only_its_own_with_it(chosen: Settings) -> None:
    """A broken rule leaves out the edits of its method and all that is measured on them, and nothing of another's."""
    tasks = plan([_case(chosen, "mmlu", 5, editor) for editor in ("memit", "rome")], chosen)
    lost = left_out(tasks, ["check memit-llama-mini edits_accumulate"])
    assert lost == {
        "edit memit-llama-mini 1-5",
        "score memit-llama-mini n5 mmlu",
        "measure memit-llama-mini n5 weight norms",
    }


def test_chains_keep_a_trajectory_together(chosen: Settings) -> None:
    """All tasks of one method are one chain, in their order; each baseline is one of its own."""
    tasks = plan([_case(chosen, "mmlu", n, editor) for editor in ("memit", "rome") for n in (1, 5)], chosen)
    groups = chains(tasks)
    assert sorted(group[0].chain for group in groups) == ["", "", "memit-llama-mini", "rome-llama-mini"]
    assert sum(map(len, groups)) == len(tasks)
