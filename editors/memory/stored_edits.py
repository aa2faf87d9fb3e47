"""Editors that keep edits as text and put the one that is most like a prompt into the model's context.

The stored edit is found by its prompt alone. It depends mostly on names: other questions about an edit's subject often
get the edit too, and then the model has to distinguish them. All other prompts are answered by the base, bit-exact.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import ContextOverflow, MissingTraining, NoEffect, StateMismatch
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.memory.encoders import HiddenStates, SentenceTransformers
from editors.memory.in_context_model import InContextModel, PromptContext, prefix_ids, suffix_ids
from editors.memory.memory_model import Tokens
from editors.memory.prefixed_model import PrefixedModel
from editors.memory.scope import ScopeText, classifier_text
from editors.memory.similarity import Encoded, Similarity, TfIdf
from editors.memory.string_tensors import pack, unpack
from editors.models.tokens import encode

MEMORY = ("texts", "lengths")
POOL = ("pool", "pool_lengths")


class StoredEditsHyperparameters(BaseHyperparameters):
    """Hyperparameters of methods that find a stored edit by its text."""

    threshold: float = Field(0.65, ge=-1, le=1, description="least similarity at which a stored edit is used")
    encoder: str = Field(
        "tfidf",
        description="how similarity is computed: tfidf, self (hidden states), a sentence-transformers model",
    )
    scope_text: ScopeText = Field("last_segment", description="part of a prompt to compare with stored edits, or full")
    answer_room: int = Field(32, ge=1, description="tokens of the context kept free for the answer")


class StoredEditsEditor(Editor):
    """Stored edits, and the model that reads the one for a prompt. A subclass says what the model reads."""

    kind: ClassVar[Kind] = "prompt"
    takes_batches: ClassVar[bool] = True
    hyperparameters: StoredEditsHyperparameters
    _pool_is_for: ClassVar[str] = "the weights of words"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: StoredEditsHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self._pool: list[Edit] | None = None
        self._memorized: list[Edit] = []
        self._dropped = 0
        self._in_context_model = InContextModel(model, self._route)

    @abstractmethod
    def _around(self, edit: Edit) -> tuple[str, str]:
        """What the model reads right before a prompt, and right after it."""

    def _shown(self, entry: int) -> list[str]:  # noqa: ARG002 - most show nothing
        """Texts before that, the farthest first; they are dropped where the context is too short."""
        return []

    @property
    def _needs_pool(self) -> bool:
        """Whether other edits are needed."""
        return self.hyperparameters.encoder == "tfidf"

    @property
    def model(self) -> PreTrainedModel:
        """The base model with the memory."""
        return self._in_context_model  # type: ignore[return-value]  # it has the methods that evaluation uses

    def diagnostics(self) -> dict[str, float]:
        """Numbers about the last `apply`; `dropped_since`: texts dropped from prompts since then."""
        numbers = super().diagnostics()
        return numbers | {"dropped_since": float(self._dropped)} if numbers else numbers

    def _prepare(self) -> None:
        if self._pool is None:
            self._pool = list(self.resources.training or ())
        if not self._pool and self._needs_pool:
            raise MissingTraining(f"{self.name} takes {self._pool_is_for} from other edits; give training=<edits>")
        self._similarity = self._make_similarity(self._pool)

    def _make_similarity(self, pool: Sequence[Edit]) -> Similarity:
        encoder = self.hyperparameters.encoder
        if encoder == "tfidf":
            texts = (
                text for edit in pool for text in (edit.text, *edit.rephrases, *(near for near, _ in edit.neighbors))
            )
            return TfIdf(list(dict.fromkeys(texts)))
        return Encoded(
            HiddenStates(self._model, self.tokenizer, [0]) if encoder == "self" else SentenceTransformers(encoder)
        )

    def _prepared_tensors(self) -> dict[str, Tensor]:
        return _packed(self._pool or (), POOL)

    def _load_prepared(self, tensors: Mapping[str, Tensor]) -> None:
        self._pool = self._edits(tensors, POOL)

    def _edit(self, edits: Sequence[Edit]) -> None:
        before = self._memorized
        self._memorized = before + [_bare(edit) for edit in edits]
        try:
            for number, edit in enumerate(edits, start=len(before)):
                self._check_routing(edit, number)
        except (NoEffect, ContextOverflow):
            self._memorized = before
            raise
        self._dropped = 0

    def _check_routing(self, edit: Edit, number: int) -> None:
        """Check that an edit's own prompt is answered with this edit, and record the numbers.

        Raises:
            NoEffect: It is not.
            ContextOverflow: The new fact and the prompt do not fit into the model's context.
        """
        tokens = tuple(encode(self.tokenizer, edit.text))
        hit = self._nearest(tokens)
        if hit is None or self._memorized[hit[0]].text != edit.text:  # of two answers to one prompt the later counts
            raise NoEffect(
                f"{self.name}: the prompt {edit.text!r} of edit {number} would be answered without it or with another "
                f"edit: none is similar by the threshold of {self.hyperparameters.threshold}; the memory is unchanged"
            )
        _, dropped = self._context_of(tokens, hit[0])
        self._diagnostics = {
            "entries": float(len(self._memorized)),
            "similarity": hit[1],
            "demonstrations": float(len(self._shown(hit[0]))),
            "dropped": float(dropped),
        }

    def _route(self, contexts: Sequence[Tokens]) -> list[PromptContext | None]:
        if not self._memorized:
            return [None] * len(contexts)
        self.prepare()
        routes: list[PromptContext | None] = []
        for tokens in contexts:
            hit = self._nearest(tokens)
            in_context, dropped = (None, 0) if hit is None else self._context_of(tokens, hit[0])
            routes.append(in_context)
            self._dropped += dropped
        return routes

    def _nearest(self, tokens: Tokens) -> tuple[int, float] | None:
        """The edit to put before a prompt, of equally near ones the latest, and its similarity."""
        text = str(self.tokenizer.decode([*tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False))
        stored = [classifier_text(edit.text, self.hyperparameters.scope_text) for edit in self._memorized]
        similarities = self._similarity(classifier_text(text, self.hyperparameters.scope_text), stored)
        best = max(range(len(stored)), key=lambda entry: (similarities[entry], entry))
        return (best, similarities[best]) if similarities[best] >= self.hyperparameters.threshold else None

    def _context_of(self, tokens: Tokens, entry: int) -> tuple[PromptContext, int]:
        """The context of a prompt, and how many of the texts before it were dropped.

        Raises:
            ContextOverflow: The prompt does not fit even without them.
        """
        before, after = self._around(self._memorized[entry])
        suffix = suffix_ids(self.tokenizer, after) if after else ()
        shown = self._shown(entry)
        bos = self.tokenizer.bos_token_id
        for dropped in range(len(shown) + 1):
            prefix = prefix_ids(self.tokenizer, "".join(shown[dropped:]) + before)
            in_context = PromptContext(
                PrefixedModel(self._model, prefix, entry, bos if prefix and prefix[0] == bos else None), suffix
            )
            own = len(tokens) - (tokens[:1] == (bos,) == prefix[:1])  # two BOS would be read as one
            needed = own + len(suffix) + self.hyperparameters.answer_room
            if needed <= in_context.before.remaining_context:
                break
        in_context.before.check_fits(needed)
        return in_context, dropped

    def _memory(self) -> dict[str, Tensor]:
        return _packed(self._memorized, MEMORY) if self._memorized else {}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        if memory:
            self._edits(memory, MEMORY)

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._memorized = self._edits(memory, MEMORY) if memory else []
        self._dropped = 0

    def _edits(self, tensors: Mapping[str, Tensor], names: tuple[str, str]) -> list[Edit]:
        """The edits that were packed.

        Raises:
            StateMismatch: The tensors are not packed edits.
        """
        if set(tensors) != set(names):
            kept, given = ", ".join(names), ", ".join(tensors) or "none"
            raise StateMismatch(f"{self.name} keeps its edits as {kept}; there are {given}")
        try:
            return [Edit.from_dict(json.loads(text)) for text in unpack(*(tensors[name] for name in names))]
        except (ValueError, TypeError) as error:
            raise StateMismatch(f"{self.name}'s memory contains something that is not an edit: {error}") from None


def _bare(edit: Edit) -> Edit:
    """The part of an edit that is stored: its rephrases and neighbors are test data."""
    return replace(edit, target_true="", rephrases=(), neighbors=())


def _packed(edits: Sequence[Edit], names: tuple[str, str]) -> dict[str, Tensor]:
    return dict(zip(names, pack([json.dumps(edit.to_dict()) for edit in edits]), strict=True))
