"""What a large gate would take, reckoned by the planner: Llama-2-7B, eleven methods, three orders, N up to 1,000.

    python -m editgate.plan.llama_2_7b

No model is loaded. The tasks are those that `plan` makes. Their costs come from published throughput of one GPU, from
passes counted in the miniature's edits, and from lengths of prompts (`llama_2_7b.toml`, each with its source).
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from editgate.cases import Case
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.documents import HubDocuments
from editgate.inputs.models import ModelSource
from editgate.measure import integrity
from editgate.measure.edit_quality import KINDS as QUALITIES
from editgate.options import settings as command_line
from editgate.options.options import Options
from editgate.options.settings import Settings
from editgate.plan.costs import Costs, Estimate
from editgate.plan.from_cases import plan
from editgate.plan.shards import Shard, part
from editgate.plan.simulate import Schedule, simulate
from editgate.plan.tasks import KINDS, NORMS, PERPLEXITY, QUALITY, Task

FILE = Path(__file__).with_suffix(".toml")
COUNTS = (1, 5, 10, 20, 50, 100, 500, 1000)
ORDERS = 3
GPUS = (1, 8, 64)
NAME = "llama-2-7b"


@dataclass(frozen=True)
class Pace:
    """What one GPU does, by a model of two costs: tokens are computed, and each step reads all weights.

    Attributes:
        token: seconds that a token takes that is read, in a long enough batch.
        step: seconds that a step takes which writes a token for each of up to eight prompts.
    """

    token: float
    step: float

    @classmethod
    def of(cls, published: Mapping[str, Any]) -> Pace:
        """Solve t(B) = B · read · token + written · step for the two batch sizes."""
        (few, short), (many, long) = sorted(
            (int(size), value / 1000) for size, value in published["milliseconds"].items()
        )
        token = (long - short) / ((many - few) * published["read"])
        return cls(token, (short - few * published["read"] * token) / published["written"])

    def answers(self, read: float, written: float, prompts: float = 1) -> float:
        """Return the seconds of so many prompts, eight at once."""
        return prompts * (read * self.token + written * self.step / 8)

    def edit(self, forward: float, backward: float, tokens: float) -> float:
        """Return the seconds of one edit's passes: none is faster than reading the weights once."""
        each = max(self.step, tokens / forward * self.token) if forward else 0.0
        return (forward + backward) * each


def costs(table: Mapping[str, Any]) -> Costs:
    """Return seconds a unit, in the form of `costs.toml`."""
    pace, reckoned = Pace.of(table["published"]), table["reckoned"]
    quality = pace.answers(table["quality"]["read"], table["quality"]["written"], table["quality"]["prompts"])
    edit = {name: pace.edit(*passes) + quality for name, passes in table["passes"].items()}
    steps = {
        name: count * pace.edit(*table["training"]["passes"]) for name, count in table["training"]["edits"].items()
    }
    return Costs(
        {
            "prepare": {name: reckoned["prepare"] + steps.get(name, 0.0) for name in edit},
            "check": {name: reckoned["check_seconds"] + reckoned["check_edits"] * cost for name, cost in edit.items()},
            "edit": edit,
            "score": {name: pace.answers(row["read"], row["written"]) for name, row in table["items"].items()},
            "measure": {QUALITY: quality, NORMS: reckoned["norms"], PERPLEXITY: reckoned["perplexity"]},
            "items": {name: float(row["items"]) for name, row in table["items"].items()},
        }
    )


def tasks_of(methods: Sequence[str], settings: Settings) -> list[Task]:
    """Return the tasks of the gate in each order; the unedited model and what is prepared serve all of them."""
    (model,) = settings.models
    cases = []
    for name in methods:
        editor = settings.editor(name)
        cases += [Case(editor, model, rule) for rule in integrity.rules_of(editor)]
        cases += [Case(editor, model, check, n) for n in COUNTS for check in (*_benchmarks(), *QUALITIES)]
    first = plan(cases, settings, reported=True)
    return [*first, *(task for order in range(1, ORDERS) for task in _in_order(first, order))]


def _in_order(tasks: Sequence[Task], order: int) -> list[Task]:
    """Return what another order of the edits does anew."""
    mine = {task.id: replace(task, order=order) for task in tasks if task.editor and task.kind != "prepare"}
    return [
        replace(task, needs=tuple(mine[need].id if need in mine else need for need in task.needs))
        for task in mine.values()
    ]


def _benchmarks() -> list[str]:
    return [*tomllib.loads(FILE.read_text(encoding="utf-8"))["items"]]


@dataclass(frozen=True)
class Reckoning:
    """What came out.

    Attributes:
        hours: by kind of task.
        shards: hours until the last of so many shards has ended.
        single: the same where any GPU takes any task that is ready.
        longest: the chain that no number of GPUs shortens.
    """

    hours: Mapping[str, float]
    shards: Mapping[int, float]
    single: Mapping[int, float]
    longest: Schedule


def reckon() -> Reckoning:
    """Make the plan, and simulate it."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    with TemporaryDirectory() as store:
        base = command_line.read(Options(), Path(store))
    model = ModelSource(NAME, "meta-llama/Llama-2-7b-hf", HubDocuments(), tuple, tuple, miniature=False)
    settings = replace(base, models=(model,), counts=COUNTS, limit=None, edits={NAME: ()})
    tasks = tasks_of([*table["passes"]], settings)
    estimate = Estimate(settings, costs(table))
    seconds = {task.id: estimate.seconds(task) for task in tasks}

    def cost(task: Task) -> float:
        return seconds[task.id]

    hours = {kind: sum(cost(task) for task in tasks if task.kind == kind) / 3600 for kind in KINDS}
    loads = {of: max(sum(map(cost, part(tasks, Shard(k, of), cost))) for k in range(1, of + 1)) for of in GPUS}
    schedules = {gpus: simulate(tasks, cost, gpus) for gpus in GPUS}
    return Reckoning(
        hours={kind: value for kind, value in hours.items() if value},
        shards={of: load / 3600 for of, load in loads.items()},
        single={gpus: schedule.seconds / 3600 for gpus, schedule in schedules.items()},
        longest=schedules[GPUS[-1]],
    )


def lines(found: Reckoning) -> list[str]:
    """Return the reckoning as it is printed."""
    total = sum(found.hours.values())
    told = [f"{kind:8}{hours:9.1f} GPU hours" for kind, hours in found.hours.items()]
    told += [f"{'all':8}{total:9.1f} GPU hours"]
    told += [
        f"{gpus:3} GPU{'s' if gpus > 1 else ' '}: {found.shards[gpus]:7.1f} h as shards, "
        f"{found.single[gpus]:7.1f} h task by task"
        for gpus in GPUS
    ]
    longest = found.longest
    return [*told, f"longest chain: {longest.longest_seconds / 3600:.1f} h, up to {longest.longest[-1]}"]


if __name__ == "__main__":
    assert set(_benchmarks()) <= set(BENCHMARKS)
    sys.stdout.write("\n".join(lines(reckon())) + "\n")
