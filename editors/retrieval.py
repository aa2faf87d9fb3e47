"""Retrieval, the baseline that changes nothing: the most similar stored edit stands before the question.

The text of an edit, prompt and new answer, is stored. The one whose prompt is most like a question is put before that
question, if it is similar enough:

    p_edited(y | x) = p(y | f, x),     f = argmax_i sim(prompt_i, x), if its similarity reaches the threshold, else none

A method that changes weights should beat this, or it is not worth its weights. Without demonstrations IKE
(`editors/ike/`) is the same with another template; what they share is in `editors/memory/stored_edits.py`.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from editors.core.edit import Edit
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.memory.stored_edits import StoredEditsEditor, StoredEditsHyperparameters
from editors.memory.templates import check_template, fill

FIELDS = ("fact", "target", "query")


class RetrievalHyperparameters(StoredEditsHyperparameters):
    """The baseline's hyperparameters."""

    query: str = Field("{fact} {target}.\n{query}", description="stored edit and question; the answer follows")


class Retrieval(StoredEditsEditor):
    """The most similar edit as text before the question."""

    name: ClassVar[str] = "retrieval"
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = RetrievalHyperparameters
    hyperparameters: RetrievalHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: RetrievalHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        check_template("query", hyperparameters.query, FIELDS)

    def _around(self, edit: Edit) -> tuple[str, str]:
        words = {"fact": edit.text, "target": edit.target_new}
        before, after = (fill(part, words) for part in self.hyperparameters.query.split("{query}"))
        return before, after
