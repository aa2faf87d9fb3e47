"""What a run has left to do: covariances, edits and questions that are not in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from editgate.cases import BaselineCase, Case
from editgate.errors import EditgateError
from editgate.inputs.models import ModelSource
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.edit_quality import KINDS
from editgate.measure.integrity import ZERO_EDITS, rules_of
from editgate.measure.model_under_test import Run
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editgate.verdict.cell import checks_at
from editgate.verdict.sequential import looks
from editors import EditorError

if TYPE_CHECKING:
    from editgate.measure.prepare import Prepared
    from editors.models.projection import Matrix

EDITS_A_RULE = {True: 1, False: 2}  # what a rule of integrity applies on average, of a built-in method and of another


@dataclass(frozen=True)
class TrajectoryWork:
    """What one trajectory, or one changed model, has left to do.

    Attributes:
        run: whose it is.
        edits: how many of its edits must be applied.
        rules: how many rules of integrity are not known to hold.
        asked: how many edits are asked about at checkpoints, each as often as it is asked about.
        questions: the benchmarks that a checkpoint must be asked, as often as they are asked.
        matrices: whose covariances are missing.
    """

    run: Run
    edits: int
    rules: int
    asked: int
    questions: Sequence[Prepared]
    matrices: Sequence[Matrix]

    @property
    def edits_with_rules(self) -> int:
        """How many edits are applied in all."""
        return self.edits + EDITS_A_RULE[self.run.spec.built_in] * self.rules


@dataclass(frozen=True)
class Work:
    """What a run has left to do.

    Attributes:
        trajectories: those that have anything left.
        baselines: the benchmarks that the unedited models must be asked.
    """

    trajectories: Sequence[TrajectoryWork]
    baselines: Sequence[tuple[UneditedModel, Prepared]]


def left(session: EvaluationSession, cases: Sequence[Case | BaselineCase]) -> Work:
    """Return what these cases need and the store does not have.

    What cannot be counted, because a model cannot be loaded or a method does not go with it, is left out: its tests say
    why. So is the search for an edit budget, whose length depends on what it finds.
    """
    by_trajectory: dict[str, list[Case]] = {}
    wanted: dict[tuple[str, str], ModelSource] = {}
    for case in cases:
        if isinstance(case, BaselineCase):
            wanted[case.model.name, case.benchmark] = case.model
        elif case.area != "budget":
            by_trajectory.setdefault(case.trajectory, []).extend(
                checks_at(session, case) if case.area == "curve" else [case]
            )
    found: list[TrajectoryWork] = []
    for group in reversed(by_trajectory.values()):  # the session keeps the last one, which the first tests need
        try:
            found += _of_trajectory(session, group)
        except (EditgateError, EditorError):
            continue  # see above
        wanted |= {(case.model.name, case.check): case.model for case in group if case.check in case.benchmarks}
    return Work(found, list(_of_baselines(session, wanted)))


def _of_trajectory(session: EvaluationSession, cases: Sequence[Case]) -> Iterator[TrajectoryWork]:
    run = session.trajectory(cases[0].editor, cases[0].model)
    own = isinstance(run, Trajectory)
    rules = [rule for rule in rules_of(run.spec) if not session.has_checked(run, rule)]
    judged = {case.edits for case in cases if case.edits}
    top = max(judged, default=0)
    edits = top - run.stored_up_to(top) if isinstance(run, Trajectory) else 0
    qualities = {case.edits for case in cases if case.check in KINDS}
    stored = {n for n in qualities if session.settings.store.path("quality", run.key(n), "json").exists()}
    asked = {(case.check, case.edits) for case in cases if case.check in case.benchmarks}
    questions = [
        session.questions.prepared(run.base, name)
        for name, count in sorted(asked)
        if not session.has_items(run.base, name, run.key(count), _first_block(session, run.base, name))
    ]
    if ZERO_EDITS in rules and questions:
        questions.append(min(questions, key=lambda prepared: len(prepared.pairs) or len(prepared.completions)))
    if rules or edits or questions or qualities - stored:
        matrices = _matrices(run, session) if isinstance(run, Trajectory) and (rules or edits) else []
        yield TrajectoryWork(run, edits, len(rules) * own, sum(qualities - stored), questions, matrices)


def _first_block(session: EvaluationSession, base: UneditedModel, benchmark: str) -> tuple[int, int] | None:
    """What is asked first with `--items=auto`: how much more will be asked nobody knows."""
    if not session.settings.asks_in_blocks(benchmark):
        return None
    return looks(session.questions.count(base.source, benchmark))[0].block


def _matrices(run: Trajectory, session: EvaluationSession) -> list[Matrix]:
    """The base's matrices whose covariances the method needs and the store does not have."""
    from editgate.measure import covariances  # noqa: PLC0415 - see `importing`
    from editors.locate.base import LocateEditor  # noqa: PLC0415 - as above

    editor = run.setup.create(run.setup.copied_base())
    if not isinstance(editor, LocateEditor):
        return []
    missing = covariances.missing(editor.missing, run.base, session.settings.store)
    return [replace(matrix, module=run.base.model.get_submodule(matrix.path)) for matrix in missing]


def _of_baselines(
    session: EvaluationSession, wanted: dict[tuple[str, str], ModelSource]
) -> Iterator[tuple[UneditedModel, Prepared]]:
    for (_, benchmark), source in wanted.items():
        try:
            base = session.model(source)
            if not session.has_items(base, benchmark, block=_first_block(session, base, benchmark)):
                yield base, session.questions.prepared(base, benchmark)
        except (EditgateError, EditorError):
            continue  # as in `left`
