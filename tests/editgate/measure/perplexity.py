"""Perplexity of a checkpoint on a small fixed sample of the texts that covariances are computed from.

A miniature's sample holds the sentences that it predicts best. It was trained on completions alone: it cannot predict
the questions and options in its corpus, and no edit can cost what it never knew. Any other model was trained on all it
read; its sample is taken evenly from the text, because reading hundreds of sentences to choose some takes minutes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch

from editgate.cache import fingerprint
from editgate.cache.environment import conditions
from editgate.cache.store import Store, form_of
from editgate.errors import EditgateError, EvaluationError, NonFiniteModel
from editgate.inference.backend import Model, backend_for
from editgate.inference.tokenize import PairTokenizer, Tokenizer
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure import remembered
from editgate.measure.model_under_test import Run

CANDIDATES = 512
SAMPLE_SIZE = 64
SHORTEST, LONGEST = 20, 300  # characters of a sentence: below it says little, above it might not fit
END = re.compile(r"(?<=[.!?])\s+|\n+")


def candidates(corpus: Sequence[str], most: int) -> list[str]:
    """Return at most `most` different sentences, evenly spread over the corpus; the same for the same corpus."""
    sentences = dict.fromkeys(sentence.strip() for text in corpus for sentence in END.split(text))
    fit = [sentence for sentence in sentences if SHORTEST <= len(sentence) <= LONGEST]
    step = max(1, len(fit) // most)
    return fit[::step][:most]


def sample(base: UneditedModel, store: Store) -> list[str]:
    """Return at most `SAMPLE_SIZE` sentences of the corpus: of a miniature's those that it predicts best.

    Raises:
        EvaluationError: the model cannot score them.
    """

    def compute() -> list[str]:
        corpus = base.source.corpus()
        if not base.source.miniature:
            return candidates(corpus, SAMPLE_SIZE)
        texts = candidates(corpus, CANDIDATES)
        tokenized = [
            (text, ids)
            for text, ids in zip(texts, PairTokenizer(base.tokenizer).prompts(texts), strict=True)
            if ids[1:]
        ]
        pairs = [(ids[:1], ids[1:]) for _, ids in tokenized]
        scores = backend_for(base.model, base.tokenizer, "perplexity").score(pairs)
        loss = {text: -score / (len(ids) - 1) for (text, ids), (score, _) in zip(tokenized, scores, strict=True)}
        return sorted(loss, key=lambda text: loss[text])[:SAMPLE_SIZE]

    key = Store.key(base=conditions(base), corpus=remembered.corpus_digest(base, store), code=_code())
    return list(store.fetch_json("perplexity_sample", key, compute, form_of(list[str])))


def perplexity(model: Model, tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return exp of the mean negative log-likelihood per token, given each text's first token.

    Raises:
        EvaluationError: no text has two tokens, or one does not fit into the model's context.
        NonFiniteModel: the result is NaN or infinite.
    """
    tokenized = [tokens for tokens in PairTokenizer(tokenizer).prompts(list(texts)) if len(tokens) > 1]
    if not tokenized:
        raise EvaluationError(f"perplexity: none of {len(texts)} texts has two tokens; nothing to predict.")
    scores = backend_for(model, tokenizer, "perplexity").score([(tokens[:1], tokens[1:]) for tokens in tokenized])
    loss = -math.fsum(value for value, _ in scores) / sum(len(tokens) - 1 for tokens in tokenized)
    if not loss < math.log(torch.finfo(torch.float64).max):
        raise NonFiniteModel(f"perplexity: the mean loss per token is {loss}; exp of it is not finite.")
    return math.exp(loss)


def perplexity_at(run: Run, store: Store, count: int) -> float | None:
    """Return exp of the mean cross-entropy per token after `count` edits (0: the base), or None if it has no value.

    A number for the report only: what goes wrong here (an infinite loss, no text at all) decides no verdict.

    Raises:
        EditorError: the method cannot apply an edit.
    """

    def compute() -> list[float]:
        model = run.model_at(count) if count else run.base.model
        try:
            return [perplexity(model, run.base.tokenizer, texts)]
        except EvaluationError:
            return []

    try:
        texts = sample(run.base, store)
    except (EditgateError, OSError):  # no text at all: the corpus is on a hub that cannot be reached, say
        return None
    found = store.fetch_json(
        "perplexity",
        Store.key(checkpoint=run.key(count), texts=texts, code=_code()),
        compute,
        form_of(list[float]),
    )
    return float(found[0]) if found else None


def _code() -> str:
    return fingerprint.code_of(*fingerprint.MEASURE)
