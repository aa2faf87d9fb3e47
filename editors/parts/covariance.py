"""Second moments C = E[k kᵀ] of a matrix's input, uncentred, over all real tokens of some texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from editors.parts.anatomy import Anatomy
from editors.parts.errors import MissingCorpus, StateMismatch
from editors.parts.linear import Matrix
from editors.parts.passes import pad
from editors.parts.tokens import Row, encode
from editors.parts.types import PreTrainedTokenizerBase

TOKENS_A_BATCH = 4096


def moments(
    anatomy: Anatomy, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], matrices: Sequence[Matrix]
) -> dict[str, Tensor]:
    """C [f, f] in float32 of each matrix, by its path.

    Summed in float64 over every token of every text, BOS included; texts are cut to the model's context
    length. One pass over the texts serves all matrices.

    Raises:
        MissingCorpus: The texts hold no token.
    """
    limit = getattr(anatomy.trunk.config, "max_position_embeddings", None) or 1024
    rows = [Row(tuple(encode(tokenizer, text)[:limit]), 0) for text in texts]
    rows = sorted((row for row in rows if row.ids), key=lambda row: len(row.ids))
    if not rows:
        raise MissingCorpus("the corpus holds no text; covariances need at least as many tokens as inner neurons")
    sums: dict[str, Tensor] = {}
    for batch in _batches(rows):
        _add(sums, anatomy, batch, matrices)
    count = sum(len(row.ids) for row in rows)
    return {path: (total / count).float() for path, total in sums.items()}


def _batches(rows: Sequence[Row]) -> list[list[Row]]:
    """Neighbours in length together, at most TOKENS_A_BATCH padded tokens each."""
    batches: list[list[Row]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(row.ids) > TOKENS_A_BATCH:
            batches.append([])
        batches[-1].append(row)
    return batches


@torch.no_grad()
def _add(sums: dict[str, Tensor], anatomy: Anatomy, rows: Sequence[Row], matrices: Sequence[Matrix]) -> None:
    """Add K Kᵀ in float64 of each matrix's inputs at the real tokens of some rows."""
    ids, mask = pad(rows, next(anatomy.trunk.parameters()).device)
    real = mask.bool()

    def hook_of(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs = args[0][real].double()  # [tokens, f]
            gram = inputs.T @ inputs
            sums[path] = sums[path] + gram if path in sums else gram

        return hook

    with ExitStack() as stack:
        for matrix in matrices:
            stack.callback(matrix.module.register_forward_pre_hook(hook_of(matrix.path)).remove)
        anatomy.trunk(input_ids=ids, attention_mask=mask, use_cache=False)


def check(matrix: Matrix, moment: Tensor) -> Tensor:
    """Refuse a second moment that does not belong to a matrix.

    Raises:
        StateMismatch: It is not square of the matrix's input width, or not finite.
    """
    weight = matrix.stored(matrix.weight)
    width = weight.shape[1]
    if moment.shape != (width, width):
        raise StateMismatch(f"covariance of {matrix.path} is {tuple(moment.shape)}, it must be ({width}, {width})")
    if not bool(torch.isfinite(moment).all()):
        raise StateMismatch(f"covariance of {matrix.path} is not finite")
    return moment
