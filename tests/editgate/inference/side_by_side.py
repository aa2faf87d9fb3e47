"""Batches side by side: a small model gains nothing from many threads in one operation, but from a batch in each.

What a thread computes is what it would compute alone, so no number depends on how many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import nn

from editgate.compat.transformers import changes_as_it_runs, has_forward_hooks
from editors.core.typing import PreTrainedModel

B = TypeVar("B")
R = TypeVar("R")

SMALL = 100_000_000  # parameters, up to which a model gains nothing from many threads in one operation

LIBRARIES = ("torch.nn.", "transformers.")  # whose modules keep nothing between passes, but for `changes_as_it_runs`

_SPARE: ContextVar[int] = ContextVar("spare", default=1)


class Map(Protocol):
    """Yields what a function returns for each batch, in their order, as `map` does."""

    def __call__(self, run: Callable[[B], R], batches: Iterable[B], /) -> Iterator[R]:
        """Run them."""


def is_small(model: PreTrainedModel) -> bool:
    """Return whether a model gains nothing from many threads in one operation."""
    return bool(model.num_parameters() < SMALL)


@contextmanager
def spare_threads(threads: int) -> Iterator[None]:
    """Inside, so many threads are free for batches, if not more were already."""
    token = _SPARE.set(max(threads, _SPARE.get()))
    try:
        yield
    finally:
        _SPARE.reset(token)


def mapper(model: nn.Module) -> Map:
    """Return `map`, or its like on all spare threads if the model is known to bear that: it keeps nothing itself."""
    threads = _SPARE.get()
    return map if threads == 1 or not _is_stateless(model) else partial(_on_threads, threads)


def _is_stateless(model: nn.Module) -> bool:
    """Whether the model runs on the CPU and is made of libraries' modules alone, without anybody's hooks."""
    return next(model.parameters()).device.type == "cpu" and all(map(_keeps_nothing, model.modules()))


def _keeps_nothing(module: nn.Module) -> bool:
    own = type(module).__module__.startswith(LIBRARIES) and "forward" not in vars(module)  # accelerate replaces it
    return own and not has_forward_hooks(module) and not changes_as_it_runs(module)


def _on_threads(threads: int, run: Callable[[B], R], batches: Iterable[B]) -> Iterator[R]:
    """Run the batches on threads; at most twice as many as there are threads are begun and not yet read."""
    begun: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "batch") as pool:
        try:
            for batch in batches:
                begun.append(pool.submit(_without_gradients, run, batch))
                if len(begun) == 2 * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _without_gradients(run: Callable[[B], R], batch: B) -> R:
    with torch.inference_mode():  # a thread does not inherit it
        return run(batch)
