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

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import ContextOverflow, EditError, MissingTraining, NoEffect, StateMismatch
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.ike.demonstrations import Demonstration, check_template, choose, fill, self_copy, words_of
from editors.ike.in_context_model import InContextModel, PromptContext, prefix_ids, suffix_ids
from editors.ike.retrieval import Encoded, Similarity, TfIdf
from editors.memory.encoders import HiddenStates, SentenceTransformers
from editors.memory.memory_model import Tokens
from editors.memory.prefixed_model import PrefixedModel
from editors.memory.scope import ScopeText, classifier_text
from editors.memory.string_tensors import pack, unpack
from editors.models.tokens import encode

MEMORY = ("texts", "lengths")
POOL = ("pool", "pool_lengths")
FIELDS = ("fact", "target", "subject", "query")


class IkeHyperparameters(BaseHyperparameters):
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
    threshold: float = Field(0.65, ge=-1, le=1, description="least similarity at which a stored edit is used")
    encoder: str = Field(
        "tfidf",
        description="how similarity is computed: tfidf, self (hidden states), a sentence-transformers model",
    )
    scope_text: ScopeText = Field("last_segment", description="part of a prompt to compare with stored edits, or full")
    answer_room: int = Field(32, ge=1, description="tokens of the context kept free for the answer")


class Ike(Editor):
    """In-context knowledge editing."""

    name: ClassVar[str] = "ike"
    kind: ClassVar[Kind] = "prompt"
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = IkeHyperparameters
    hyperparameters: IkeHyperparameters

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
        self._pool: list[Edit] | None = None
        self._memorized: list[Edit] = []
        self._chosen: dict[Edit, list[Demonstration]] = {}
        self._dropped = 0
        self._in_context_model = InContextModel(model, self._route)

    @property
    def model(self) -> PreTrainedModel:
        """The base model with the memory."""
        return self._in_context_model  # type: ignore[return-value]  # it has the methods that evaluation uses

    def diagnostics(self) -> dict[str, float]:
        """Numbers about the last `apply`; `dropped_since`: demonstrations dropped from prompts since then."""
        numbers = super().diagnostics()
        return numbers | {"dropped_since": float(self._dropped)} if numbers else numbers

    def _prepare(self) -> None:
        if self._pool is None:
            self._pool = list(self.resources.training or ())
        needs_words = self.hyperparameters.encoder == "tfidf" and self.hyperparameters.policy == "retrieve"
        if not self._pool and (self.hyperparameters.k or needs_words):
            raise MissingTraining(
                "ike takes demonstrations and the weights of words from other edits; give training=<edits>"
            )
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
        self._pool = _edits(tensors, POOL)
        self._chosen.clear()

    def _edit(self, edits: Sequence[Edit]) -> None:
        if nameless := next((edit for edit in edits if edit.subject is None), None):
            for template in (self.hyperparameters.query, self.hyperparameters.demonstration):
                if "{subject}" in template:
                    raise EditError(f"ike: {nameless.text!r} has no subject, which {template!r} shows")
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
        if hit is None or self._memorized[hit[0]] != _bare(edit):
            raise NoEffect(
                f"ike: the prompt {edit.text!r} of edit {number} would be answered without it or with another edit: "
                f"none is similar by the threshold of {self.hyperparameters.threshold}; the memory is unchanged"
            )
        _, dropped = self._context_of(tokens, hit[0])
        self._diagnostics = {
            "entries": float(len(self._memorized)),
            "similarity": hit[1],
            "demonstrations": float(len(self._demonstrations(hit[0]))),
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
        last = len(self._memorized) - 1
        if self.hyperparameters.policy != "retrieve":
            return last, 1.0
        text = str(self.tokenizer.decode([*tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False))
        stored = [classifier_text(edit.text, self.hyperparameters.scope_text) for edit in self._memorized]
        similarities = self._similarity(classifier_text(text, self.hyperparameters.scope_text), stored)
        best = max(range(last + 1), key=lambda entry: (similarities[entry], entry))
        return (best, similarities[best]) if similarities[best] >= self.hyperparameters.threshold else None

    def _demonstrations(self, entry: int) -> list[Demonstration]:
        """The demonstrations before an edit's query, the farthest first."""
        edit, hparams = self._memorized[entry], self.hyperparameters
        if hparams.policy == "all":
            return [self_copy(stored) for stored in self._memorized]
        if edit not in self._chosen:
            rank = self._similarity
            self._chosen[edit] = choose(edit, self._pool or (), hparams.k, rank, self.seed)
        return self._chosen[edit] + ([self_copy(edit)] if hparams.self_copy else [])

    def _context_of(self, tokens: Tokens, entry: int) -> tuple[PromptContext, int]:
        """The context of a prompt, and how many demonstrations were dropped.

        Raises:
            ContextOverflow: The prompt does not fit even without demonstrations.
        """
        words = words_of(self._memorized[entry])
        before, after = (fill(part, words) for part in self.hyperparameters.query.split("{query}"))
        suffix = suffix_ids(self.tokenizer, after) if after else ()
        shown = [shown.text(self.hyperparameters.demonstration) for shown in self._demonstrations(entry)]
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
            _edits(memory, MEMORY)

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        self._memorized = _edits(memory, MEMORY) if memory else []
        self._dropped = 0


def _bare(edit: Edit) -> Edit:
    """The part of an edit that is stored: its rephrases and neighbors are test data."""
    return Edit(edit.prompt, edit.subject, edit.target_new, slot=edit.slot)


def _packed(edits: Sequence[Edit], names: tuple[str, str]) -> dict[str, Tensor]:
    return dict(zip(names, pack([json.dumps(edit.to_dict()) for edit in edits]), strict=True))


def _edits(tensors: Mapping[str, Tensor], names: tuple[str, str]) -> list[Edit]:
    """The edits that were passed to `_packed`.

    Raises:
        StateMismatch: The tensors are not those of `_packed`.
    """
    if set(tensors) != set(names):
        raise StateMismatch(f"ike keeps its edits as {', '.join(names)}; there are {', '.join(tensors) or 'none'}")
    try:
        return [Edit.from_dict(json.loads(text)) for text in unpack(*(tensors[name] for name in names))]
    except (ValueError, TypeError) as error:
        raise StateMismatch(f"ike's memory contains something that is not an edit: {error}") from None
