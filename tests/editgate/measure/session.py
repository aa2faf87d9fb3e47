"""One process's models, trajectories and numbers: each is computed once and kept in the store."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from editgate.cache import fingerprint
from editgate.cache.environment import conditions
from editgate.cache.store import Store
from editgate.inputs import edit_lists, models
from editgate.inputs.benchmarks import ALL, BENCHMARKS
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import LoadedModel, ModelSource
from editgate.measure import integrity
from editgate.measure.evaluate import Shared, evaluate
from editgate.measure.external_checkpoint import ExternalCheckpoint, ExternalCheckpointSpec
from editgate.measure.integrity import checkpoint_rules, trajectory_rules
from editgate.measure.items import Evaluation
from editgate.measure.model_under_test import Run
from editgate.measure.prepare import Prepared, prepare
from editgate.measure.threads import SMALL
from editgate.measure.trajectory import Trajectory
from editgate.options.settings import Settings

CHEAP = ("toxigen", *BENCHMARKS)  # the first that has documents serves the rule that zero edits reproduce the baseline


@dataclass
class EvaluationSession:
    """One process's access to models, trajectories and outcomes.

    Attributes:
        settings: what the run is about.
        announce: called with what is going on, for people.
    """

    settings: Settings
    announce: Callable[[str], None]

    def __post_init__(self) -> None:
        self._loaded: dict[str, LoadedModel] = {}
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._baselines: dict[tuple[str, str], Evaluation] = {}  # each is read once for every N
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._answers: dict[str, Shared] = {}  # by the two models that were asked last: a baseline and a checkpoint

    def model(self, source: ModelSource) -> LoadedModel:
        """Return the unedited model, loaded once."""
        if source.name not in self._loaded:
            if self._holds_large_models:  # two would not fit where one does, nor would the copies that are edited
                self._loaded, self._runs, self._answers = {}, {}, {}
                gc.collect()
            self.announce(f"loading {source.name}")
            self._loaded[source.name] = models.load(source, device=self.settings.device, dtype=self.settings.dtype)
        return self._loaded[source.name]

    @property
    def _holds_large_models(self) -> bool:
        return any(loaded.model.num_parameters() >= SMALL for loaded in self._loaded.values())

    def trajectory(self, editor: EditorSpec, source: ModelSource, *, order: int = 0) -> Run:
        """Return the trajectory of this editor on this model; the one before is let go, with its copy of the model.

        `order` is the seed of another order of the run's edits; 0 leaves them in theirs.
        """
        key = (editor.name, source.name, order)
        if key not in self._runs:
            self._runs = {}
            if self._holds_large_models:
                gc.collect()  # some wrappers and their editors hold one another
            base, settings = self.model(source), self.settings
            edits = edit_lists.ordered(settings.edits[source.name], settings.counts[-1], order)
            if isinstance(editor, ExternalCheckpointSpec):
                self._runs[key] = ExternalCheckpoint(editor, base, edits, settings.store, self.announce)
            else:
                self._runs[key] = Trajectory(
                    editor, base, edits, settings.counts, settings.store, announce=self.announce
                )
        return self._runs[key]

    def baseline(self, source: ModelSource, benchmark: str) -> Evaluation:
        """Return the unedited model's items.

        Raises:
            EvaluationError: they cannot be had.
        """
        key = (source.name, benchmark)
        if key not in self._baselines:
            base = self.model(source)
            what = f"{source.name}: baseline of {benchmark}"
            self._baselines[key] = self._evaluation(what, base, benchmark, None, lambda: base.model)
        return self._baselines[key]

    def evaluation(self, run: Run, count: int, benchmark: str) -> Evaluation:
        """Return the edited model's items after `count` edits.

        Raises:
            EvaluationError: they cannot be had.
        """
        what = f"{run.name}: {benchmark} after {count} edit{'' if count == 1 else 's'}"
        return self._evaluation(what, run.base, benchmark, run.key(count), lambda: run.model_at(count))

    def _evaluation(
        self, what: str, base: LoadedModel, benchmark: str, checkpoint: str | None, model: Callable[[], object]
    ) -> Evaluation:
        """The items of a model, asked only if they are not in the store; `checkpoint` is None for the unedited one."""
        prepared = self._prepare(base, benchmark)
        key = Store.key(
            base=conditions(base),
            checkpoint=checkpoint,
            prompts=prepared.digest,
            code=fingerprint.code_of(*fingerprint.SCORING),
            limit=self.settings.limit,
        )
        with self.settings.store.entry("items", key) as entry:
            if entry.payload is None:
                self.announce(what)
                who = checkpoint or base.digest
                shared = self._answers.pop(who, {})
                self._answers = dict([*self._answers.items(), (who, shared)][-2:])
                entry.payload = evaluate(prepared, model(), shared=shared).to_json()
        return Evaluation.from_json(entry.payload)

    def norm_ratio(self, run: Run, count: int) -> dict[str, float]:
        """Return each changed parameter's norm relative to the base's after `count` edits."""
        with self.settings.store.entry("norm_ratio", run.key(count)) as entry:
            if entry.payload is None:
                entry.payload = run.norm_ratio(count)
        return {name: float(value) for name, value in entry.payload.items()}

    def check(self, run: Run, rule: str) -> None:
        """Check one rule of integrity on this trajectory's editor.

        Raises:
            IntegrityError: the rule is broken.
        """
        key = Store.key(trajectory=run.key(2), rule=rule, code=fingerprint.code_of(*fingerprint.SCORING))
        with self.settings.store.entry("integrity", key) as entry:
            if entry.payload is None:
                self.announce(f"{run.name}: {rule.replace('_', ' ')}")
                entry.payload = integrity.outcome(lambda: self._apply(rule, run))
        integrity.raise_if_broken(entry.payload)

    def check_all(self, run: Run) -> None:
        """Check every rule whose breach makes the editor's numbers meaningless.

        Raises:
            IntegrityError: the first that is broken.
        """
        for rule in integrity.rules_of(run.spec):
            if rule not in integrity.FAILS_ALONE:
                self.check(run, rule)

    def _apply(self, rule: str, run: Run) -> None:
        if isinstance(run, ExternalCheckpoint):
            checkpoint_rules.RULES[rule](run)
        elif isinstance(run, Trajectory):
            if rule == integrity.ZERO_EDITS:
                self._zero_edits(run)
            else:
                trajectory_rules.RULES[rule](run)

    def _zero_edits(self, run: Trajectory) -> None:
        source = run.base.source
        cheap = next(name for name in CHEAP if source.documents.holds(BENCHMARKS[name]))

        def ask(model: nn.Module) -> Evaluation:
            return evaluate(self._prepare(run.base, cheap), model)

        integrity.zero_edits_reproduce_the_baseline(run, lambda: self.baseline(source, cheap), ask)

    def _prepare(self, base: LoadedModel, benchmark: str) -> Prepared:
        key = (base.tokenizer_digest, benchmark)
        if key not in self._prepared:
            row = ALL[benchmark]
            brought = base.source.documents.holds(row) or not row.chat
            documents = base.source.documents if brought else models.SHIPPED
            self._prepared[key] = prepare(row, documents, base.tokenizer, self.settings.limit)
        return self._prepared[key]

    @cached_property
    def of_all_items(self) -> EvaluationSession:
        """The same without a limit of items."""
        return (
            self
            if self.settings.limit is None
            else EvaluationSession(replace(self.settings, limit=None), self.announce)
        )
