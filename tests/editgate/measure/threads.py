"""How many threads edit a model: the same in every process, so that the verdicts are the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from editgate.inputs.unedited_model import UneditedModel


@contextmanager
def single_threaded(base: UneditedModel) -> Iterator[None]:
    """Inside, torch uses one thread for small models, whose edits gain nothing from more; the others take batches.

    Sums come out differently on another number of threads, a trajectory magnifies that, and `pytest -n 2` must give the
    verdicts of `pytest`.
    """
    from editgate.inference.side_by_side import is_small, spare_threads  # noqa: PLC0415 - see `importing`

    before = torch.get_num_threads()
    small = is_small(base.model)
    if small:
        torch.set_num_threads(1)
    try:
        with spare_threads(before if small else 1):
            yield
    finally:
        torch.set_num_threads(before)
