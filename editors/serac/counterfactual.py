"""SERAC's counterfactual model: reads an edit and a question, and answers as if the edit were true.

It is a causal model with low-rank adapters (LoRA) of the matrices in its blocks, out = x W + x A B. The adapters are
trained and stored. They are never added to W, so that a copy of the base can share the base's weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from editors.core.edit import Edit
from editors.core.errors import HyperparameterError, StateMismatch
from editors.core.training import train
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.memory.scope_training import wordings_of
from editors.models.architecture import Architecture
from editors.models.compat import Conv1D
from editors.models.hooks import forward_hooks
from editors.models.projection import Matrix
from editors.models.recomputed_blocks import recomputed_blocks
from editors.models.tokens import Row, encode, target_ids
from editors.models.trace import pad

NAME = "counterfactual"  # of the training's checkpoint, and of its tensors
CLIP = 100.0  # greatest norm of a gradient, as in the authors' code


def prefix_of(tokenizer: PreTrainedTokenizerBase, prompt: str, target: str, separator: str) -> list[int]:
    """Tokens of an edit as the counterfactual model reads it, BOS included where the tokenizer adds one."""
    return encode(tokenizer, f"{prompt} {target}{separator}")


def without_bos(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """Ids without a first BOS."""
    return list(ids[1:] if ids and ids[0] == tokenizer.bos_token_id else ids)


def load_auxiliary_model(
    name: str, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Another causal model, by name or folder, to answer in scope; and its tokenizer.

    Raises:
        HyperparameterError: It cannot be loaded, or its vocabulary is not the base's.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - seconds to import

    try:
        auxiliary = AutoModelForCausalLM.from_pretrained(name, dtype=base.dtype, trust_remote_code=False)
        own = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HyperparameterError(f"counterfactual is {name!r}, which cannot be loaded: {error}") from error
    if own.get_vocab() != tokenizer.get_vocab() or auxiliary.config.vocab_size != base.config.vocab_size:
        raise HyperparameterError(f"counterfactual is {name!r}: its vocabulary is not the base's, and must be")
    auxiliary.requires_grad_(requires_grad=False)
    auxiliary.train(mode=False)
    return nn.Module.to(auxiliary, base.device), own


class Adapters(nn.Module):
    """A [in, r] and B [r, out] for every matrix in the blocks of a model; B starts at zero.

    Args:
        model: The model; not changed.
        rank: r.
        generator: Of the first A.
    """

    def __init__(self, model: PreTrainedModel, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.matrices = matrices(model)
        self.first, self.second = nn.ParameterList(), nn.ParameterList()
        for matrix in self.matrices:
            outputs, inputs = matrix.stored(matrix.weight).shape
            start = torch.randn(inputs, rank, generator=generator) / inputs**0.5
            self.first.append(nn.Parameter(start.to(matrix.weight.device)))
            self.second.append(nn.Parameter(torch.zeros(rank, outputs, device=matrix.weight.device)))

    def installed(self) -> AbstractContextManager[None]:
        """Add the adapters' outputs in the block."""
        triples = zip(self.matrices, self.first, self.second, strict=True)
        return forward_hooks(*((matrix.module, _adding(first, second)) for matrix, first, second in triples))

    def tensors(self) -> dict[str, Tensor]:
        """A and B by the matrix's path, float32 on the CPU."""
        pairs = zip(self.matrices, self.first, self.second, strict=True)
        return {
            f"{NAME}.{matrix.path}.{name}": value.detach().float().cpu().clone()
            for matrix, first, second in pairs
            for name, value in (("A", first), ("B", second))
        }


def _adding(first: Tensor, second: Tensor) -> Callable[..., Tensor]:
    def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + (args[0].to(first.dtype) @ first @ second).to(output.dtype)

    return hook


def matrices(model: PreTrainedModel) -> list[Matrix]:
    """Every nn.Linear and Conv1D in the blocks of a model."""
    inside = {id(module) for block in Architecture(model).blocks for module in block.modules()}
    return [
        Matrix(path, module)
        for path, module in model.named_modules()
        if id(module) in inside and isinstance(module, (nn.Linear, Conv1D))
    ]


