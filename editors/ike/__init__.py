"""IKE: Can We Edit Factual Knowledge by In-Context Learning? (Zheng et al., EMNLP 2023, arXiv:2305.12740).

No weight changes. The model reads k demonstrations c_1 .. c_k taken from other edits, then the new fact f = (x*, y*),
then the query x, and answers from the context:

    p_edited(y | x) = p(y | c_k, ..., c_1, f, x)

The demonstrations are of the other edits nearest to the new one, the nearest last. Of 32, 4 show that an edited prompt
gets the new answer (copy), 12 that its rephrases do (update), 16 that neighboring prompts do not (retain).

The paper has one edit at a time and no rule for many. Here `policy` says which edit is put before a prompt: `retrieve`
(the nearest stored one, if it is similar enough; every other prompt is answered by the base, bit-exact),
`last`, or `all` (each stored fact is a demonstration of itself). The paper retrieves demonstrations with a
pretrained sentence encoder; `tfidf` needs none, and is also used for routing. It depends mostly on names: other
questions about an edit's subject often get the edit too, and then the model has to distinguish them.

If the context is too long, demonstrations are dropped, the farthest first; the new fact is never dropped. This depends
on the prompt's length and `answer_room` only, so that all answers to one prompt are scored alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.errors import EditError
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.ike.demonstrations import Demonstration, choose, self_copy, words_of
from editors.memory.memory_model import Tokens
from editors.memory.stored_edits import StoredEditsEditor, StoredEditsHyperparameters
from editors.memory.templates import check_template, fill

FIELDS = ("fact", "target", "subject", "query")


class IkeHyperparameters(StoredEditsHyperparameters):
    """IKE's hyperparameters; `k` is the authors' name."""

    k: int = Field(
        32, ge=0, description="demonstrations, in the paper's ratio: an eighth copy, half retain, the rest update"
    )
    demonstration: str = Field(
        "New Fact: {fact} {target}\nPrompt: {query} {answer}\n\n",
        description="one of them; fields: {fact}, {target}, {subject} of its edit, {query}, {answer}",
    )
    query: str = Field(
        "New Fact: {fact} {target}\nPrompt: {query}", description="new fact and query, in any order; the answer follows"
    )
    self_copy: bool = Field(default=True, description="show the new fact as a demonstration of itself, last")
    policy: Literal["retrieve", "last", "all"] = Field(
        "retrieve", description="the stored edit that is put before a prompt"
    )


class Ike(StoredEditsEditor):
    """In-context knowledge editing."""

    name: ClassVar[str] = "ike"
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = IkeHyperparameters
    hyperparameters: IkeHyperparameters
    _pool_is_for: ClassVar[str] = "demonstrations and the weights of words"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: IkeHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        check_template("query", hyperparameters.query, FIELDS)
        check_template("demonstration", hyperparameters.demonstration, (*FIELDS, "answer"))
        self._chosen: dict[Edit, list[Demonstration]] = {}

    @property
    def _needs_pool(self) -> bool:
        return bool(self.hyperparameters.k) or (super()._needs_pool and self.hyperparameters.policy == "retrieve")

    def _load_prepared(self, tensors: Mapping[str, Tensor]) -> None:
        super()._load_prepared(tensors)
        self._chosen.clear()

    def _edit(self, edits: Sequence[Edit]) -> None:
        if nameless := next((edit for edit in edits if edit.subject is None), None):
            for template in (self.hyperparameters.query, self.hyperparameters.demonstration):
                if "{subject}" in template:
                    raise EditError(f"ike: {nameless.text!r} has no subject, which {template!r} shows")
        super()._edit(edits)

    def _nearest(self, tokens: Tokens) -> tuple[int, float] | None:
        if self.hyperparameters.policy != "retrieve":
            return len(self._memorized) - 1, 1.0
        return super()._nearest(tokens)

    def _around(self, edit: Edit) -> tuple[str, str]:
        before, after = (fill(part, words_of(edit)) for part in self.hyperparameters.query.split("{query}"))
        return before, after

    def _shown(self, entry: int) -> list[str]:
        return [shown.text(self.hyperparameters.demonstration) for shown in self._demonstrations(entry)]

    def _demonstrations(self, entry: int) -> list[Demonstration]:
        """The demonstrations before an edit's query, the farthest first."""
        edit, hparams = self._memorized[entry], self.hyperparameters
        if hparams.policy == "all":
            return [self_copy(stored) for stored in self._memorized]
        if edit not in self._chosen:
            rank = self._similarity
            self._chosen[edit] = choose(edit, self._pool or (), hparams.k, rank, self.seed)
        return self._chosen[edit] + ([self_copy(edit)] if hparams.self_copy else [])
