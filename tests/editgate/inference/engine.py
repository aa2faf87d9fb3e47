"""Forward passes that compute nothing twice, for plain causal language models in memory.

lm-eval's own model class runs every option of a question through the whole prompt again, projects every
position to the vocabulary, and generates in fixed batches. Here the prefix that many prompts share is run
once and its keys and values are reused; the options of one question stand side by side in one row, each
blind to the others; only positions that are read are projected; and finished generations leave the batch.
The numbers are the same up to rounding.

Shapes: B rows, P prefix tokens, Q new tokens a row, K = P + Q keys, D hidden size, V vocabulary, N reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from editgate.compat.transformers import Cache, cache_argument
from editgate.errors import NonFiniteModel
from editgate.inference.kv_cache import PreallocatedCacheLayer
from editgate.inference.prefix_groups import PASS_COST, Row, packed_mask, pad, shared_prefixes
from editgate.inference.tokenize import Pair, Tokens
from editors.core.progress import tell

Stop = Callable[[Sequence[int]], bool]  # whether this generation, so far, is finished
T = TypeVar("T")

STEP_COST = 64  # tokens: what one more decoding step costs, as `PASS_COST`
MAX_KEYS = 2**15  # keys of one batch in one layer
MAX_LOGITS = 2**24  # logits in memory at once, N times V: 64 MiB in float32


class Engine:
    """Scores and generates with one model.

    Args:
        model: a transformers causal language model with a plain body and head (`select_backend.runs_on_engine`).
        name: what error messages call the work at hand, such as the benchmark.
        max_tokens: new tokens per forward pass; 2,048 on a CPU (its caches are small), 4,096 elsewhere.
    """

    def __init__(self, model: nn.Module, name: str, max_tokens: int | None = None) -> None:
        untyped: Any = model  # transformers' classes carry no types that mypy can follow
        self.body: nn.Module = untyped.base_model
        self.head: nn.Module = untyped.get_output_embeddings()
        self.cache_argument = cache_argument(self.body.forward)
        self.device: torch.device = untyped.device
        self.dtype: torch.dtype = next(self.body.parameters()).dtype
        self.layers = int(untyped.config.get_text_config().num_hidden_layers)
        self.vocabulary = int(untyped.config.get_text_config().vocab_size)
        self.name = name
        self.max_tokens = max_tokens or (2048 if self.device.type == "cpu" else 4096)

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation after its context, and whether greedy decoding writes it.

        Raises:
            NonFiniteModel: a logit that is read is NaN or infinite.
        """
        options: dict[Tokens, list[tuple[int, Tokens]]] = defaultdict(list)
        for index, (context, continuation) in enumerate(pairs):
            options[context].append((index, continuation))
        contexts = sorted(options)
        total, misses, done = np.zeros(len(pairs)), np.zeros(len(pairs)), 0
        for group in shared_prefixes(contexts):
            members = contexts[group.start : group.stop]
            prefix = self._run_prefix(members[0][: group.prefix])
            rows = [Row.pack(context, group.prefix, options[context]) for context in members]
            rows.sort(key=lambda row: -len(row.tokens))
            sizes = [len(row.tokens) for row in rows]
            for batch in self._batches(rows, sizes, group.prefix, self.max_tokens):
                requests, values, hits = self._score_rows(batch, prefix)
                np.add.at(total, requests, values)
                np.add.at(misses, requests, ~hits)
                done += len(batch)
                tell("prompt", done, len(contexts))
        return [(float(value), not missed) for value, missed in zip(total, misses, strict=True)]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Tokens], limits: Sequence[int], stop: Stop) -> list[list[int]]:
        """Return greedy continuations, each cut after its limit or where `stop` says that it is finished.

        Raises:
            NonFiniteModel: a logit is NaN or infinite.
        """
        texts: list[list[int]] = [[] for _ in prompts]
        order, done = sorted(range(len(prompts)), key=prompts.__getitem__), 0
        split_cost = PASS_COST + STEP_COST * max(limits, default=0)
        for group in shared_prefixes([prompts[i] for i in order], split_cost):
            members = sorted(order[group.start : group.stop], key=lambda i: -len(prompts[i]))
            prefix = self._run_prefix(prompts[members[0]][: group.prefix])
            more = group.prefix + max(limits[i] for i in members)
            sizes = [len(prompts[i]) - group.prefix for i in members]
            for batch in self._batches(members, sizes, more, 4 * self.max_tokens):
                rows = [Row.pack(prompts[i], group.prefix) for i in batch]
                generated = self._generate_rows(rows, [limits[i] for i in batch], prefix, stop)
                for i, text in zip(batch, generated, strict=True):
                    texts[i] = text
                done += len(batch)
                tell("prompt", done, len(prompts))
        return texts

    def _batches(self, rows: Sequence[T], sizes: Sequence[int], more: int, most: int) -> Iterator[Sequence[T]]:
        """Yield batches of rows, longest first: at most `most` new tokens; `MAX_KEYS` keys, `more` besides for each."""
        start = 0
        while start < len(rows):
            size = max(1, sizes[start])
            stop = start + max(1, min(most // size, MAX_KEYS // (size + more)))
            yield rows[start:stop]
            start = stop

    def _run_prefix(self, tokens: Tokens) -> list[PreallocatedCacheLayer]:
        """Return keys and values of the tokens, one row; an empty list for no tokens."""
        if not tokens:
            return []
        layers = [PreallocatedCacheLayer(len(tokens)) for _ in range(self.layers)]
        ids, positions, segments = pad([Row.pack(tokens, 0)], self.device)
        self._forward(ids, positions, packed_mask(segments, 0), layers)
        return layers

    def _score_rows(
        self, rows: Sequence[Row], prefix: Sequence[PreallocatedCacheLayer]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return for every read of these rows: the request, the token's log-probability, whether it is the best."""
        ids, positions, segments = pad(rows, self.device)
        width = ids.shape[1]
        layers = [layer.repeated(len(rows), width) for layer in prefix]
        hidden = self._forward(ids, positions, packed_mask(segments, prefix[0].used if prefix else 0), layers)
        reads = np.array([(r * width + column, token, request)
                          for r, row in enumerate(rows) for column, token, request in row.reads])  # fmt: skip
        columns, inverse = np.unique(reads[:, 0], return_inverse=True)
        states = hidden.flatten(0, 1)[torch.from_numpy(columns).to(self.device)]  # [N, D]
        values, hits = np.empty(len(reads)), np.empty(len(reads), dtype=bool)
        step = max(1, MAX_LOGITS // self.vocabulary)
        for first in range(0, len(columns), step):
            inside = (inverse >= first) & (inverse < first + step)
            where = torch.from_numpy(inverse[inside] - first).to(self.device)
            tokens = torch.from_numpy(reads[inside, 1]).to(self.device)
            logits = self.head(states[first : first + step]).float()  # [at most step, V]
            values[inside] = (logits[where, tokens] - logits.logsumexp(-1)[where]).cpu().numpy()
            hits[inside] = (logits.argmax(-1)[where] == tokens).cpu().numpy()
        self._require_finite(bool(np.isfinite(values).all()))
        return reads[:, 2], values, hits

    def _generate_rows(
        self, rows: Sequence[Row], limits: Sequence[int], prefix: Sequence[PreallocatedCacheLayer], stop: Stop
    ) -> list[list[int]]:
        """Return greedy continuations of one batch; rows leave it when finished, a quarter at a time."""
        texts: list[list[int]] = [[] for _ in rows]
        # 1) Run the prompts [B, Q] after the prefix; `visible` [B, K] says which keys are no padding.
        ids, positions, segments = pad(rows, self.device)
        capacity = ids.shape[1] + max(limits)
        layers = [layer.repeated(len(rows), capacity) for layer in prefix]
        layers = layers or [PreallocatedCacheLayer(capacity) for _ in range(self.layers)]
        past = prefix[0].used if prefix else 0
        hidden = self._forward(ids, positions, packed_mask(segments, past), layers)
        visible = torch.cat([segments.new_ones(len(rows), past), segments + 1], dim=1).bool()
        lengths, running = visible.sum(1), list(range(len(rows)))
        state = hidden[torch.arange(len(rows), device=self.device), lengths - past - 1]  # [B, D]
        unfinished = set(running)
        while True:
            # 2) Append the best next token to each text.
            best, token = self.head(state).float().max(-1)
            self._require_finite(bool(best.isfinite().all()))
            for row, new in zip(running, token.tolist(), strict=True):
                if row in unfinished:
                    texts[row].append(new)
                    if len(texts[row]) >= limits[row] or stop(texts[row]):
                        unfinished.remove(row)
            if not unfinished:
                return texts
            # 3) Drop finished rows once they are a quarter of the batch: dropping copies the cache.
            if len(unfinished) <= 0.75 * len(running):
                kept = torch.tensor([i for i, row in enumerate(running) if row in unfinished], device=self.device)
                running = [row for row in running if row in unfinished]
                token, visible, lengths = token[kept], visible[kept], lengths[kept]
                for layer in layers:
                    layer.select_rows(kept)
            # 4) Run the new tokens [B, 1].
            visible = torch.cat([visible, visible.new_ones(len(running), 1)], dim=1)
            state = self._forward(token[:, None], lengths[:, None], visible[:, None], layers)[:, -1]
            lengths = lengths + 1

    def _forward(
        self, ids: Tensor, positions: Tensor, allowed: Tensor, layers: Sequence[PreallocatedCacheLayer]
    ) -> Tensor:
        """Return hidden states [B, Q, D] of ids [B, Q]; `allowed` [B, Q, K] says which key each query may see."""
        mask = torch.zeros(allowed.shape, dtype=self.dtype, device=self.device)
        mask.masked_fill_(~allowed, torch.finfo(self.dtype).min)
        cache = {self.cache_argument: Cache(layers=list(layers)) if layers else None}
        output = self.body(
            input_ids=ids, position_ids=positions, attention_mask=mask[:, None], use_cache=bool(layers), **cache
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _require_finite(self, finite: bool) -> None:  # noqa: FBT001 - reads as the sentence it is
        if not finite:
            raise NonFiniteModel(
                f"{self.name}: the model's logits are NaN or infinite, so no score means anything. "
                "Look for the edit that broke it with `weight_changes.assert_finite`."
            )
