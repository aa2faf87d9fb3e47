"""Perplexity of a text, and how far an edited model's distribution is from the unedited one's, item by item.

Both are in nats a token, with the sign of a score: higher is better. A prompt scores -KL, the mean over its tokens of

    KL(base || edited) = sum over the vocabulary of p_base (log p_base - log p_edited),    of the next token

A line of the text scores the log-likelihood of its tokens, sum over i of log p(t_i | t_<i), divided by the mean number
of tokens of all lines. So the mean over lines is that over all tokens, and exp(-mean) is the text's perplexity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from lm_eval.utils import hash_string
from torch import Tensor

from editgate.compat.lm_eval import max_length
from editgate.errors import NonFiniteModel, TestCannotFail
from editgate.inference.backend import Model, check_fits, eval_mode
from editgate.inference.select_backend import backend
from editgate.inference.tokenize import PairTokenizer, Tokenizer, Tokens
from editgate.inputs.benchmarks import Benchmark
from editgate.inputs.probes import KL
from editgate.measure.items import Evaluation, Item, shorten
from editgate.measure.prepare import Prepared, PreparedItem
from editors.core.progress import tell

LONGEST = 128  # tokens of a line; a longer one is cut
FEWEST = 10  # of fewer lines or prompts nobody knows the spread


def prepare_probe(probe: Benchmark, tokenizer: Tokenizer, limit: int | None) -> Prepared:
    """Tokenize what a probe reads, at most `limit` lines or prompts of it, evenly spread.

    Raises:
        TestCannotFail: there are too few of them.
    """
    words = PairTokenizer(tokenizer)
    texts = words.prompts(list(probe.texts))
    if probe.name != KL:
        texts = [line for tokens in texts for line in _cut(tokens, words.start)]
    texts = [tokens for tokens in texts if len(tokens) > 1]
    count = len(texts) if limit is None else min(limit, len(texts))
    if count < FEWEST:
        what = "prompts" if probe.name == KL else "lines"
        raise TestCannotFail(
            f"{probe.name}: {count} {what} do not show how much they differ, at least {FEWEST} do. Give a longer file"
            f"{'' if limit is None else ', or a larger --limit'}."
        )
    chosen = [texts[i * len(texts) // count] for i in range(count)]
    items = [_item(probe, tokens, tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in chosen]
    digest = hashlib.sha256(repr((probe.name, chosen)).encode()).hexdigest()
    pairs = [(tokens[:1], tokens[1:]) for tokens in chosen]
    return Prepared(probe, tokenizer, {}, {probe.name: items}, pairs, [], digest)


def _cut(tokens: Tokens, first: int) -> list[Tokens]:
    """Cut a line where it is too long; each part begins with the token that texts begin with."""
    own = tokens[1:] if tokens[:1] == (first,) else tokens
    return [(first, *own[start : start + LONGEST]) for start in range(0, len(own), LONGEST)]


def _item(probe: Benchmark, tokens: Tokens, text: str) -> PreparedItem:
    read = hash_string(repr(tokens))
    outline = Item(probe.name, hash_string(text), read, 0.0, "", "", shorten(text))
    return PreparedItem({}, (), outline, (), (), 0.0)


def evaluate_probe(prepared: Prepared, model: Model, base: Model) -> Evaluation:
    """Return the items of a model, edited or not.

    Raises:
        NonFiniteModel: logits are NaN or infinite.
        EvaluationError: a prompt does not fit into the model's context.
    """
    texts = [(*context, *rest) for context, rest in prepared.pairs]
    if prepared.benchmark.name == KL:
        shown = divergences(model, base, prepared.tokenizer, texts)
        scores, routed = [-value for value in shown], 0
    else:
        lm = backend(model, prepared.tokenizer, prepared.benchmark.name)
        found = lm.score(prepared.pairs)
        usual = sum(len(rest) for _, rest in prepared.pairs) / len(prepared.pairs)
        scores, routed = [value / usual for value, _ in found], lm.routed
        shown = [-value / len(rest) for (value, _), (_, rest) in zip(found, prepared.pairs, strict=True)]
    outlines = [item.outline for item in prepared.items[prepared.benchmark.name]]
    items = [
        replace(outline, score=score, answer=f"{value:.3g} nats a token")
        for outline, score, value in zip(outlines, scores, shown, strict=True)
    ]
    return Evaluation(
        prepared.benchmark.name, prepared.benchmark.metric, 0.0, tuple(items), kind="probe", routed=routed
    )


@torch.inference_mode()
def divergences(model: Model, base: Model, tokenizer: Tokenizer, texts: Sequence[Tokens]) -> list[float]:
    """Return KL(base || model) of the next token, the mean over each text's tokens, in nats; of the base itself 0."""
    check_fits(KL, max(map(len, texts)), max_length(base.config, tokenizer))
    found: list[float] = []
    for done, tokens in enumerate(texts, start=1):
        before, after = (_log_probabilities(each, tokens) for each in (base, model))
        found.append(max(0.0, float((before.exp() * (before - after)).sum(-1).mean())))
        tell("prompt", done, len(texts))
    return found


def _log_probabilities(model: Model, tokens: Tokens) -> Tensor:
    """The log-probabilities of the next token after each token, [length, V]."""
    ids = torch.tensor([tokens], device=model.device)
    if isinstance(model, torch.nn.Module):
        with eval_mode(model):
            logits = model(ids).logits
    else:
        logits = model(ids).logits
    if not bool(logits.isfinite().all()):
        raise NonFiniteModel(f"{KL}: the model's logits are NaN or infinite, so no score means anything.")
    return logits[0].float().log_softmax(-1)  # type: ignore[no-any-return]  # transformers' outputs have no types
