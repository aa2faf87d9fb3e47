"""Strings as tensors, for memories of text: concatenated UTF-8 bytes, and the length of each string."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from editors.core.errors import StateMismatch


def pack(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Bytes [total] (uint8) and lengths [n] (int64) of n texts."""
    raw = [text.encode("utf-8", "surrogatepass") for text in texts]
    return torch.tensor(list(b"".join(raw)), dtype=torch.uint8), torch.tensor([len(data) for data in raw]).long()


def unpack(data: Tensor, lengths: Tensor) -> list[str]:
    """The texts that were passed to `pack`.

    Raises:
        StateMismatch: The tensors are not what `pack` gives.
    """
    if data.dtype != torch.uint8 or data.ndim != 1 or lengths.ndim != 1 or int(lengths.sum()) != len(data):
        raise StateMismatch(f"texts of lengths {lengths.tolist()} do not fill {tuple(data.shape)} {data.dtype}")
    raw, parts, start = bytes(data.tolist()), [], 0
    for length in lengths.tolist():
        parts.append(raw[start : start + length])
        start += length
    try:
        return [part.decode("utf-8", "surrogatepass") for part in parts]
    except UnicodeDecodeError as error:
        raise StateMismatch(f"texts are not UTF-8: {error}") from None
