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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from editgate.compat.transformers import Cache, cache_argument
from editgate.errors import NonFiniteModel
from editgate.inference.batches import Batch, Prefixes, batches, prefix_passes
from editgate.inference.drafts import FIRST, Lane, Stop, Text, worthwhile
from editgate.inference.kv_cache import PreallocatedCacheLayer
from editgate.inference.prefix_groups import Row, packed_mask, pad, pad_ragged
from editgate.inference.side_by_side import is_small, mapper
from editgate.inference.tokenize import Pair, Tokens
from editors.core.progress import tell

WRITTEN = 4  # times as many tokens as scoring reads at once: each step after the first reads a few of each text
WRITTEN_BY_SMALL = 2  # of models whose batches run side by side, so that there are some for each thread
MAX_LOGITS = 2**24  # logits in memory at once, N times V: 64 MiB in float32


@dataclass(frozen=True)
class Writing:
    """Texts that are written in one batch.

    Attributes:
        batch: what each is written after.
        texts: in the making.
        finite: whether all logits were.
    """

    batch: Batch
    texts: Sequence[Text]
    finite: bool = True


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
        self.written = WRITTEN_BY_SMALL if is_small(untyped) else WRITTEN
        self.mapped = mapper(model)

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

        def pack(index: int, prefix: int) -> Row:
            return Row.pack(contexts[index], prefix, options[contexts[index]])

        asked = batches(contexts, pack, self._run_prefixes, most=self.max_tokens, most_prefixes=self.max_tokens)
        for rows, requests, values, hits in self.mapped(self._score_rows, asked):
            np.add.at(total, requests, values)
            np.add.at(misses, requests, ~hits)
            done += rows
            tell("prompt", done, len(contexts))
        return [(float(value), not missed) for value, missed in zip(total, misses, strict=True)]

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Tokens], limits: Sequence[int], stop: Stop, drafts: Sequence[Tokens] | None = None
    ) -> list[list[int]]:
        """Return greedy continuations, each cut after its limit or where `stop` says that it is finished.

        Args:
            prompts: in tokens.
            limits: how many new tokens each may get.
            stop: whether a continuation, so far, is finished.
            drafts: what each continuation may turn out to be, such as what the unedited model wrote.

        Raises:
            NonFiniteModel: a logit is NaN or infinite.
        """
        drafts = drafts or [()] * len(prompts)
        texts: list[list[int]] = [[] for _ in prompts]
        order, done = sorted(range(len(prompts)), key=prompts.__getitem__), 0

        def pack(index: int, prefix: int) -> Row:
            return Row.pack(prompts[order[index]], prefix)

        asked = batches(
            [prompts[i] for i in order],
            pack,
            self._run_prefixes,
            most=self.written * self.max_tokens,
            most_prefixes=self.max_tokens,
            proposed=[min(len(drafts[i]), FIRST) for i in order],
            limits=[limits[i] for i in order],
        )
        in_order = (replace(batch, prompts=[order[i] for i in batch.prompts]) for batch in asked)
        writings = (Writing(batch, [Text(limits[i], stop, drafts[i]) for i in batch.prompts]) for batch in in_order)
        for writing in self.mapped(self._generate_rows, writings):
            members, written = writing.batch.prompts, writing.texts
            if not writing.finite:
                written = [Text(limits[i], stop, ()) for i in members]
                again = self._generate_rows(Writing(writing.batch, written))
                self._require_finite(again.finite)
            for i, text in zip(members, written, strict=True):
                texts[i] = text.tokens
            done += len(members)
            tell("prompt", done, len(prompts))
        return texts

    def _run_prefixes(self, prefixes: Sequence[Tokens]) -> Prefixes:
        """Run prefixes, G of them, the longest first."""
        lengths = [len(tokens) for tokens in prefixes]
        if not lengths[0]:
            return Prefixes(np.array(lengths), [])
        passes = []
        for part in prefix_passes(lengths):
            layers = [PreallocatedCacheLayer(lengths[0]) for _ in range(self.layers)]
            ids, positions, segments = pad([Row.pack(tokens, 0) for tokens in prefixes[part]], self.device)
            self._forward(ids, positions, packed_mask(segments, torch.zeros_like(segments[:, 0]), 0), layers)
            passes.append(layers)
        return Prefixes(
            np.array(lengths), [PreallocatedCacheLayer.joined(layers) for layers in zip(*passes, strict=True)]
        )

    def _score_rows(self, batch: Batch) -> tuple[int, NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return how many rows; for every read of them the request, the log-probability, whether it is the best."""
        rows = batch.rows
        ids, positions, segments = pad(rows, self.device)
        width = ids.shape[1]
        past = torch.from_numpy(batch.past).to(self.device)
        hidden = self._forward(ids, positions, packed_mask(segments, past, int(past.max())), batch.layers(width))
        reads = np.array([(r * width + column, token, request)
                          for r, row in enumerate(rows) for column, token, request in row.reads])  # fmt: skip
        columns, inverse = np.unique(reads[:, 0], return_inverse=True)
        states = hidden.flatten(0, 1)[torch.from_numpy(columns).to(hidden.device)]  # [N, D]
        values, hits = np.empty(len(reads)), np.empty(len(reads), dtype=bool)
        step = max(1, MAX_LOGITS // self.vocabulary)
        for first in range(0, len(columns), step):
            inside = (inverse >= first) & (inverse < first + step)
            logits = self.head(states[first : first + step]).float()  # [at most step, V]
            where = torch.from_numpy(inverse[inside] - first).to(logits.device)
            tokens = torch.from_numpy(reads[inside, 1]).to(logits.device)
            values[inside] = (logits[where, tokens] - logits.logsumexp(-1)[where]).cpu().numpy()
            hits[inside] = (logits.argmax(-1)[where] == tokens).cpu().numpy()
        self._require_finite(bool(np.isfinite(values).all()))
        return len(rows), reads[:, 2], values, hits

    def _generate_rows(self, writing: Writing) -> Writing:
        """Write the texts of one batch: those that follow their draft first, then, together, those that left it.

        Returns it, not `finite` and half written where a logit is NaN or infinite, be it after a wrong draft.
        """
        rows, texts, past = writing.batch.rows, writing.texts, writing.batch.past
        # A row's tokens stand in the columns of their positions; the last column is for padding alone.
        ends = [before + len(row.tokens) + text.limit for before, row, text in zip(past, rows, texts, strict=True)]
        capacity = int(max(ends)) + 1
        layers = writing.batch.layers(capacity - int(past.max()))
        layers = layers or [PreallocatedCacheLayer(capacity) for _ in range(self.layers)]
        lane = Lane(list(texts), [row.tokens for row in rows], past, layers)
        left: list[Lane] | None = []  # None once those that left their draft are together
        while lane.texts:
            # 1) Run each row's new tokens and what is proposed to come next, [B, Q].
            proposals: Sequence[Sequence[int]] = [text.proposals() for text in lane.texts]
            if left is None:
                proposals = worthwhile(proposals)
            fed = [[*known, *more] for known, more in zip(lane.known, proposals, strict=True)]
            ids, columns, positions = pad_ragged(fed, lane.cached, capacity - 1, self.device)
            used = int(columns.max()) + 1
            for layer in lane.layers:
                layer.write_to(columns, used)
            allowed = torch.arange(used, device=self.device) <= columns[..., None]
            hidden = self._forward(ids, positions, allowed, lane.layers)
            # 2) Read what the model writes after the last known token and after each proposal, and append it.
            reads = [(row, column) for row, known in enumerate(lane.known)
                     for column in range(len(known) - 1, len(fed[row]))]  # fmt: skip
            best = self._best(hidden, reads)
            if best is None:
                return replace(writing, finite=False)
            lane.accept(proposals, best)
            # 3) Rows that are finished, or no longer follow their draft, leave. That copies the others.
            unfinished = [i for i, text in enumerate(lane.texts) if not text.finished]
            if left is not None:
                left.append(lane.select([i for i in unfinished if not lane.texts[i].follows]))
                lane = lane.select([i for i in unfinished if lane.texts[i].follows])
                if not lane.texts:
                    lane, left = Lane.joined(left), None
            elif len(unfinished) <= 0.75 * len(lane.texts):
                lane = lane.select(unfinished)
        return writing

    def _best(self, hidden: Tensor, reads: Sequence[tuple[int, int]]) -> list[int] | None:
        """Return the likeliest next token at each (row, column) of states [B, Q, D]; None if a logit is not finite."""
        rows, columns = torch.tensor(reads, device=hidden.device).T  # the last block's, which may be another one
        tokens: list[int] = []
        for states in hidden[rows, columns].split(max(1, MAX_LOGITS // self.vocabulary)):  # [N, D]
            values, best = self.head(states).float().max(-1)
            if not bool(values.isfinite().all()):
                return None
            tokens += best.tolist()
        return tokens

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
