"""Uncentered covariances (second moments) C = E[k kᵀ] of matrix inputs, over all tokens of a corpus."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from editors.core import unfinished
from editors.core.errors import MissingCorpus, StateMismatch
from editors.core.progress import tell
from editors.core.typing import PreTrainedTokenizerBase
from editors.models.architecture import Architecture
from editors.models.hooks import StopForward, forward_pre_hooks
from editors.models.projection import Matrix
from editors.models.tokens import Row, encode
from editors.models.trace import pad

TOKENS_A_BATCH = 4096  # or fewer, see `_tokens_a_batch`
TOKENS_A_PRODUCT = 512
SAVE_SECONDS = 30.0
DONE = "batches done"
SHARE = 10  # sums of one pass take at most one part in so many of the weights' memory
SMALL = 1 << 26  # or so many bytes; or they are those of one matrix


def compute_covariances(
    architecture: Architecture,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    matrices: Sequence[Matrix],
    scratch: Path | None = None,
    *,
    keep: Callable[[str, Tensor], None] | None = None,
) -> dict[str, Tensor]:
    """C [f, f] in float32 of each matrix, by its path.

    Summed in float64 over every token of every text, BOS included; texts are cut to the model's context length. A pass
    over the texts serves as many matrices as there is room for, and ends where the last of them is reached. How many
    passes there are changes no bit.

    Args:
        architecture: The model.
        tokenizer: Its tokenizer.
        texts: The corpus.
        matrices: Whose inputs are meant.
        scratch: Folder in which sums are kept while they grow: a pass that was killed goes on there, to the same bits.
        keep: Called with each path and its covariance when a pass has ended; nothing is returned then. It says where
            those of many matrices are, if not in memory all at once.

    Raises:
        MissingCorpus: The texts contain no token.
        OSError: the sums cannot be written.
    """
    rows = _rows(architecture, tokenizer, texts)
    if not rows:
        raise MissingCorpus("the corpus has no text; covariances need at least as many tokens as inner neurons")
    made: dict[str, Tensor] = {}
    keep = keep or made.__setitem__
    count = sum(len(row.ids) for row in rows)
    groups, batches = passes(architecture, matrices), _batches(rows, _tokens_a_batch(architecture, matrices))
    for number, group in enumerate(groups, start=1):
        file = None if scratch is None else scratch / f"covariances-{_name(group)}.safetensors"
        what = "text" if len(groups) == 1 else f"pass {number} of {len(groups)}: text"
        sums = _sums(architecture, batches, group, file, what)
        for path in list(sums):
            keep(path, sums.pop(path).div_(count).float())  # no more than one more at a time
        if file is not None:
            file.unlink(missing_ok=True)
    return made


def passes(architecture: Architecture, matrices: Sequence[Matrix]) -> list[list[Matrix]]:
    """Which matrices each pass over the texts serves, lowest first: their sums take no more room than there is.

    The lowest pass gets what the others leave, because it is the shortest.
    """
    room = _room(architecture, matrices)
    groups: list[list[Matrix]] = []
    for matrix in sorted(matrices, key=lambda each: _block(architecture, each), reverse=True):
        if not groups or sum(map(_size, [*groups[0], matrix])) > room:
            groups.insert(0, [])
        groups[0].insert(0, matrix)
    return groups


def _room(architecture: Architecture, matrices: Sequence[Matrix]) -> int:
    """Bytes for the sums of one pass; on a GPU also half of what nobody uses there."""
    devices = {matrix.weight.device for matrix in matrices}
    free = [torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0 for device in devices]
    return max(SMALL, architecture.size // SHARE, min(free, default=0) // 2)


def _tokens_a_batch(architecture: Architecture, matrices: Sequence[Matrix]) -> int:
    """As many as take a tenth of the weights' memory, or 64 MiB, where a token takes about four times its input.

    Unfinished sums say how many batches are done, so neither what is free now nor the room of a pass decides.
    """
    widest = max(_width(matrix) * matrix.weight.element_size() for matrix in matrices)
    return min(TOKENS_A_BATCH, max(1 << 26, architecture.size // 10) // (4 * widest))


def _size(matrix: Matrix) -> int:
    """Bytes of the sum of one matrix, [f, f] in float64."""
    return 8 * _width(matrix) ** 2


def _width(matrix: Matrix) -> int:
    return matrix.stored(matrix.weight).shape[1]


def _block(architecture: Architecture, matrix: Matrix) -> int:
    """Index of the block that a matrix is in; the last one's, if it is in none."""
    blocks = enumerate(architecture.blocks)
    inside = (number for number, block in blocks if any(matrix.module is each for each in block.modules()))
    return next(inside, architecture.depth - 1)


def _sums(
    architecture: Architecture, batches: Sequence[list[Row]], matrices: Sequence[Matrix], file: Path | None, what: str
) -> dict[str, Tensor]:
    """K Kᵀ [f, f] in float64 of some matrices by their paths, over all rows: one pass, kept in `file` as it goes."""
    begin, sums = (0, {}) if file is None else _resume(file, matrices)
    saved = time.monotonic()
    done, rows = sum(map(len, batches[:begin])), sum(map(len, batches))
    for number, batch in enumerate(batches[begin:], start=begin + 1):
        _add(sums, architecture, batch, matrices)
        done += len(batch)
        tell(what, done, rows)
        if file is not None and number < len(batches) and time.monotonic() - saved > SAVE_SECONDS:
            unfinished.save(file, {**sums, DONE: torch.tensor(number)})
            saved = time.monotonic()
    return sums


