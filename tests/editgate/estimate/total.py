"""Counted work times measured speed: what a run will take, in seconds and bytes."""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field

import torch

from editgate.estimate import speed
from editgate.estimate.speed import Speed
from editgate.estimate.work import TrajectoryWork, Work
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.prepare import Prepared
from editgate.measure.trajectory import Trajectory
from editors.models.projection import Matrix


@dataclass
class Estimate:
    """What a run will take.

    Attributes:
        covariances: seconds.
        covariance_tokens: of the corpus, for each matrix.
        matrices: whose covariances are missing.
        edits: seconds, rules of integrity and questions about the edits included.
        edited: edits of trajectories.
        ruled: edits that rules of integrity apply.
        questions: seconds.
        asked: how often a benchmark is asked.
        bytes: of memory.
        untried: methods whose edits are not in it.
        measuring: seconds that the timed passes took.
        longest: seconds of the longest trajectory: no number of workers is faster, unless they share it out.
        longest_edits: seconds of the edits of the one that takes longest to edit: then these are not shared.
    """

    covariances: float = 0.0
    covariance_tokens: int = 0
    matrices: int = 0
    edits: float = 0.0
    edited: int = 0
    ruled: int = 0
    questions: float = 0.0
    asked: int = 0
    bytes: int = 0
    untried: set[str] = field(default_factory=set)
    measuring: float = 0.0
    longest: float = 0.0
    longest_edits: float = 0.0

    def seconds(self, workers: int = 1, *, shared_out: bool = False) -> float:
        """Return what all of it takes, with trajectories that are shared out N by N among workers or not."""
        alone = self.longest_edits if shared_out else self.longest
        return max((self.covariances + self.edits + self.questions) / workers, alone)


def estimate(todo: Work) -> Estimate:
    """Time each model and method once, and scale by what is left to do."""
    began, total = time.perf_counter(), Estimate()
    speeds = _speeds(todo)
    for base, prepared in todo.baselines:
        total.questions += speeds[base.source.name].seconds(prepared.benchmark.name)
        total.asked += 1
    for base, matrices in _matrices(todo):
        seconds, cost = speed.of_covariances(base, matrices)
        total.covariances += seconds
        total.covariance_tokens += cost.tokens
        total.matrices += cost.matrices
        total.bytes += cost.size
    for work in todo.trajectories:
        _add(total, work, speeds.get(work.run.base.source.name))
    total.bytes += _in_use()
    total.measuring = time.perf_counter() - began
    return total


def _speeds(todo: Work) -> dict[str, Speed]:
    """How fast each unedited model answers what it, or an edited one, will be asked."""
    asked: dict[str, dict[str, Prepared]] = defaultdict(dict)
    bases: dict[str, UneditedModel] = {}
    pairs = [(work.run.base, prepared) for work in todo.trajectories for prepared in work.questions]
    for base, prepared in [*todo.baselines, *pairs]:
        bases[base.source.name] = base
        asked[base.source.name][prepared.benchmark.name] = prepared
    return {name: speed.of_questions(base.model, base, [*asked[name].values()]) for name, base in bases.items()}


def _matrices(todo: Work) -> list[tuple[UneditedModel, list[Matrix]]]:
    """The matrices whose covariances are missing, once each, by model."""
    bases = {work.run.base.source.name: work.run.base for work in todo.trajectories}
    found: dict[str, dict[str, Matrix]] = {name: {} for name in bases}
    for work in todo.trajectories:
        found[work.run.base.source.name] |= {matrix.path: matrix for matrix in work.matrices}
    return [(bases[name], [*matrices.values()]) for name, matrices in found.items() if matrices]


def _add(total: Estimate, work: TrajectoryWork, usual: Speed | None) -> None:
    """Add one trajectory, at the speed of its own edited model where that is not asked as its base is."""
    before, edits_before, asked_as = total.edits + total.questions, total.edits, usual
    if isinstance(work.run, Trajectory) and (work.edits or work.rules or work.asked):
        timed = speed.of_edits(work.run)
        if timed.an_edit is None:
            total.untried.add(work.run.spec.name)
        total.edits += work.edits_with_rules * (timed.an_edit or 0.0)
        total.edits += work.edits * timed.asking_one + work.asked * timed.asking_many
        total.edited += work.edits
        total.ruled += work.edits_with_rules - work.edits
        if work.questions and timed.model is not None and not speed.is_asked_alike(timed.model, work.run.base):
            asked_as = speed.of_questions(timed.model, work.run.base, work.questions)
    if asked_as is not None:
        total.questions += sum(asked_as.seconds(each.benchmark.name, drafted=True) for each in work.questions)
    total.asked += len(work.questions)
    total.longest = max(total.longest, total.edits + total.questions - before)
    total.longest_edits = max(total.longest_edits, total.edits - edits_before)


def _in_use() -> int:
    """Bytes that this process held at most until now: a model, a copy that was edited, and what that took."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
