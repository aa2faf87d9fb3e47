"""The plan of a run: from the cases that pytest collected to what they will ask of the store.

It follows `verdict.cell`: what a test asks for there is a task here. Whether it does is tested: after the plan was
worked, a run computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from editgate.cases import BaselineCase, Case
from editgate.inputs import models
from editgate.inputs.models import ModelSource
from editgate.measure import integrity
from editgate.measure.edit_quality import KINDS as QUALITIES
from editgate.measure.session import cheap_benchmark
from editgate.options.settings import Settings
from editgate.plan.tasks import NORMS, PERPLEXITY, QUALITY, Task

Wanted = dict[str, Task]  # by id, in the order in which they are worked


def plan(cases: Iterable[Case | BaselineCase], settings: Settings, *, reported: bool = False) -> list[Task]:
    """Return the tasks of a run, each after those it needs: of each model the unedited one, then its trajectories.

    Args:
        cases: what the run's tests are about.
        settings: of the run.
        reported: whether the run writes a report, for which perplexity is measured too.
    """
    unedited: Wanted = {}
    found: dict[tuple[str, str], _Trajectory] = {}
    for case in cases:
        if isinstance(case, BaselineCase):
            _add(unedited, _recorded_baseline(case, settings))
            continue
        run = found.setdefault((case.editor.name, case.model.name), _Trajectory(case, settings))
        if case.area == "integrity":
            run.rules.add(case.check)
        elif case.area == "budget":
            run.searches = True
        elif case.area == "curve":
            run.ask_for_curve()
        else:
            run.ask(case.edits, case.check, reported=reported)
    edited = [task for run in found.values() for task in run.tasks(unedited)]
    tasks = [*unedited.values(), *edited]
    models_in_turn = list(dict.fromkeys(task.model for task in tasks))  # a large one is loaded once
    return sorted(tasks, key=lambda task: models_in_turn.index(task.model))


@dataclass
class _Trajectory:
    """What is asked of one editor on one model."""

    case: Case
    settings: Settings
    rules: set[str] = field(default_factory=set)
    searches: bool = False
    asked: dict[int, set[str]] = field(default_factory=dict)  # by N: benchmarks, and what is measured

    def ask(self, count: int, check: str, *, reported: bool = False) -> None:
        """Note what one cell asks for."""
        names = {QUALITY} if check in QUALITIES else {check, NORMS}
        self.asked.setdefault(count, set()).update(names | ({PERPLEXITY} if reported else set()))

    def ask_for_curve(self) -> None:
        """Note what a curve asks for: every benchmark and quality at every N, unless it is not on record so."""
        if self.settings.as_recorded:
            for count in self.settings.counts:
                for check in (*self.settings.benchmarks_of(self.case.model), *QUALITIES):
                    self.ask(count, check)

    def tasks(self, unedited: Wanted) -> Iterator[Task]:
        """Yield the tasks; add to `unedited` what they need of the unedited model."""
        judged = bool(self.asked) or self.searches
        if not judged and not self.rules:
            return
        editor, model = self.case.editor, self.case.model
        about = Task("prepare", model.name, editor.name, self.case.trajectory)
        before: tuple[str, ...] = ()
        if not editor.external:
            yield about
            before = (about.id,)
        gating: tuple[str, ...] = ()
        for rule in integrity.rules_of(editor):
            gates = judged and rule not in integrity.FAILS_ALONE
            if not gates and rule not in self.rules:
                continue
            baseline: tuple[str, ...] = ()
            if rule == integrity.ZERO_EDITS:
                baseline = (_add(unedited, _baseline(model, cheap_benchmark(self.settings, model))),)
            check = replace(about, kind="check", what=rule, needs=(*before, *baseline))
            yield check
            gating += (check.id,) if gates else ()
        for count, names in sorted(self.asked.items()):
            if not editor.external:
                first = max((n for n in self.asked if n < count), default=0)
                edit = replace(about, kind="edit", first=first, edits=count, needs=(*gating, *before))
                yield edit
                before = (edit.id,)
            yield from self._at(count, names, (*(gating if editor.external else ()), *before), unedited)
        if self.searches and self.settings.budget is not None:
            known = tuple(_add(unedited, _baseline(model, name)) for name in self.settings.benchmarks_of(model))
            for order in range(self.settings.budget.orders):
                yield replace(about, kind="search", order=order, needs=(*gating, *known))

    def _at(self, count: int, names: set[str], before: tuple[str, ...], unedited: Wanted) -> Iterator[Task]:
        """Yield what is asked of one checkpoint; first the benchmarks, in their order."""
        about = Task("score", self.case.model.name, self.case.editor.name, self.case.trajectory, edits=count)
        for name in (name for name in self.settings.benchmarks if name in names):
            baseline = _add(unedited, _baseline(self.case.model, name))
            yield replace(about, what=name, needs=(*before, baseline))
        for name in (name for name in (QUALITY, NORMS, PERPLEXITY) if name in names):
            yield replace(about, kind="measure", what=name, needs=before)


def _baseline(model: ModelSource, benchmark: str) -> Task:
    return Task("score", model.name, what=benchmark)


def _recorded_baseline(case: BaselineCase, settings: Settings) -> Task | None:
    """What `test_baseline` compares: a shipped model's whole benchmark, whatever the limit."""
    whole = case.model.name in models.miniatures()
    if not (replace(settings, limit=None) if whole else settings).scores_as_recorded:
        return None
    return replace(_baseline(case.model, case.benchmark), all_items=whole and settings.limit is not None)


def _add(wanted: Wanted, task: Task | None) -> str:
    """Add a task unless it is there; return its id."""
    if task is None:
        return ""
    wanted.setdefault(task.id, task)
    return task.id
