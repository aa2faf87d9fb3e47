"""A task: one thing that a run needs in its store, named so that any process can work it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["prepare", "check", "edit", "score", "measure", "search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
QUALITY, NORMS, PERPLEXITY = "edit quality", "weight norms", "perplexity of texts"  # no benchmark is called so


@dataclass(frozen=True)
class Task:
    """One thing to work; it is plain data, so that another process or machine can be told to.

    Attributes:
        kind: `prepare` what a method needs before its first edit, `check` a rule of integrity, `edit` up to a
            checkpoint, `score` a benchmark, `measure` a checkpoint otherwise, `search` for the edit budget.
        model: the unedited model's name.
        editor: the method's name; empty for what is asked of the unedited model.
        trajectory: such as `memit-llama-mini`; empty as `editor` is.
        what: the rule, the benchmark, or what is measured; empty for the other kinds.
        first: edits that are applied before an `edit` task begins.
        edits: N; 0 for what is not about one N.
        order: of the edits; 0 is the run's own.
        all_items: whether a benchmark is asked whole, whatever the run's limit: the baselines on record are.
        needs: ids of the tasks that come before it.
    """

    kind: Kind
    model: str
    editor: str = ""
    trajectory: str = ""
    what: str = ""
    first: int = 0
    edits: int = 0
    order: int = 0
    all_items: bool = False
    needs: tuple[str, ...] = ()

    @property
    def chain(self) -> str:
        """What must stay together: the tasks of one trajectory, in one order. Empty for the unedited model."""
        return f"{self.trajectory} order {self.order}" if self.order else self.trajectory

    @property
    def id(self) -> str:
        """Such as `score memit-llama-mini n10 mmlu`, `edit memit-llama-mini 6-10`, `score llama-mini mmlu`."""
        where = self.chain or self.model
        if self.kind == "edit":
            return f"edit {where} {self.first + 1}-{self.edits}"
        about = [self.kind, where, f"n{self.edits}" if self.edits else "", self.what]
        return " ".join([*filter(None, about), *(["of all items"] if self.all_items else [])])


def chains(tasks: Iterable[Task]) -> list[list[Task]]:
    """Return the tasks in groups that one process works from front to back; each of an unedited model is its own."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.chain or task.id, []).append(task)
    return list(found.values())


def left_out(tasks: Sequence[Task], failed: Iterable[str]) -> set[str]:
    """Return the ids of the tasks that cannot be worked because one before them failed; `tasks` are in their order."""
    spoiled = set(failed)
    without: set[str] = set()
    for task in tasks:
        if task.id not in spoiled and not spoiled.isdisjoint(task.needs):
            spoiled.add(task.id)
            without.add(task.id)
    return without
