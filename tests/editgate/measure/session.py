"""Where the gate's tests get their numbers: each is computed once and kept in the store."""

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
from editgate.measure import checkpoint_rules, integrity
from editgate.measure.evaluate import Prepared, Shared, evaluate, prepare
from editgate.measure.external_checkpoint import ExternalCheckpoint, ExternalCheckpointSpec
from editgate.measure.items import Evaluation
from editgate.measure.model_under_test import Run
from editgate.measure.threads import SMALL
from editgate.measure.trajectory import Trajectory
from editgate.options.settings import Settings

QUICK = ("toxigen", *BENCHMARKS)  # the first that there is serves the rule that zero edits reproduce the baseline


@dataclass
class EvaluationSession:
    """One process's access to models, trajectories and outcomes.

    Attributes:
        settings: what the run is about.
        announce: told what is going on, for people.
    """

    settings: Settings
    announce: Callable[[str], None]

    def __post_init__(self) -> None:
        self._loaded: dict[str, LoadedModel] = {}
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._baselines: dict[tuple[str, str], Evaluation] = {}  # each is read once for every N
        self._latest: tuple[str, Evaluation] | None = None  # by key: a verdict reads it, then the cell of the verdict
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._answered: dict[str, Shared] = {}  # by the two models that were asked last: a baseline and a checkpoint

    def model(self, source: ModelSource) -> LoadedModel:
        """Return the unedited model, loaded once."""
        if source.name not in self._loaded:
            self._let_go_of_large_models()
            self.announce(f"loading {source.name}")
            self._loaded[source.name] = models.load(source, device=self.settings.device, dtype=self.settings.dtype)
        return self._loaded[source.name]

    def _let_go_of_large_models(self) -> None:
        """Forget them and the copies of them that are being edited: two would not fit where one does."""
        if self._holds_large_models:
            self._loaded, self._runs, self._answered = {}, {}, {}
            gc.collect()

    @property
    def _holds_large_models(self) -> bool:
        return any(loaded.model.num_parameters() >= SMALL for loaded in self._loaded.values())

    def trajectory(self, editor: EditorSpec, source: ModelSource, *, order: int = 0) -> Run:
        """Return the trajectory of this editor on this model; the one before is let go, with its copy of the model.

        `order` is the seed of another order of the run's edits; 0 leaves them in theirs.
        """
        place = (editor.name, source.name, order)
        if place not in self._runs:
            self._runs = {}
            if self._holds_large_models:
                gc.collect()  # some wrappers and their editors hold one another
            self._runs[place] = self._run(editor, source, order)
        return self._runs[place]

    def _run(self, editor: EditorSpec, source: ModelSource, order: int) -> Run:
        base, store = self.model(source), self.settings.store
        edits = edit_lists.ordered(self.settings.edits[source.name], self.settings.counts[-1], order)
        if isinstance(editor, ExternalCheckpointSpec):
            return ExternalCheckpoint(editor, base, edits, store, self.announce)
        return Trajectory(editor, base, edits, self.settings.counts, store, announce=self.announce)

    def baseline(self, source: ModelSource, benchmark: str) -> Evaluation:
        """Return the unedited model's items."""
        place = (source.name, benchmark)
        if place not in self._baselines:
            base = self.model(source)
            key = self._key(base, benchmark)
            what = f"{source.name}: baseline of {benchmark}"
            self._baselines[place] = self._fetch(key, what, base, benchmark, lambda: base.model, who=base.digest)
        return self._baselines[place]

    def evaluation(self, run: Run, count: int, benchmark: str) -> Evaluation:
        """Return the edited model's items after `count` edits."""
        key = self._key(run.base, benchmark, run.key(count))
        if self._latest is None or self._latest[0] != key:
            what = f"{run.name}: {benchmark} after {count} edits"
            found = self._fetch(key, what, run.base, benchmark, lambda: run.model_at(count), who=run.key(count))
            self._latest = (key, found)
        return self._latest[1]

    def growth(self, run: Run, count: int) -> dict[str, float]:
        """Return each changed parameter's growth relative to the base after `count` edits."""
        found = self.settings.store.fetch_json("growth", run.key(count), lambda: run.growth(count))
        return {name: float(value) for name, value in found.items()}

    def check(self, run: Run, rule: str) -> None:
        """Check one rule of integrity on this trajectory's editor.

        Raises:
            IntegrityError: the rule is broken.
        """

        def compute() -> list[str]:
            self.announce(f"{run.name}: {rule.replace('_', ' ')}")
            return integrity.outcome(lambda: self._apply(rule, run))

        key = Store.key(trajectory=run.key(2), rule=rule, code=fingerprint.code_of(*fingerprint.SCORING))
        integrity.raise_if_broken(self.settings.store.fetch_json("integrity", key, compute))

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
                integrity.RULES[rule](run)

    def _zero_edits(self, run: Trajectory) -> None:
        source = run.base.source
        quick = next(name for name in QUICK if source.documents.holds(BENCHMARKS[name]))

        def ask(model: nn.Module) -> Evaluation:
            return evaluate(self._ready(run.base, quick), model)

        integrity.zero_edits_reproduce_the_baseline(run, lambda: self.baseline(source, quick), ask)

    def _fetch(
        self, key: str, what: str, base: LoadedModel, benchmark: str, model: Callable[[], object], *, who: str
    ) -> Evaluation:
        def compute() -> object:
            self.announce(what)
            shared = self._answered.pop(who, {})
            self._answered = dict([*self._answered.items(), (who, shared)][-2:])
            return evaluate(self._ready(base, benchmark), model(), shared=shared).to_json()

        return Evaluation.from_json(self.settings.store.fetch_json("items", key, compute))

    def _key(self, base: LoadedModel, benchmark: str, checkpoint: str | None = None) -> str:
        return Store.key(
            base=conditions(base),
            checkpoint=checkpoint,
            prompts=self._ready(base, benchmark).digest,
            code=fingerprint.code_of(*fingerprint.SCORING),
            limit=self.settings.limit,
        )

    def _ready(self, base: LoadedModel, benchmark: str) -> Prepared:
        place = (base.tokenizer_digest, benchmark)
        if place not in self._prepared:
            row = ALL[benchmark]
            brought = base.source.documents.holds(row) or not row.chat
            documents = base.source.documents if brought else models.SHIPPED
            self._prepared[place] = prepare(row, documents, base.tokenizer, self.settings.limit)
        return self._prepared[place]

    @cached_property
    def of_all_items(self) -> EvaluationSession:
        """The same without a limit of items."""
        return (
            self
            if self.settings.limit is None
            else EvaluationSession(replace(self.settings, limit=None), self.announce)
        )
