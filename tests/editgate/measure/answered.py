"""What models have answered and written in this process, so that nothing is asked twice, and drafts are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from editgate.cache import fingerprint
from editgate.cache.environment import conditions
from editgate.cache.store import Store, form_of
from editgate.inference.backend import backend_for
from editgate.inference.tokenize import Pair
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.questions import Block, Questions

if TYPE_CHECKING:
    from editgate.measure.prepare import Prepared

Known = dict[Pair, tuple[float, bool]]  # what one model has answered


class Answered:
    """One process's memory of answers.

    Args:
        questions: what may be asked.
        store: where what the unedited model writes is kept.
    """

    def __init__(self, questions: Questions, store: Store) -> None:
        self._questions, self._store = questions, store
        self._known: dict[str, Known] = {}  # by the two models that were asked last: a baseline and a checkpoint

    def shared(
        self, base: UneditedModel, prepared: Prepared, checkpoint: str | None, block: Block | None
    ) -> dict[str, Any]:
        """Return what `evaluate` need not ask again: answers of this model, and drafts of what it may write."""
        if prepared.benchmark.probe:
            return {"base": base.model}
        if prepared.completions:
            return {"drafts": [tuple(tokens) for _, tokens in self.written(base, prepared)]}
        who = checkpoint or base.identity["model"]
        known = self._known.pop(who, {})
        self._known = dict([*self._known.items(), (who, known)][-2:])
        row = prepared.benchmark
        same = (each for each in BENCHMARKS.values() if each.documents_folder == row.documents_folder)
        siblings = [] if row.added else [each.name for each in same if each is not row]
        return {"known": known, "siblings": [self._questions.prepared(base, name, block) for name in siblings]}

    def written(self, base: UneditedModel, prepared: Prepared) -> list[tuple[str, list[int]]]:
        """Return text and tokens of what the unedited model writes: its answers, and drafts of the edited model's."""
        key = Store.key(
            base=conditions(base), prompts=prepared.digest, code=fingerprint.code_of(*fingerprint.INFERENCE)
        )
        with self._store.entry("written", key, form_of(list[tuple[str, list[int]]])) as entry:
            if entry.payload is None:
                lm = backend_for(base.model, prepared.tokenizer, prepared.benchmark.name)
                entry.payload = [(each.text, each.tokens) for each in lm.generate(prepared.completions)]
        return [(text, tokens) for text, tokens in entry.payload]

    def let_go(self) -> None:
        """Forget the answers."""
        self._known = {}
