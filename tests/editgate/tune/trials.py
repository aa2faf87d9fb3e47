"""How good a method's hyperparameters are on one model: single edits, each applied alone, measured and undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import harmonic_mean, mean
from typing import Any

from pydantic import TypeAdapter

from editgate.cache import fingerprint
from editgate.cache.store import Store
from editgate.errors import NonFiniteModel
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure import edit_quality, perplexity
from editgate.measure.editor_setup import EditorSetup
from editors import Edit, Editor, EditorError, NonFiniteEdit

SENTENCES = 16  # of the perplexity probe
Tick = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """One edit with one setting.

    Attributes:
        efficacy: 1 if the edited prompt gives the target, else 0.
        paraphrase: share of rephrasings that do; None without any.
        locality: share of neighbors whose answer stayed; None without any.
        kept: perplexity before over perplexity after, at most 1; None where it was not measured.
    """

    efficacy: float
    paraphrase: float | None
    locality: float | None
    kept: float | None = None


FORM = TypeAdapter(Measured).validate_python


@dataclass(frozen=True)
class Score:
    """Means over edits; `total` is the harmonic mean of those that were measured (as in Meng et al., ICLR 2023)."""

    edits: int
    efficacy: float
    paraphrase: float | None
    locality: float | None
    kept: float | None

    @classmethod
    def of(cls, rows: Sequence[Measured]) -> Score:
        """Return the means of at least one edit."""

        def over(name: str) -> float | None:
            known = [value for value in (getattr(row, name) for row in rows) if value is not None]
            return mean(known) if known else None

        return cls(len(rows), mean(row.efficacy for row in rows), over("paraphrase"), over("locality"), over("kept"))

    @property
    def total(self) -> float:
        """0 if any of them is 0."""
        return harmonic_mean(self._known)

    @property
    def rank(self) -> tuple[float, float]:
        """What settings are compared by: of those whose total is 0, as all may be on few edits, the mean decides."""
        return self.total, mean(self._known)

    @property
    def _known(self) -> list[float]:
        known = [self.efficacy, self.paraphrase, self.locality, self.kept]
        return [value for value in known if value is not None]


@dataclass
class Trials:
    """Tries settings of one method on one model; everything that was measured is kept in the store.

    Attributes:
        spec: the method.
        base: the unedited model.
        edits: in the order in which they are tried.
        store: where what was measured is kept.
        announce: called with what is going on, for people.
    """

    spec: EditorSpec
    base: UneditedModel
    edits: Sequence[Edit]
    store: Store
    announce: Callable[[str], None]

    def score(self, settings: Mapping[str, Any], count: int, *, with_perplexity: bool, tick: Tick) -> Score:
        """Return the score of these hyperparameters over the first `count` edits.

        Raises:
            EditorError: the method does not take them, or cannot apply an edit.
        """
        spec = EditorSpec(self.spec.name, self.spec.target, {**self.spec.settings, **settings})
        setup = EditorSetup(spec, self.base, (), self.store, 0, self.announce)
        lazy: list[Editor] = []
        rows = []
        for edit in self.edits[:count]:
            key = Store.key(
                **setup.conditions,
                edit=edit.to_dict(),
                perplexity=with_perplexity,
                code=fingerprint.code_of(*fingerprint.MEASURE),
            )

            def compute(edit: Edit = edit) -> dict[str, Any]:
                if not lazy:
                    lazy.append(setup.editor()[0])
                return vars(self._measure(lazy[0], edit, with_perplexity=with_perplexity))

            rows.append(FORM(self.store.fetch_json("tuning", key, compute, FORM)))
            tick()
        return Score.of(rows)

    def supply(self, settings: Mapping[str, Any]) -> None:
        """Compute the covariances of all blocks in `settings` by one pass over the corpus, into the store.

        A method that cannot write so many at once computes those of each setting when that is tried.
        """
        spec = EditorSpec(self.spec.name, self.spec.target, {**self.spec.settings, **settings})
        try:
            EditorSetup(spec, self.base, (), self.store, 0, self.announce).supply()
        except EditorError as error:
            self.announce(f"{self.spec.name}: the corpus is read for each setting ({error})")

    def _measure(self, editor: Editor, edit: Edit, *, with_perplexity: bool) -> Measured:
        try:
            editor.apply(edit)
            (row,) = edit_quality.measure(editor.model, self.base.tokenizer, [edit], self._answers)
            kept = None
            if with_perplexity:
                after = perplexity.perplexity(editor.model, self.base.tokenizer, self._sentences)
                kept = min(1.0, self._perplexity / after)
        except (NonFiniteEdit, NonFiniteModel):  # a setting that breaks the model has the worst score, and is no fault
            return Measured(0.0, 0.0, 0.0, 0.0)
        finally:
            editor.undo()
        return Measured(row.efficacy, row.paraphrase, row.locality, kept)

    @cached_property
    def _answers(self) -> edit_quality.Answers:
        return edit_quality.answers(self.base.model, self.base.tokenizer, self.edits)

    @cached_property
    def _sentences(self) -> list[str]:
        return perplexity.sample(self.base, self.store)[:SENTENCES]

    @cached_property
    def _perplexity(self) -> float:
        return perplexity.perplexity(self.base.model, self.base.tokenizer, self._sentences)
