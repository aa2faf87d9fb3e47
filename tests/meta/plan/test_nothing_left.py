"""After the plan was worked, the run that judges computes nothing: it has every number from the store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import PreTrainedModel

from editgate.cache.store import Store
from editgate.miniature.recipes import WEIGHTS
from editgate.options.options import Options
from editgate.options.settings import read
from editgate.plan.__main__ import as_json, lines, rows
from editgate.plan.from_cases import plan
from editgate.pytest_run import selection
from meta.faults.runs import entries
from meta.support.gate import run_gate

METHODS = ("--editor=editgate.controls:Vandal", "--editor=editgate.controls:KeepsLast")
FEW = ("--limit=5", "--edit-counts=1,2")
FILES = ("capability", "safety", "edit_quality", "integrity", "baselines")


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what computes: forward passes of whole models, and locks that are taken in order to write."""
    found: Counter[str] = Counter()

    def pass_begins(module: nn.Module, _inputs: Any) -> None:  # noqa: ANN401 - torch's own
        found["passes"] += isinstance(module, PreTrainedModel)

    handle = register_module_forward_pre_hook(pass_begins)
    lock = Store.lock

    def noted(self: Store, kind: str, key: str) -> Any:  # noqa: ANN401 - a context manager
        found[f"lock of {kind}"] += 1
        return lock(self, kind, key)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "lock", noted)
            yield found
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ((*METHODS, *FEW, "-k", "toxigen or gsm8k or efficacy or integrity", "--report=report"), FILES),
        ((*METHODS[:1], "--limit=20", "--edit-counts=1", "--budget=2", "--inconclusive=pass"), ("budget",)),
        ((f"--edited={WEIGHTS / 'llama-mini-chat'}", "--limit=5", "-k", "toxigen or integrity"), FILES[1:4]),
    ],
    ids=["report", "budget", "edited"],
)
def test_the_run_that_judges_computes_nothing(
    pytester: pytest.Pytester, options: tuple[str, ...], files: tuple[str, ...]
) -> None:
    """No forward pass and no lock; before it there were both. One method breaks a rule, which is a result too."""
    with counted() as before:
        worked = run_gate(pytester, "--shard=1/1", *options, files=files)
    assert worked.ret == pytest.ExitCode.OK, worked.outlines
    assert before["passes"], "nothing was counted, so the test shows nothing"
    assert before["lock of items"]
    assert not (pytester.path / "report").exists()
    stored = entries(pytester.path / "store")
    with counted() as after:
        judged = run_gate(pytester, *options, files=files)
    assert sum(judged.parseoutcomes().get(word, 0) for word in ("passed", "failed", "xfailed"))
    assert after == Counter()
    assert entries(pytester.path / "store") == stored


def test_a_run_that_judged_leaves_nothing_to_plan(pytester: pytest.Pytester) -> None:
    """The other way round: what a plain run computed is there for the plan, task by task, before nothing was."""
    options = {"editor": METHODS[0].partition("=")[2], "limit": 5, "edit_counts": "1,2"}
    chosen = read(Options.of(options), pytester.path / "store")
    cases = [
        case
        for check in ("toxigen", "efficacy", "rules")
        for case in selection.cases(check, chosen)
        if case.editor.name == "vandal" and case.model.name in chosen.chosen_models  # type: ignore[union-attr]
    ]
    tasks = plan(cases, chosen)
    before = rows(tasks, chosen)
    assert not any(row.there for row in before)
    assert any(line.startswith("8 workers: about ") for line in lines(before, chosen))
    run_gate(pytester, METHODS[0], *FEW, "-k", "toxigen or efficacy or integrity", files=FILES[1:4])
    found = rows(tasks, chosen)
    assert [row.task.id for row in found if not row.there] == []
    assert lines(found, chosen)[-1] == "nothing is left to compute: pytest judges from the store"
    assert [(each["id"], each["there"]) for each in json.loads(as_json(found))] == [(task.id, True) for task in tasks]
    score = next(row for row in found if row.task.id == "score vandal-llama-mini n2 toxigen")
    assert score.entries[-1].startswith("items/")
    (Path(chosen.store.root) / score.entries[-1]).write_text("{}")
    assert [row.task.id for row in rows(tasks, chosen) if not row.there] == [score.task.id]
