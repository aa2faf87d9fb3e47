"""A checksum of tensors: what is read from a file is what was written, in the place where it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a sha256 of names, dtypes, shapes and bits; the order of the names does not matter."""
    import torch  # noqa: PLC0415 - a store of texts is used without it

    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        header = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        total.update(f"{len(header)}:{header}".encode())
        if tensor.numel():
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
