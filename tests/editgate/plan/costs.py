"""What a task will take, in seconds: from what tasks of its class took before, times its size.

Shipped are costs measured with the miniature (`costs.toml`). All shards divide the work by these, whatever they have
measured since, because that differs between them. The estimate for people prefers what this store has measured.
"""

from __future__ import annotations

import json
import math
import statistics
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from editgate.cache.entry_files import DAMAGED, read_json
from editgate.cache.store import Store
from editgate.inputs.benchmarks import EXAMPLES, RESERVE, Benchmark
from editgate.inputs.documents import LocalDocuments
from editgate.inputs.models import ModelSource
from editgate.options.settings import Settings
from editgate.plan.tasks import QUALITY, Task

FILE = Path(__file__).with_name("costs.toml")
SECONDS = "seconds"  # the store's kind of entry
UNKNOWN_ITEMS = 1000  # of a benchmark that nobody counted


@dataclass(frozen=True)
class Took:
    """What one task took.

    Attributes:
        kind: of the task.
        about: the method, the benchmark, or what is measured: tasks of one kind about the same cost alike.
        units: how many edits, items or runs it was.
        seconds: all in all.
        megabytes: of the model's weights on disk; 0 where nobody knows.
    """

    kind: str
    about: str
    units: float
    seconds: float
    megabytes: float = 0.0


FORM = TypeAdapter(Took).validate_python


@dataclass(frozen=True)
class Costs:
    """Seconds a unit, by kind and by what the task is about; `megabytes` are those of the model they belong to."""

    tables: Mapping[str, Mapping[str, float]]
    megabytes: float = 0.0

    def of(self, kind: str, about: str) -> float | None:
        """Return the seconds of one unit: of what is not on record the median of its kind; None if nothing is."""
        table = self.tables.get(kind, {})
        return table.get(about, statistics.median(table.values()) if table else None)

    def of_editing(self, editor: str, edits: int) -> float:
        """Return the seconds of what a method does itself in a trajectory: prepare, edit, have its rules checked."""
        units = {"prepare": 1, "edit": edits, "check": 1}
        return sum(number * (self.of(kind, editor) or 0.0) for kind, number in units.items())

    def to_toml(self) -> str:
        """Return the text of a `costs.toml`."""
        lines = [f"megabytes = {self.megabytes:.1f}"]
        for kind, table in sorted(self.tables.items()):
            lines += [
                "",
                f"[{kind}]",
                *(f"{json.dumps(about)} = {value:.3g}" for about, value in sorted(table.items())),
            ]
        return "\n".join(lines) + "\n"


def shipped() -> Costs:
    """Return the costs that come with editgate."""
    found: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return Costs({kind: table for kind, table in found.items() if kind != "megabytes"}, found["megabytes"])


def of(rows: Iterable[Took]) -> Costs:
    """Return the mean costs of what tasks took."""
    units: dict[tuple[str, str], float] = defaultdict(float)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    sizes = []
    for row in rows:
        units[row.kind, row.about] += row.units
        seconds[row.kind, row.about] += row.seconds
        sizes.append(row.megabytes)
    tables: dict[str, dict[str, float]] = defaultdict(dict)
    for (kind, about), total in units.items():
        tables[kind][about] = seconds[kind, about] / total
    return Costs(tables, statistics.median(sizes) if sizes else 0.0)


def recorded(store: Store) -> list[Took]:
    """Return what tasks took that were worked into this store; a damaged entry does not count."""
    found = []
    for path in sorted((store.root / SECONDS).glob("*.json")):
        try:
            found.append(FORM(read_json(path)))
        except (*DAMAGED, OSError, ValidationError):
            continue  # an estimate is not worth a warning
    return found


@dataclass(frozen=True)
class Estimate:
    """How large tasks are, and what they will take.

    Attributes:
        settings: of the run.
        costs: by class.
    """

    settings: Settings
    costs: Costs

    def took(self, task: Task, seconds: float) -> Took:
        """Return the record of a task that was worked."""
        return Took(task.kind, self.about(task), self.units(task), seconds, megabytes(self._model(task)))

    def about(self, task: Task) -> str:
        """Return what tasks of one kind must share to cost alike."""
        return task.what if task.kind in {"score", "measure"} else task.editor

    def units(self, task: Task) -> float:
        """Return how many edits, items or runs a task is."""
        if task.kind == "edit":
            return task.edits - task.first
        if task.kind == "score":
            return self._items(task)
        return task.edits if task.what == QUALITY else 1

    def seconds(self, task: Task) -> float:
        """Return what a task will take; of a kind that nobody measured, a second a unit."""
        if task.kind == "search":
            return self._search(task)
        cost = self.costs.of(task.kind, self.about(task))
        return (1.0 if cost is None else cost) * self.units(task) * self._scale(task)

    def _search(self, task: Task) -> float:
        """All edits once, and every benchmark at as many Ns as a bisection asks about."""
        most = self.settings.counts[-1]
        edit = Task("edit", task.model, task.editor, task.trajectory, edits=most)
        asked = [Task("score", task.model, what=name) for name in self.settings.benchmarks_of(self._model(task))]
        return self.seconds(edit) + math.ceil(math.log2(most + 1)) * sum(map(self.seconds, asked))

    def _items(self, task: Task) -> float:
        row, limit = self.settings.benchmarks[task.what], self.settings.limit
        whole = _counted(self._model(task), row)
        if whole is None:
            whole = self.costs.tables.get("items", {}).get(row.name, UNKNOWN_ITEMS)
        return whole if limit is None or task.all_items else min(whole, float(limit))

    def _scale(self, task: Task) -> float:
        """A model twice as large takes twice as long, where both sizes are known."""
        size = megabytes(self._model(task))
        return size / self.costs.megabytes if size and self.costs.megabytes else 1.0

    def _model(self, task: Task) -> ModelSource:
        return self.settings.model(task.model)


def megabytes(model: ModelSource) -> float:
    """Return the size of a model's weights, if they lie in a folder; 0 for one of the hub."""
    files = Path(model.location).glob("*.safetensors") if Path(model.location).is_dir() else []
    return sum(file.stat().st_size for file in files) / 1e6


def _counted(model: ModelSource, row: Benchmark) -> float | None:
    """Count the documents in a folder that a run asks, a line each; None for those of the hub."""
    source = model.documents_of(row)
    if not isinstance(source, LocalDocuments):
        return None
    others = {*EXAMPLES, RESERVE}
    files = (path for path in (source.folder / row.documents_folder).rglob("*.jsonl") if path.stem not in others)
    return float(sum(path.read_bytes().count(b"\n") for path in files)) or None
