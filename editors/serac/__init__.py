"""SERAC: Memory-Based Model Editing at Scale (Mitchell et al., ICML 2022, arXiv:2206.06520).

Edits are stored as text; the model is not changed. A scope classifier compares a query q with every stored edit. If the
nearest one is near enough, a counterfactual model reads that edit and then the query; otherwise the base answers:

    p(y | q) = p_counterfactual(y | edit*, q)  if exp(-|g(edit*) - g(q)|²) > 1/2,   else  p_base(y | q)

Both parts are trained once, before the first edit, on other edits: the classifier by balanced binary cross-entropy on
rephrases of an edit's fact against other facts, the counterfactual model by the likelihood of the edit's answer.

Two things differ from the paper, so that no other pretrained model is needed. g is not DistilBERT, but a linear map of
the language model's own hidden states, averaged over the query's tokens. And the counterfactual model is a copy of the
base with low-rank adapters. `encoder` and `counterfactual` can name other models. The classifier reads the last
sentence of the prompt only (in the authors' code also the answer).

EasyEdit does not choose: it mixes both models' probabilities by the similarity, out of scope too, and adds a small
number to each, so that no answer is exactly the base's. A subclass beside the golden tests does so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editors.core import model_copies
from editors.core.edit import Edit
from editors.core.editor import Editor, Kind
from editors.core.errors import MissingCorpus, MissingTraining, NoEffect, NonFiniteEdit, StateMismatch
from editors.core.hyperparameters import BaseHyperparameters
from editors.core.resources import EditorResources
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.memory.encoders import Encoder, HiddenStates, SentenceTransformers
from editors.memory.memory_model import Tokens
from editors.memory.prefixed_model import PrefixedModel
from editors.memory.scope import Scope, ScopeText, classifier_text
from editors.memory.scope_training import examples, train_scope, wordings_of
from editors.memory.string_tensors import pack, unpack
from editors.models.architecture import Architecture
from editors.models.tokens import encode
from editors.serac.counterfactual import attach, load_auxiliary_model, prefix_of, train_counterfactual
from editors.serac.routed_model import THRESHOLD, RoutedModel, ScopeMatch

MEMORY = ("texts", "lengths", "points")


class SeracHyperparameters(BaseHyperparameters):
    """SERAC's hyperparameters. The authors' `cls_name` and `small_name` have plain names here.

    Their weights of the two losses, `cloc` and `cedit`, have no counterpart: the losses share no parameter, and Adam
    is invariant to a constant factor.
    """

    encoder: str = Field("self", description="what the classifier compares by: self, or a sentence-transformers model")
    encoder_layers: tuple[int, ...] | None = Field(
        None, min_length=1, description="blocks whose entering states are averaged; 0 the embeddings, none: 0 and half"
    )
    scope_text: ScopeText = Field("last_segment", description="the part of a query that the classifier reads, or full")
    scope_size: int = Field(128, ge=1, description="width of the space in which texts are compared")
    scope_steps: int = Field(400, ge=0, description="Adam steps on the classifier")
    scope_lr: float = Field(1e-3, gt=0, description="their rate")
    scope_batch: int = Field(64, ge=1, description="edits in such a step")
    counterfactual: str = Field("self", description="answers in scope: self (a copy of the base) or a model's name")
    rank: int = Field(8, ge=1, description="of the additions to the counterfactual model's matrices")
    counterfactual_steps: int = Field(100, ge=0, description="Adam steps on these")
    counterfactual_lr: float = Field(2e-3, gt=0, description="their rate")
    counterfactual_batch: int = Field(16, ge=1, description="edits in such a step")
    separator: str = Field("\n", description="text between edit and query; the authors' is a space")
    answer_end: str = Field(".", description="what ends an answer in the counterfactual model's training")


class Serac(Editor):
    """Semi-parametric editing with a retrieval-augmented counterfactual model."""

    name: ClassVar[str] = "serac"
    kind: ClassVar[Kind] = "wrapper"
    takes_batches: ClassVar[bool] = True
    Hyperparameters: ClassVar[type[BaseHyperparameters]] = SeracHyperparameters
    hyperparameters: SeracHyperparameters

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        hyperparameters: SeracHyperparameters,
        resources: EditorResources | None = None,
    ) -> None:
        super().__init__(model, tokenizer, hyperparameters=hyperparameters, resources=resources)
        self._encoder = self._make_encoder()
        self._special = frozenset(tokenizer.all_special_ids)
        self._trained: dict[str, Tensor] = {}
        self._texts: list[tuple[str, str]] = []  # prompt and target of each edit
        self._points = torch.empty(0, hyperparameters.scope_size)
        self._routed_model = RoutedModel(model, self._match)

    def _make_encoder(self) -> Encoder:
        hparams = self.hyperparameters
        if hparams.encoder != "self":
            return SentenceTransformers(hparams.encoder)
        half = (Architecture(self._model).depth + 1) // 2
        layers = hparams.encoder_layers or (0, half)
        return HiddenStates(self._model, self.tokenizer, sorted(set(layers)))

    @property
    def model(self) -> PreTrainedModel:
        """The base model with the memory."""
        return self._routed_model  # type: ignore[return-value]  # it has the methods that evaluation uses

    def _prepare(self) -> None:
        with torch.inference_mode(mode=False), torch.enable_grad():
            auxiliary, self._reader = self._load_counterfactual()
            if not self._trained:
                self._train(auxiliary)
            self._scope = Scope(self._encoder, self._trained)
            attach(auxiliary, self._trained)
            self._counterfactual = auxiliary

    def _load_counterfactual(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        if self.hyperparameters.counterfactual == "self":
            return model_copies.sharing(self._model), self.tokenizer
        return load_auxiliary_model(self.hyperparameters.counterfactual, self._model, self.tokenizer)

    def _train(self, auxiliary: PreTrainedModel) -> None:
        """Train classifier and counterfactual model.

        Raises:
            MissingTraining: There are no edits to train on.
            MissingCorpus: There are no texts that are unrelated to the edits.
        """
        edits, corpus, scratch = self.resources.training, self.resources.corpus, self.resources.scratch
        if not edits:
            raise MissingTraining("serac trains on other edits first; give training=<edits>")
        if not corpus:
            raise MissingCorpus("serac learns what is out of scope from unrelated texts; give corpus=<texts>")
        hparams = self.hyperparameters
        shown = examples(edits, corpus, lambda text: classifier_text(text, hparams.scope_text))
        self._trained = train_scope(
            self._encoder, shown, size=hparams.scope_size, steps=hparams.scope_steps, lr=hparams.scope_lr,
            batch=hparams.scope_batch, seed=self.seed, scratch=scratch,
        ) | train_counterfactual(
            auxiliary, self._reader, edits, separator=hparams.separator, answer_end=hparams.answer_end,
            rank=hparams.rank, steps=hparams.counterfactual_steps, lr=hparams.counterfactual_lr,
            batch=hparams.counterfactual_batch, seed=self.seed, scratch=scratch,
        )  # fmt: skip

    def _prepared_tensors(self) -> dict[str, Tensor]:
        return dict(self._trained)

    def _load_prepared(self, made: Mapping[str, Tensor]) -> None:
        self._trained = dict(made)

    def _edit(self, edits: Sequence[Edit]) -> None:
        texts = self._texts + [(edit.text, edit.target_new) for edit in edits]
        new = self._scope.embed([self._classifier_text(self._tokens(edit.text)) for edit in edits])
        if not bool(new.isfinite().all()):
            raise NonFiniteEdit("the embedding of an edit is not finite")
        points = torch.cat([self._points, new])
        for number, edit in enumerate(edits, start=len(self._texts)):
            self._check_routing(edit, number, points)
        self._texts, self._points = texts, points
        self._diagnostics["entries"] = float(len(points))

    def _check_routing(self, edit: Edit, number: int, points: Tensor) -> None:
        """Check that an edit's own prompt is routed to it, and count how many of its rephrases are.

        Raises:
            NoEffect: It is not.
        """
        queries = [self._classifier_text(self._tokens(text)) for text in wordings_of(edit)]
        nearest = self._scope.nearest(queries, points)
        hits = [entry == number and similarity > THRESHOLD for entry, similarity in nearest]
        if not hits[0]:
            raise NoEffect(
                f"serac: the prompt {edit.text!r} would be answered by entry {nearest[0][0]} at a similarity of "
                f"{nearest[0][1]:.3f}, not by its own edit {number}; the memory is unchanged"
            )
        self._diagnostics |= {"similarity": nearest[0][1], "hits": sum(hits) / len(hits)}

    def _tokens(self, text: str) -> Tokens:
        return tuple(encode(self.tokenizer, text))

    def _classifier_text(self, tokens: Tokens) -> str:
        """The part of a prompt that the classifier reads."""
        kept = [token for token in tokens if token not in self._special]
        text = self.tokenizer.decode(kept, clean_up_tokenization_spaces=False)
        return classifier_text(str(text), self.hyperparameters.scope_text)

    def _match(self, contexts: Sequence[Tokens]) -> list[ScopeMatch | None]:
        """The nearest edit of each prompt."""
        if not self._texts or not contexts:
            return [None] * len(contexts)
        self.prepare()
        nearest = self._scope.nearest([self._classifier_text(context) for context in contexts], self._points)
        matches: list[ScopeMatch | None] = []
        for entry, similarity in nearest:
            prefix = prefix_of(self._reader, *self._texts[entry], self.hyperparameters.separator)
            bos = self.tokenizer.bos_token_id
            matches.append(ScopeMatch(PrefixedModel(self._counterfactual, tuple(prefix), entry, bos), similarity))
        return matches

    def _memory(self) -> dict[str, Tensor]:
        if not self._texts:
            return {}
        data, lengths = pack([text for pair in self._texts for text in pair])
        return {"texts": data, "lengths": lengths, "points": self._points.clone()}

    def _check_memory(self, memory: Mapping[str, Tensor]) -> None:
        if not memory:
            return
        if set(memory) != set(MEMORY):
            raise StateMismatch(f"serac's memory contains {', '.join(MEMORY)}; the state has {', '.join(memory)}")
        unpack(memory["texts"], memory["lengths"])
        points, count = memory["points"], len(memory["lengths"]) // 2
        wanted = (count, self.hyperparameters.scope_size)
        if tuple(points.shape) != wanted or points.dtype != torch.float32 or len(memory["lengths"]) % 2:
            raise StateMismatch(f"points are {tuple(points.shape)} {points.dtype}; {wanted} float32 fit the texts")

    def _load_memory(self, memory: Mapping[str, Tensor]) -> None:
        texts = unpack(memory["texts"], memory["lengths"]) if memory else []
        self._texts = list(zip(texts[::2], texts[1::2], strict=True))
        self._points = memory["points"].clone() if memory else self._points[:0]
