"""What tasks take: measured where they were worked, in proportion to their size, never a reason to fail."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from editgate.cache.store import Store
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.plan import costs
from editgate.plan.costs import SECONDS, Costs, Estimate, Took
from editgate.plan.tasks import Task
from meta.support.settings_factory import settings


def test_a_cost_is_seconds_over_units() -> None:
    """Two tasks of one class count by their size: 30 s for 10 + 5 edits are 2 s an edit."""
    found = costs.of([Took("edit", "rome", 10, 22.0, 4.0), Took("edit", "rome", 5, 8.0, 4.0)])
    assert found.of("edit", "rome") == pytest.approx(2.0)
    assert found.megabytes == 4.0


def test_what_nobody_measured_costs_as_its_kind_does() -> None:
    """Another method's edits cost the median of those on record; of a kind without any nothing is known."""
    found = Costs({"edit": {"a": 1.0, "b": 2.0, "c": 9.0}})
    assert found.of("edit", "somebody_elses") == 2.0
    assert found.of("score", "mmlu") is None


def test_a_damaged_record_is_left_out(tmp_path: Path) -> None:
    """An estimate is made of the records that can be read."""
    store = Store(tmp_path)
    store.save_json(SECONDS, "good", asdict(Took("edit", "rome", 1, 2.0)))
    store.save_json(SECONDS, "other", {"kind": "edit"})
    (tmp_path / SECONDS / "bad.json").write_text("{")
    assert costs.recorded(store) == [Took("edit", "rome", 1, 2.0)]


def test_tasks_are_as_large_as_they_say(tmp_path: Path) -> None:
    """Edits are counted from where the task begins, items by the documents that lie there or by the limit."""
    chosen = settings(tmp_path, limit=20)
    estimate = Estimate(chosen, Costs({"edit": {"rome": 2.0}, "score": {"mmlu": 0.5}}))
    edit = Task("edit", "llama-mini", "rome", "rome-llama-mini", first=1, edits=5)
    assert estimate.seconds(edit) == pytest.approx(8.0)
    score = Task("score", "llama-mini", what="mmlu")
    assert estimate.seconds(score) == pytest.approx(10.0)
    whole = Task("score", "llama-mini", what="mmlu", all_items=True)
    lines = (chosen.model("llama-mini").documents.folder / "mmlu").rglob("test.jsonl")  # type: ignore[attr-defined]
    assert estimate.units(whole) == sum(path.read_text(encoding="utf-8").count("\n") for path in lines)


def test_a_larger_model_takes_longer(tmp_path: Path) -> None:
    """In proportion to the weights' size on disk."""
    chosen = settings(tmp_path)
    small, large = (Task("prepare", name, "rome", f"rome-{name}") for name in ("pythia-mini-s", "pythia-mini-l"))
    estimate = Estimate(chosen, Costs({"prepare": {"rome": 1.0}}, megabytes=1.0))
    sizes = [costs.megabytes(chosen.model(task.model)) for task in (small, large)]
    assert [estimate.seconds(task) for task in (small, large)] == pytest.approx(sizes)
    assert sizes[0] < sizes[1]


def test_the_shipped_costs_know_what_there_is() -> None:
    """Each benchmark has a cost, and a number of items; all costs are above zero."""
    found = costs.shipped()
    asked = {name for name, row in BENCHMARKS.items() if not row.chat}
    assert asked <= {*found.tables["score"]}
    assert asked <= {*found.tables["items"]}
    assert all(value > 0 for table in found.tables.values() for value in table.values())
    assert Costs(found.tables, found.megabytes).to_toml().count("[") == len(found.tables)
