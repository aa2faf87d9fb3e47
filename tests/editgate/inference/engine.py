"""Forward passes that compute nothing twice, for plain causal language models held in memory.

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
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.cache_utils import Cache

from editgate.errors import NonFiniteModel
from editgate.inference.kv_cache import PreallocatedCacheLayer, fast_decode_attention
from editgate.inference.prefix_groups import PASS_COST, shared_prefixes
from editgate.inference.tokenize import Pair, Tokens

Stop = Callable[[Sequence[int]], bool]  # whether this generation, so far, is finished
T = TypeVar("T")

STEP_COST = 64  # what one more step of writing costs, as `PASS_COST`
MOST_KEYS = 2**15  # keys of one batch in one layer
HEAD_ELEMENTS = 2**24  # logits held at once, N times V: 64 MiB in float32
PADDING = -1  # segment of padding; 0 is the context, 1, 2, ... the options


@dataclass(slots=True)
class Row:
    """One context and its options, packed side by side; `tokens` begin after the shared prefix.

    Attributes:
        tokens: the rest of the context, then each option without its last token (what follows is not read).
        positions: place of each token in the text that it belongs to.
        segments: 0 for the context, 1, 2, ... for the options.
        reads: (column, token to be predicted there, index of the request).
    """

    tokens: list[int]
    positions: list[int]
    segments: list[int]
    reads: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def pack(cls, context: Tokens, prefix: int, options: Sequence[tuple[int, Tokens]] = ()) -> Row:
        """Lays out the options, given as (index of the request, tokens)."""
        rest = len(context) - prefix
        row = cls(list(context[prefix:]), list(range(prefix, len(context))), [0] * rest)
        for segment, (request, option) in enumerate(options, start=1):
            first = len(row.tokens)
            row.reads.append((rest - 1, option[0], request))
            row.reads += [(first + i, token, request) for i, token in enumerate(option[1:])]
            row.tokens += option[:-1]
            row.positions += range(len(context), len(context) + len(option) - 1)
            row.segments += [segment] * (len(option) - 1)
        return row


class Engine:
    """Scores and generates with one model.

    Args:
        model: a transformers causal language model with an ordinary body and head (see `lm.runs_on_engine`).
        name: what error messages call the work at hand, such as the benchmark.
        max_tokens: new tokens per forward pass; 2,048 on a CPU (its caches are small), 4,096 elsewhere.
    """

    def __init__(self, model: nn.Module, name: str, max_tokens: int | None = None) -> None:
        untyped: Any = model  # transformers' classes carry no types that mypy can follow
        self.model = untyped
        self.body: nn.Module = untyped.base_model
        self.head: nn.Module = untyped.get_output_embeddings()
        self.device: torch.device = untyped.device
        self.dtype: torch.dtype = next(self.body.parameters()).dtype
        self.layers = int(untyped.config.get_text_config().num_hidden_layers)
        self.vocabulary = int(untyped.config.get_text_config().vocab_size)
        self.name = name
        self.max_tokens = max_tokens or (2048 if self.device.type == "cpu" else 4096)

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding would write it.

        Raises:
            NonFiniteModel: a logit that is read is NaN or infinite.
        """
        options: dict[Tokens, list[tuple[int, Tokens]]] = defaultdict(list)
        for index, (context, continuation) in enumerate(pairs):
            options[context].append((index, continuation))
        contexts = sorted(options)
        total, misses = np.zeros(len(pairs)), np.zeros(len(pairs))
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
        return [(float(value), not missed) for value, missed in zip(total, misses, strict=True)]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Tokens], limits: Sequence[int], stop: Stop) -> list[list[int]]:
        """Greedy continuations, each cut after its limit or where `stop` finds it finished.

        Raises:
            NonFiniteModel: a logit is NaN or infinite.
        """
        texts: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        split_cost = PASS_COST + STEP_COST * max(limits, default=0)
        for group in shared_prefixes([prompts[i] for i in order], split_cost):
            members = sorted(order[group.start : group.stop], key=lambda i: -len(prompts[i]))
            prefix = self._run_prefix(prompts[members[0]][: group.prefix])
            room = group.prefix + max(limits[i] for i in members)
            sizes = [len(prompts[i]) - group.prefix for i in members]
            for batch in self._batches(members, sizes, room, 4 * self.max_tokens):
                rows = [Row.pack(prompts[i], group.prefix) for i in batch]
                with fast_decode_attention(self.model):
                    written = self._generate_rows(rows, [limits[i] for i in batch], prefix, stop)
                for i, text in zip(batch, written, strict=True):
                    texts[i] = text
        return texts

    def _batches(self, rows: Sequence[T], sizes: Sequence[int], room: int, most: int) -> Iterator[Sequence[T]]:
        """Cuts rows, longest first: at most `most` new tokens; `MOST_KEYS` keys, `room` more for each row."""
        start = 0
        while start < len(rows):
            size = max(1, sizes[start])
            stop = start + max(1, min(most // size, MOST_KEYS // (size + room)))
            yield rows[start:stop]
            start = stop

    def _run_prefix(self, tokens: Tokens) -> list[PreallocatedCacheLayer]:
        """Keys and values of the tokens, one row; an empty list for no tokens."""
        if not tokens:
            return []
        layers = [PreallocatedCacheLayer(len(tokens)) for _ in range(self.layers)]
        self._run([Row.pack(tokens, 0)], layers)
        return layers

    def _run(self, rows: Sequence[Row], layers: Sequence[PreallocatedCacheLayer]) -> tuple[Tensor, Tensor]:
        """One forward pass over right-padded rows; returns hidden states [B, Q, D] and segments [B, Q]."""
        width = max(len(row.tokens) for row in rows)
        table = np.zeros((3, len(rows), width), dtype=np.int64)
        table[2] = PADDING
        for r, row in enumerate(rows):
            table[:, r, : len(row.tokens)] = row.tokens, row.positions, row.segments
        ids, positions, segments = torch.from_numpy(table).to(self.device)
        past = layers[0].used if layers else 0
        return self._forward(ids, positions, packed_mask(segments, past), layers), segments

    def _forward(
        self, ids: Tensor, positions: Tensor, allowed: Tensor, layers: Sequence[PreallocatedCacheLayer]
    ) -> Tensor:
        """Hidden states [B, Q, D] of ids [B, Q]; `allowed` [B, Q, K] says which key each query may see."""
        mask = torch.zeros(allowed.shape, dtype=self.dtype, device=self.device)
        mask.masked_fill_(~allowed, torch.finfo(self.dtype).min)
        output = self.body(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask[:, None],
            past_key_values=Cache(layers=list(layers)) if layers else None,
            use_cache=bool(layers),
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _score_rows(
        self, rows: Sequence[Row], prefix: Sequence[PreallocatedCacheLayer]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """For every read of these rows: the request, the token's log-probability, whether it is the best."""
        width = max(len(row.tokens) for row in rows)
        hidden, _ = self._run(rows, [layer.widened(len(rows), width) for layer in prefix])
        reads = np.array([(r * width + column, token, request)
                          for r, row in enumerate(rows) for column, token, request in row.reads])  # fmt: skip
        places, inverse = np.unique(reads[:, 0], return_inverse=True)
        states = hidden.flatten(0, 1)[torch.from_numpy(places).to(self.device)]  # [N, D]
        values, hits = np.empty(len(reads)), np.empty(len(reads), dtype=bool)
        step = max(1, HEAD_ELEMENTS // self.vocabulary)
        for first in range(0, len(places), step):
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
        """Greedy decoding of one batch; rows leave it when finished, in lots of a quarter to save copying."""
        width, texts = max(len(row.tokens) for row in rows), [list[int]() for _ in rows]
        room = width + max(limits)
        layers = [layer.widened(len(rows), room) for layer in prefix]
        layers = layers or [PreallocatedCacheLayer(room) for _ in range(self.layers)]
        past = prefix[0].used if prefix else 0
        hidden, segments = self._run(rows, layers)
        visible = torch.cat([segments.new_ones(len(rows), past), segments + 1], dim=1).bool()  # [B, K]
        rests = visible.sum(1) - past
        state = hidden[torch.arange(len(rows), device=self.device), rests - 1]  # [B, D]
        lengths, slots = visible.sum(1), list(range(len(rows)))
        running = set(slots)
        while True:
            best, token = self.head(state).float().max(-1)
            self._require_finite(bool(best.isfinite().all()))
            for slot, new in zip(slots, token.tolist(), strict=True):
                if slot in running:
                    texts[slot].append(new)
                    if len(texts[slot]) >= limits[slot] or stop(texts[slot]):
                        running.remove(slot)
            if not running:
                return texts
            if len(running) <= 0.75 * len(slots):
                kept = torch.tensor([i for i, slot in enumerate(slots) if slot in running], device=self.device)
                slots = [slot for slot in slots if slot in running]
                token, visible, lengths = token[kept], visible[kept], lengths[kept]
                for layer in layers:
                    layer.keep(kept)
            visible = torch.cat([visible, visible.new_ones(len(slots), 1)], dim=1)
            state = self._forward(token[:, None], lengths[:, None], visible[:, None], layers)[:, -1]
            lengths = lengths + 1

    def _require_finite(self, finite: bool) -> None:  # noqa: FBT001 - reads as the sentence it is
        if not finite:
            raise NonFiniteModel(
                f"{self.name}: the model's logits are NaN or infinite, so no score means anything. "
                "Look for the edit that broke it with `probes.assert_finite`."
            )


def packed_mask(segments: Tensor, past: int) -> Tensor:
    """Who may see whom, [B, Q, past + Q], from segments [B, Q].

    A token sees the shared prefix, the context before it, and what is before it in its own segment. Padding
    sees itself, so that no row of the softmax is empty.
    """
    rows, width = segments.shape
    same = segments[:, :, None] == segments[:, None, :]
    earlier = torch.ones(width, width, dtype=torch.bool, device=segments.device).tril()
    within = (same | (segments == 0)[:, None, :]) & earlier
    return torch.cat([within.new_ones(rows, width, past), within], dim=2)
