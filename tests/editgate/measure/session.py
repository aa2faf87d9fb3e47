"""One process's models, trajectories and numbers: each is computed once and kept in the store."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from torch import nn

from editgate.cache import fingerprint
from editgate.cache.environment import conditions
from editgate.cache.store import Store, form_of
from editgate.errors import BaselineModified
from editgate.inference.select_backend import backend
from editgate.inference.side_by_side import is_small
from editgate.inputs import covariance_texts, edit_lists, models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import LoadedModel, ModelSource
from editgate.measure import integrity
from editgate.measure.evaluate import Known, evaluate, judged_by_lm_eval
from editgate.measure.external_checkpoint import ExternalCheckpoint, ExternalCheckpointSpec
from editgate.measure.integrity import checkpoint_rules, trajectory_rules
from editgate.measure.items import Evaluation
from editgate.measure.model_under_test import Run
from editgate.measure.prepare import Prepared, count, prepare
from editgate.measure.probes import prepare_probe
from editgate.measure.threads import single_threaded
from editgate.measure.time_spent import spending
from editgate.measure.trajectory import Trajectory
from editgate.measure.tried_once import TriedOnce
from editgate.options import devices
from editgate.options.settings import Settings

Block = tuple[int, int]
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
        self._prepared: dict[tuple[str, str, Block | None], Prepared] = {}
        self._baselines: dict[tuple[str, str, Block | None], Evaluation] = {}  # each is read once for every N
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._tried = TriedOnce()
        self._corpora: dict[str, Sequence[str]] = {}
        self.settings.store.announce = self.announce
        self._answers: dict[str, Known] = {}  # by the two models that were asked last: a baseline and a checkpoint

    def model(self, source: ModelSource) -> LoadedModel:
        """Return the unedited model, loaded once."""
        if source.name not in self._loaded:
            if self._holds_large_models:  # two would not fit where one does, nor would the copies that are edited
                self._let_go()
            self.announce(f"loading {source.name}")
            with spending("loading models"), self._tried.trying(("model", source.name)):
                device = devices.of_this_process(self.settings.device)
                dtype, max_memory = self.settings.dtype, self.settings.max_memory
                loaded = models.load(source, device=device, dtype=dtype, max_memory=max_memory)
            self._loaded[source.name] = replace(loaded, source=replace(source, corpus=partial(self._corpus, loaded)))
        return self._loaded[source.name]

    def _corpus(self, base: LoadedModel) -> Sequence[str]:
        """The texts for covariances: a shipped model's are all read, they were made for it."""
        source = base.source
        if source.name not in self._corpora:
            with self._tried.trying(("corpus", source.name)):
                texts = source.corpus()
                if not source.miniature:
                    texts = covariance_texts.at_most(texts, base.tokenizer, self.settings.covariance_tokens)
                self._corpora[source.name] = texts
        return self._corpora[source.name]

    def _let_go(self) -> None:
        """Forget models and tokenizers, and what holds them; each is loaded again when it is asked for."""
        self._loaded, self._runs, self._answers, self._prepared = {}, {}, {}, {}
        gc.collect()

    @property
    def _holds_large_models(self) -> bool:
        return not all(is_small(loaded.model) for loaded in self._loaded.values())

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

    def items(self, source: ModelSource, benchmark: str) -> int:
        """Return how many items are asked at most in blocks: those of `--limit`, else all and the reserve."""
        if (source.name, benchmark) not in self._counts:
            row = self.settings.benchmarks[benchmark]
            with self._tried.trying(("number of documents", source.name, benchmark)):
                limit = sys.maxsize if self.settings.limit is None else self.settings.limit
                self._counts[source.name, benchmark] = count(row, source.documents_of(row), limit)
        return self._counts[source.name, benchmark]

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
        base: LoadedModel,
        benchmark: str,
        checkpoint: str | None,
        model: Callable[[], object],
        *,
        block: Block | None,
    ) -> Evaluation:
        """The items of a model, asked only if they are not in the store; `checkpoint` is None for the unedited one."""
        prepared = self.prepared(base, benchmark, block)
        key = self._items_key(base, prepared, checkpoint, block)
        with self.settings.store.entry("items", key, Evaluation.from_json) as entry:
            if entry.payload is None:
                self.announce(what)
                with spending(f"asking {benchmark}"), single_threaded(base):
                    if checkpoint is None and prepared.completions:
                        answers = [text for text, _ in self._written(base, prepared)]
                        evaluation = judged_by_lm_eval(prepared, answers)
                    else:
                        evaluation = evaluate(prepared, model(), **self._shared(base, prepared, checkpoint, block))
                entry.payload = evaluation.to_json()
        return Evaluation.from_json(entry.payload)

    def has_items(
        self, base: LoadedModel, benchmark: str, checkpoint: str | None = None, block: Block | None = None
    ) -> bool:
        """Return whether the store has the items of a model; of the unedited one without a checkpoint."""
        key = self._items_key(base, self.prepared(base, benchmark, block), checkpoint, block)
        return self.settings.store.path("items", key, "json").exists()

    def has_checked(self, run: Run, rule: str) -> bool:
        """Return whether the store knows if a rule holds."""
        return self.settings.store.path("integrity", self._rule_key(run, rule), "json").exists()

    def _items_key(
        self, base: LoadedModel, prepared: Prepared, checkpoint: str | None, block: Block | None = None
    ) -> str:
        return Store.key(
            base=conditions(base),
            checkpoint=checkpoint,
            prompts=prepared.digest,
            code=fingerprint.code_of(*fingerprint.SCORING),
            limit=block or self.settings.limit,
        )

    def _rule_key(self, run: Run, rule: str) -> str:
        size = 2 * run.spec.rule_size
        return Store.key(trajectory=run.key(size), rule=rule, code=fingerprint.code_of(*fingerprint.SCORING))

    def _shared(
        self, base: LoadedModel, prepared: Prepared, checkpoint: str | None, block: Block | None
    ) -> dict[str, Any]:
        """Return what `evaluate` need not ask again: answers of this model, and drafts of what it may write."""
        if prepared.benchmark.probe:
            return {"base": base.model}
        if prepared.completions:
            return {"drafts": [tuple(tokens) for _, tokens in self._written(base, prepared)]}
        who = checkpoint or base.digest
        known = self._answers.pop(who, {})
        self._answers = dict([*self._answers.items(), (who, known)][-2:])
        row = prepared.benchmark
        same = (each for each in BENCHMARKS.values() if each.documents_folder == row.documents_folder)
        siblings = [] if row.added else [each.name for each in same if each is not row]
        return {"known": known, "siblings": [self.prepared(base, name, block) for name in siblings]}

    def _written(self, base: LoadedModel, prepared: Prepared) -> list[tuple[str, list[int]]]:
        """Return text and tokens of what the unedited model writes: its answers, and drafts of the edited model's."""
        key = Store.key(
            base=conditions(base), prompts=prepared.digest, code=fingerprint.code_of(*fingerprint.INFERENCE)
        )
        with self.settings.store.entry("written", key, form_of(list[tuple[str, list[int]]])) as entry:
            if entry.payload is None:
                lm = backend(base.model, prepared.tokenizer, prepared.benchmark.name)
                entry.payload = [(each.text, each.tokens) for each in lm.generate(prepared.completions)]
        return [(text, tokens) for text, tokens in entry.payload]

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
        if isinstance(run, ExternalCheckpoint):
            checkpoint_rules.RULES[rule](run)
        elif isinstance(run, Trajectory):
            if rule == integrity.ZERO_EDITS:
                self._zero_edits(run)
            else:
                trajectory_rules.RULES[rule](run)

    def _zero_edits(self, run: Trajectory) -> None:
        source = run.base.source
        cheap = cheap_benchmark(self.settings, source)

        def ask(model: nn.Module) -> Evaluation:
            with single_threaded(run.base):  # as the baseline was asked: a probe shows the rounding of other threads
                return evaluate(self.prepared(run.base, cheap), model, base=run.base.model)

        integrity.zero_edits_reproduce_the_baseline(run, lambda: self.baseline(source, cheap), ask)

    def prepared(self, base: LoadedModel, benchmark: str, block: Block | None = None) -> Prepared:
        """Return what a model is asked, tokenized once."""
        key = (base.tokenizer_digest, benchmark, block)
        if key not in self._prepared:
            row = self.settings.benchmarks[benchmark]
            start, end = block or (0, self.settings.limit)
            with spending("reading questions"), self._tried.trying(("documents", base.tokenizer_digest, benchmark)):
                if row.probe:
                    self._prepared[key] = prepare_probe(row, base.tokenizer, end)
                else:
                    documents = base.source.documents_of(row)
                    self._prepared[key] = prepare(row, documents, base.tokenizer, end, after=start)
        return self._prepared[key]

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