def _name(matrices: Sequence[Matrix]) -> str:
    """Names the file of a pass: what is resumed may have fewer passes left than there were."""
    return hashlib.sha256("\n".join(matrix.path for matrix in matrices).encode()).hexdigest()[:16]


def _resume(file: Path, matrices: Sequence[Matrix]) -> tuple[int, dict[str, Tensor]]:
    """Return how many batches are summed already, and the sums."""
    widths = {matrix.path: _width(matrix) for matrix in matrices}

    def fits(tensors: Mapping[str, Tensor]) -> bool:
        shapes = {path: tuple(total.shape) for path, total in tensors.items() if path != DONE}
        return DONE in tensors and shapes == {path: (width, width) for path, width in widths.items()}

    found = unfinished.load(file, fits, "summing of covariances")
    if found is None:
        return 0, {}
    done = int(found.pop(DONE))
    return done, {matrix.path: found[matrix.path].to(matrix.weight.device) for matrix in matrices}


@dataclass(frozen=True)
class Cost:
    """Estimate of what computing covariances will cost.

    Attributes:
        matrices: How many there are.
        passes: How often the texts are read.
        tokens: Of all texts, cut to the model's context.
        size: Bytes that the sums of a pass take while they grow, in float64; of the largest one.
        seconds: By the speed of two small products measured just now.
    """

    matrices: int
    passes: int
    tokens: int
    size: int
    seconds: float

    def __str__(self) -> str:
        """In words, such as `5 covariances over 1200000 tokens in 5 passes: 0.97 GB of memory, about 35 minutes`."""
        lasts = f"{self.seconds:.0f} seconds" if self.seconds < 120 else f"{self.seconds / 60:.0f} minutes"
        read = f"{self.tokens} tokens" + (f" in {self.passes} passes" if self.passes > 1 else "")
        return f"{self.matrices} covariances over {read}: {self.size / 1e9:.2g} GB of memory, about {lasts}"


def cost(
    architecture: Architecture, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], matrices: Sequence[Matrix]
) -> Cost:
    """Estimate `compute_covariances`: passes up to their last matrix, and 2 f² operations a token and matrix."""
    tokens = sum(len(row.ids) for row in _rows(architecture, tokenizer, texts))
    groups = passes(architecture, matrices)
    blocks = [sum(parameter.numel() for parameter in block.parameters()) for block in architecture.blocks]
    weights = sum(sum(blocks[: _block(architecture, group[-1]) + 1]) for group in groups)
    squares = sum(_width(matrix) ** 2 for matrix in matrices)
    first = next(architecture.trunk.parameters())
    pace = _seconds_an_operation(first.dtype, first.device), _seconds_an_operation(torch.float64, first.device)
    largest = max(sum(map(_size, group)) for group in groups)
    return Cost(len(matrices), len(groups), tokens, largest, 2 * tokens * (weights * pace[0] + squares * pace[1]))


def _seconds_an_operation(dtype: torch.dtype, device: torch.device, width: int = 512) -> float:
    square = torch.ones(width, width, dtype=dtype, device=device)
    square @ square  # the first product also starts the library
    began = time.perf_counter()
    float((square @ square).sum())  # reading the number waits for the device
    return (time.perf_counter() - began) / (2 * width**3)


def _rows(architecture: Architecture, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
    limit = getattr(architecture.trunk.config, "max_position_embeddings", None) or 1024
    rows = [Row(tuple(encode(tokenizer, text)[:limit]), 0) for text in texts]
    return sorted((row for row in rows if row.ids), key=lambda row: len(row.ids))


def _batches(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Neighbors in length together, at most so many padded tokens each."""
    batches: list[list[Row]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(row.ids) > tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


@torch.no_grad()
def _add(sums: dict[str, Tensor], architecture: Architecture, rows: Sequence[Row], matrices: Sequence[Matrix]) -> None:
    """Add K Kᵀ in float64 of each matrix's inputs at the real tokens of some rows."""
    ids, mask = pad(rows, next(architecture.trunk.parameters()).device)
    real = mask.bool()  # where the embedding is; a matrix may be elsewhere
    waiting = {matrix.path for matrix in matrices}
    spread = getattr(architecture.trunk, "hf_device_map", None)  # what moves weights about must end its pass

    def hook_of(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs = args[0].reshape(*real.shape, -1)[real.to(args[0].device)]  # [tokens, f]
            if path not in sums:
                sums[path] = inputs.new_zeros(2 * inputs.shape[-1:], dtype=torch.float64)
            for part in inputs.split(TOKENS_A_PRODUCT):  # in float64 the whole batch is larger than its pass
                wide = part.double()
                sums[path].addmm_(wide.T, wide)
            waiting.discard(path)
            if not waiting and not spread:
                raise StopForward

        return hook

    with (
        contextlib.suppress(StopForward),
        forward_pre_hooks(*((matrix.module, hook_of(matrix.path)) for matrix in matrices)),
    ):
        architecture.trunk(input_ids=ids, attention_mask=mask, use_cache=False)


def check(matrix: Matrix, covariance: Tensor) -> Tensor:
    """Check that a covariance fits a matrix.

    Raises:
        StateMismatch: It is not square of the matrix's input width, or not finite.
    """
    weight = matrix.stored(matrix.weight)
    width = weight.shape[1]
    if covariance.shape != (width, width):
        raise StateMismatch(f"covariance of {matrix.path} is {tuple(covariance.shape)}, it must be ({width}, {width})")
    if not bool(torch.isfinite(covariance).all()):
        raise StateMismatch(f"covariance of {matrix.path} is not finite")
    return covariance
