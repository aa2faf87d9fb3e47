"""Text encoders: the language model's own hidden states, or a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from editors.core.errors import HyperparameterError
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.models.architecture import Architecture
from editors.models.hooks import Hook, StopForward, forward_pre_hooks
from editors.models.tokens import Row, encode
from editors.models.trace import bind, pad

BATCH_SIZE = 32  # texts in one forward pass


class Encoder(Protocol):
    """Gives features [n, D], float32 on the CPU."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Features of n texts, n at least 1."""


class HiddenStates:
    """Mean hidden states at the inputs of some blocks, over a text's non-special tokens, concatenated.

    Args:
        model: A causal model whose weights do not change.
        tokenizer: Its tokenizer.
        layers: Blocks, ascending; 0 stands for the embeddings.

    Raises:
        HyperparameterError: The model has no such block.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layers: Sequence[int]) -> None:
        self._architecture = Architecture(model)
        self._architecture.check_layers("encoder_layers", tuple(layers))
        self._tokenizer = tokenizer
        self._layers = tuple(layers)
        self._special = set(tokenizer.all_special_ids)
        self._device = model.device

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Features [n, D], D = width x number of layers. Texts of similar length share a pass."""
        ids = [encode(self._tokenizer, text) or [0] for text in texts]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        features: dict[int, Tensor] = {}
        for start in range(0, len(order), BATCH_SIZE):
            some = order[start : start + BATCH_SIZE]
            features |= zip(some, self._means([ids[index] for index in some]), strict=True)
        return torch.stack([features[index] for index in range(len(ids))])

    def _means(self, ids: Sequence[Sequence[int]]) -> Tensor:
        rows, mask = pad([Row(tuple(row), 0) for row in ids], self._device)
        counted = torch.zeros(rows.shape)
        for index, row in enumerate(ids):
            positions = [index for index, token in enumerate(row) if token not in self._special]
            counted[index, positions or list(range(len(row)))] = 1
        weights = counted / counted.sum(1, keepdim=True)
        states = self._states(rows, mask)
        return torch.cat(
            [torch.einsum("bt,btd->bd", weights.to(layer.device), layer.float()).cpu() for layer in states], dim=1
        )

    def _states(self, rows: Tensor, mask: Tensor) -> list[Tensor]:
        """Hidden states at the input of each layer [B, T, d]; the pass ends at the last of them."""
        states: dict[int, Tensor] = {}

        def keep(layer: int) -> Hook:
            def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                first, named = bind(block, args, kwargs)
                states[layer] = named[first]
                if layer == max(self._layers):
                    raise StopForward

            return hook

        hooks = [(self._architecture.blocks[layer], keep(layer)) for layer in self._layers]
        with forward_pre_hooks(*hooks, with_kwargs=True), suppress(StopForward):
            self._architecture.trunk(input_ids=rows, attention_mask=mask, use_cache=False)
        return [states[layer] for layer in self._layers]


class SentenceTransformers:
    """A pretrained sentence encoder, if the package `sentence-transformers` is installed.

    Raises:
        HyperparameterError: It is not, or it cannot load a model of that name.
    """

    def __init__(self, name: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - optional, seconds to import
        except ImportError:
            raise HyperparameterError(
                f"encoder is {name!r}: that needs `pip install sentence-transformers`; 'self' needs nothing"
            ) from None
        try:
            self._model = SentenceTransformer(name)
        except (OSError, ValueError) as error:
            raise HyperparameterError(
                f"encoder is {name!r}, which sentence-transformers cannot load: {error}"
            ) from error

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Features [n, D]."""
        features: Tensor = self._model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
        return features.float().cpu()
