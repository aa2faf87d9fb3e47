"""One process's models, trajectories and numbers: each is computed once and kept in the store."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from editgate import importing
from editgate.cache import fingerprint
from editgate.cache.environment import conditions
from editgate.cache.store import Store, form_of
from editgate.errors import BaselineModified
from editgate.inputs import covariance_texts, edit_lists, models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import MadeTexts, ModelSource
from editgate.inputs.unedited_model import DeferredModel, Identity, LoadedModel, UneditedModel
from editgate.measure import integrity, remembered
from editgate.measure.answered import Answered
from editgate.measure.external_checkpoint import ExternalCheckpoint, ExternalCheckpointSpec
from editgate.measure.items import Evaluation
from editgate.measure.model_under_test import Run
from editgate.measure.questions import Block, Questions
from editgate.measure.threads import single_threaded
from editgate.measure.time_spent import spending
from editgate.measure.trajectory import Trajectory
from editgate.measure.tried_once import TriedOnce
from editgate.options import devices
from editgate.options.settings import Settings
from editors.core.typing import PreTrainedTokenizerBase

if TYPE_CHECKING:
    from torch import nn

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
        self._bases: dict[str, UneditedModel] = {}
        self._baselines: dict[tuple[str, str, Block | None], Evaluation] = {}  # each is read once for every N
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._tried = TriedOnce()
        self.questions = Questions(self.settings, self._tried)
        self._answered = Answered(self.questions, self.settings.store)
        self._corpora: dict[str, Sequence[str]] = {}
        self.settings.store.announce = self.announce

    def model(self, source: ModelSource) -> UneditedModel:
        """Return the unedited model; one that an earlier run loaded from the same files is loaded when it is asked."""
        if source.name not in self._bases:
            chosen, store = self.settings, self.settings.store
            given = source if source.miniature else replace(source, corpus=self._sampled(source))
            key = remembered.identity_key(source, device=chosen.device, dtype=chosen.dtype)
            known = store.load_json("identity", key, form_of(Identity)) if key is not None else None
            if known is None:
                base = self._load(given)
                remembered.remember(store, "identity", key, lambda: base.identity, form_of(Identity))
                self._bases[source.name] = base
            else:
                load, load_tokenizer = partial(self._load, given), partial(self._load_tokenizer, given)
                self._bases[source.name] = DeferredModel(given, load, load_tokenizer, known)
        return self._bases[source.name]

    def _load(self, source: ModelSource) -> LoadedModel:
        importing.what_measures()
        if self._holds_large_models:  # two would not fit where one does, nor would the copies that are edited
            self._let_go(but=source.name)
        self.announce(f"loading {source.name}")
        with spending("loading models"), self._tried.trying(("model", source.name)):
            device = devices.of_this_process(self.settings.device)
            return models.load(source, device=device, dtype=self.settings.dtype, max_memory=self.settings.max_memory)

    def _load_tokenizer(self, source: ModelSource) -> tuple[PreTrainedTokenizerBase, str]:
        importing.what_measures()
        with spending("loading models"), self._tried.trying(("model", source.name)):
            return models.load_tokenizer(source)

    def _sampled(self, source: ModelSource) -> Callable[[], Sequence[str]]:
        """The texts for covariances, so much of them as was asked for; those made for a shipped model are all read."""
        corpus, texts = source.corpus, partial(self._corpus, source)
        if not isinstance(corpus, MadeTexts):
            return texts
        tokens = self.settings.covariance_tokens
        return MadeTexts(
            texts, lambda: f"{tokens} of {corpus.made_from()} by {self.model(source).identity['tokenizer']}"
        )

    def _corpus(self, source: ModelSource) -> Sequence[str]:
        if source.name not in self._corpora:
            with self._tried.trying(("corpus", source.name)):
                tokenizer, tokens = self.model(source).tokenizer, self.settings.covariance_tokens
                self._corpora[source.name] = covariance_texts.at_most(source.corpus(), tokenizer, tokens)
        return self._corpora[source.name]

    def _let_go(self, but: str = "") -> None:
        """Forget models and tokenizers, and what holds them; each is loaded again when it is asked for."""
        self._bases = {name: base for name, base in self._bases.items() if name == but}
        self._runs = {key: run for key, run in self._runs.items() if run.base.source.name == but}
        self.questions.let_go()
        self._answered.let_go()
        gc.collect()

    @property
    def _holds_large_models(self) -> bool:
        loaded = [base.model for base in self._bases.values() if base.in_memory]
        if not loaded:
            return False
        from editgate.inference.side_by_side import is_small  # noqa: PLC0415 - see `importing`

        return not all(map(is_small, loaded))

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
                edits = edit_lists.with_a_second(edits)
                self._runs[key] = Trajectory(
                    editor, base, edits, settings.counts, settings.store, announce=self.announce
                )
        return self._runs[key]

    def baseline(self, source: ModelSource, benchmark: str, block: Block | None = None) -> Evaluation:
        """Return the unedited model's items: all, or those of a block (how many were asked before, and after it).

        Raises:
            EvaluationError: they cannot be had.
        """
        key = (source.name, benchmark, block)
        if key not in self._baselines:
            base = self.model(source)
            what = f"{source.name}: baseline of {benchmark}"
            self._baselines[key] = self._evaluation(what, base, benchmark, None, lambda: base.model, block=block)
        return self._baselines[key]

    def evaluation(self, run: Run, count: int, benchmark: str, block: Block | None = None) -> Evaluation:
        """Return the edited model's items after `count` edits, all or those of a block.

        Raises:
            EvaluationError: they cannot be had.
        """
        what = f"{run.name}: {benchmark} after {count} edit{'' if count == 1 else 's'}"
        return self._evaluation(what, run.base, benchmark, run.key(count), lambda: run.model_at(count), block=block)

    def _evaluation(
        self,
        what: str,
        base: UneditedModel,
        benchmark: str,
        checkpoint: str | None,
        model: Callable[[], object],
        *,
        block: Block | None,
    ) -> Evaluation:
        """The items of a model, asked only if they are not in the store; `checkpoint` is None for the unedited one."""
        key = self._items_key(base, benchmark, checkpoint, block)
        with self.settings.store.entry("items", key, Evaluation.from_json) as entry:
            if entry.payload is None:
                prepared = self.questions.prepared(base, benchmark, block)
                from editgate.measure.evaluate import evaluate, judged_by_lm_eval  # noqa: PLC0415 - see `importing`

                self.announce(what)
                with spending(f"asking {benchmark}"), single_threaded(base):
                    if checkpoint is None and prepared.completions:
                        answers = [text for text, _ in self._answered.written(base, prepared)]
                        evaluation = judged_by_lm_eval(prepared, answers)
                    else:
                        shared = self._answered.shared(base, prepared, checkpoint, block)
                        evaluation = evaluate(prepared, model(), **shared)
                entry.payload = evaluation.to_json()
        return Evaluation.from_json(entry.payload)

    def has_items(
        self, base: UneditedModel, benchmark: str, checkpoint: str | None = None, block: Block | None = None
    ) -> bool:
        """Return whether the store has the items of a model; of the unedited one without a checkpoint."""
        key = self._items_key(base, benchmark, checkpoint, block)
        return self.settings.store.path("items", key, "json").exists()

    def has_checked(self, run: Run, rule: str) -> bool:
        """Return whether the store knows if a rule holds."""
        return self.settings.store.path("integrity", self._rule_key(run, rule), "json").exists()

    def _items_key(
        self, base: UneditedModel, benchmark: str, checkpoint: str | None, block: Block | None = None
    ) -> str:
        return Store.key(
            base=conditions(base),
            checkpoint=checkpoint,
            prompts=self.questions.digest(base, benchmark, block),
            code=fingerprint.code_of(*fingerprint.SCORING),
            limit=block or self.settings.limit,
        )

    def _rule_key(self, run: Run, rule: str) -> str:
        size = 2 * run.spec.rule_size
        return Store.key(trajectory=run.key(size), rule=rule, code=fingerprint.code_of(*fingerprint.SCORING))

    def norm_ratio(self, run: Run, count: int) -> dict[str, float]:
        """Return each changed parameter's norm relative to the base's after `count` edits."""
        with self.settings.store.entry("norm_ratio", run.key(count), form_of(dict[str, float])) as entry:
            if entry.payload is None:
                entry.payload = run.norm_ratio(count)
        return {name: float(value) for name, value in entry.payload.items()}

    def check(self, run: Run, rule: str) -> None:
        """Check one rule of integrity on this trajectory's editor.

        Raises:
            IntegrityError: the rule is broken.
        """
        with self.settings.store.entry("integrity", self._rule_key(run, rule), integrity.check_outcome) as entry:
            if entry.payload is None:
                self.announce(f"{run.name}: {rule.replace('_', ' ')}")
                with spending("checking rules"):
                    entry.payload = integrity.outcome(lambda: self._apply(rule, run))
                if BaselineModified.__name__ in entry.payload:
                    self._let_go()  # what one method spoiled must not be the next one's base
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
        importing.what_measures()
        from editgate.measure.integrity import checkpoint_rules, trajectory_rules  # noqa: PLC0415 - see `importing`

        if isinstance(run, ExternalCheckpoint):
            checkpoint_rules.RULES[rule](run)
        elif isinstance(run, Trajectory):
            if rule == integrity.ZERO_EDITS:
                self._zero_edits(run)
            else:
                trajectory_rules.RULES[rule](run)

    def _zero_edits(self, run: Trajectory) -> None:
        from editgate.measure.evaluate import evaluate  # noqa: PLC0415 - see `importing`

        source = run.base.source
        cheap = cheap_benchmark(self.settings, source)

        def ask(model: nn.Module) -> Evaluation:
            with single_threaded(run.base):  # as the baseline was asked: a probe shows the rounding of other threads
                return evaluate(self.questions.prepared(run.base, cheap), model, base=run.base.model)

        integrity.zero_edits_reproduce_the_baseline(run, lambda: self.baseline(source, cheap), ask)

    @cached_property
    def of_all_items(self) -> EvaluationSession:
        """The same without a limit of items."""
        return (
            self
            if self.settings.limit is None
            else EvaluationSession(replace(self.settings, limit=None), self.announce)
        )


def cheap_benchmark(settings: Settings, source: ModelSource) -> str:
    """Return the benchmark that serves the rule that zero edits reproduce the baseline."""
    known, asked = settings.benchmarks, settings.chosen_benchmarks
    chosen = sorted((name for name in CHEAP if name in asked), key=CHEAP.index) if asked else []
    added = [name for name, row in known.items() if row.added]
    candidates = (known[name] for name in (*chosen, *added, *CHEAP))
    return next(row.name for row in candidates if row.probe or source.documents_of(row).holds(row))