def attach(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> None:
    """Let the model's matrices add what trained adapters compute, from now on; no weight is written.

    Raises:
        StateMismatch: They do not fit this model.
    """
    for matrix in matrices(model):
        first, second = (tensors.get(f"{NAME}.{matrix.path}.{name}") for name in "AB")
        if first is None or second is None:
            raise StateMismatch(f"the counterfactual model's adapters of {matrix.path} are missing")
        outputs, inputs = matrix.stored(matrix.weight).shape
        if (len(first), second.shape[-1]) != (inputs, outputs):
            raise StateMismatch(
                f"the counterfactual model's adapter of {matrix.path} is {len(first)} x {second.shape[-1]}; "
                f"the matrix takes {inputs} numbers and gives {outputs}"
            )
        device = matrix.weight.device
        matrix.module.register_forward_hook(_adding(first.to(device), second.to(device)))


class _Loss:
    """Mean negative log-likelihood of the answer after an edit and a rephrase of its prompt.

    The target of an edit is drawn at random each time, from the targets that its prompt has in the training edits, so
    that the model cannot memorize targets and must read the edit.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        edits: Sequence[Edit],
        *,
        separator: str,
        answer_end: str,
        batch: int,
    ) -> None:
        self._model, self._architecture, self._tokenizer = model, Architecture(model), tokenizer
        self._edits, self._separator, self._end = edits, separator, answer_end
        self._batch = min(batch, len(edits))
        targets: dict[str, dict[str, None]] = defaultdict(dict)
        for edit in edits:
            targets[edit.prompt][edit.target_new] = None
        self._targets = {prompt: tuple(choices) for prompt, choices in targets.items()}

    def __call__(self, _step: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randperm(len(self._edits), generator=generator)[: self._batch].tolist()
        rows, answers = zip(*(self._row(self._edits[index], generator) for index in chosen), strict=True)
        ids, mask = pad(rows, self._model.device)
        states = self._architecture.trunk(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        positions = [(index, label) for index, row in enumerate(rows) for label in row.labels]
        which, where = torch.tensor(positions, device=states.device).T
        logits = self._architecture.head(states[which, where]).float()
        wanted = torch.tensor([token for answer in answers for token in answer], device=logits.device)
        return cross_entropy(logits, wanted)

    def _row(self, edit: Edit, generator: torch.Generator) -> tuple[Row, list[int]]:
        target = _draw(self._targets[edit.prompt], generator)
        question = _draw(wordings_of(edit), generator)
        end = "" if target.endswith(self._end) else self._end
        answer = target_ids(self._tokenizer, question, target + end)
        before = prefix_of(self._tokenizer, edit.text, target, self._separator)
        before += without_bos(self._tokenizer, encode(self._tokenizer, question))
        labels = tuple(range(len(before) - 1, len(before) - 1 + len(answer)))
        return Row((*before, *answer[:-1]), 0, labels), answer


def _draw(pool: Sequence[str], generator: torch.Generator) -> str:
    return pool[int(torch.randint(len(pool), (1,), generator=generator))]


def train_counterfactual(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    edits: Sequence[Edit],
    *,
    separator: str,
    answer_end: str,
    rank: int,
    steps: int,
    lr: float,
    batch: int,
    seed: int,
    scratch: Path | None,
) -> dict[str, Tensor]:
    """Train adapters that make a model answer from the edit that it reads first.

    Args:
        model: The start; not changed.
        tokenizer: Its tokenizer.
        edits: What to train on.
        separator: Text between edit and question.
        answer_end: Text that ends an answer.
        rank: Of the adapters.
        steps: Of Adam.
        lr: Its rate.
        batch: Edits in a step.
        seed: Of the start and all draws.
        scratch: Folder for a checkpoint.

    Returns:
        `counterfactual.<path>.A` [in, r] and `.B` [r, out] for every matrix, float32.
    """
    adapters = Adapters(model, rank, torch.Generator().manual_seed(seed))
    loss = _Loss(model, tokenizer, edits, separator=separator, answer_end=answer_end, batch=batch)
    optimizer = torch.optim.Adam(adapters.parameters(), lr=lr)
    architecture = Architecture(model)
    with adapters.installed(), recomputed_blocks(architecture) if architecture.is_large else nullcontext():
        train(NAME, adapters, optimizer, loss, steps=steps, seed=seed, clip=CLIP, scratch=scratch)
    return adapters.tensors()
