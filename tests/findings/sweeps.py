"""What is left of each benchmark along the edits, in several orders of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from editgate.errors import NonFiniteModel
from editgate.inputs.benchmarks import BENCHMARKS, benchmark
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.model_under_test import Run
from editgate.measure.session import EvaluationSession
from editgate.verdict import statistics

ORDERS = 3
ITEMS = 100  # a benchmark; the intervals rest on the orders, which differ by more than a hundred items blur
FAILING = 0.9  # of what the unedited model had: below it, a method has failed
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """One method on one model.

    Attributes:
        counts: the Ns, ascending.
        retention: by benchmark, [orders, counts]: (edited - chance) / (baseline - chance); 0 for a model of NaN and for
            one that writes nothing legible, which would score below chance. Benchmarks on which the unedited model is
            not above chance are left out.
        one_class: of ToxiGen, [orders, counts]: how often the commonest answer was given.
    """

    editor: str
    model: str
    counts: tuple[int, ...]
    retention: dict[str, Array]
    one_class: Array

    def mean(self, benchmarks: Iterable[str]) -> Array:
        """Return the mean retention of these benchmarks, [orders, counts]; those that were left out do not count."""
        kept = [self.retention[name] for name in benchmarks if name in self.retention]
        return np.asarray(np.mean(kept, axis=0), dtype=float)

    def fails_at(self, benchmarks: Sequence[str]) -> list[int | None]:
        """Return for each order the first N at which less than FAILING of these benchmarks is left; None: never."""
        below = self.mean(benchmarks) < FAILING
        return [next((n for n, under in zip(self.counts, row, strict=True) if under), None) for row in below]


def sweep(session: EvaluationSession, editor: EditorSpec, model: ModelSource, *, orders: int = ORDERS) -> Sweep:
    """Measure a method on a model; the integrity rules are checked once, in the first order.

    Raises:
        EditorError: the method cannot apply an edit.
        IntegrityError: a rule is broken that makes the editor's numbers meaningless.
        EvaluationError: a benchmark cannot be scored.
    """
    session.check_all(session.trajectory(editor, model, order=0))
    counts = session.settings.counts
    held = [name for name in BENCHMARKS if model.documents.holds(benchmark(name))]
    asked = [name for name in held if above_chance(session, model, name)]
    left = {name: np.zeros((orders, len(counts))) for name in asked}
    one_class = np.zeros((orders, len(counts)))
    for order in range(orders):
        run = session.trajectory(editor, model, order=order)
        for place, count in enumerate(counts):
            for name in asked:
                left[name][order, place] = retention(session, run, count, name)
            one_class[order, place] = _one_class(session, run, count)
    return Sweep(editor.name, model.name, counts, left, one_class)


def above_chance(session: EvaluationSession, model: ModelSource, name: str) -> bool:
    """Whether the unedited model certainly knows more of a benchmark than guessing gives."""
    found = session.baseline(model, name)
    return statistics.above_chance([item.score for item in found.items], found.chance)


def retention(session: EvaluationSession, run: Run, count: int, name: str) -> float:
    """Return what is left of a benchmark after `count` edits; 0 for a model of NaN."""
    before = session.baseline(run.base.source, name)
    try:
        after = session.evaluation(run, count, name)
    except NonFiniteModel:
        return 0.0
    return max(0.0, (after.score - before.chance) / (before.score - before.chance))


def _one_class(session: EvaluationSession, run: Run, count: int) -> float:
    try:
        return max(session.evaluation(run, count, "toxigen").label_distribution.values())
    except NonFiniteModel:
        return 1.0
