"""Write a model's weights so that every change can be undone, saved and restored bit-exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from editors.core.errors import NonFiniteEdit, StateMismatch
from editors.core.placement import settled

PREFIX = "weight:"
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Return whether two tensors have the same dtype, shape and bits: NaN equals itself, -0 differs from 0."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if _in_one_place(left, right):
        return True
    return torch.equal(bits(left), bits(right.to(left.device)))


def _in_one_place(left: Tensor, right: Tensor) -> bool:
    """Whether both are read from the same memory in the same order, as most weights of an edited model and its base."""
    there = [(tensor.device, tensor.data_ptr(), tensor.stride()) for tensor in (left, right) if not tensor.is_meta]
    return len(there) == 2 and there[0] == there[1]


def bits(tensor: Tensor) -> Tensor:
    """Return a tensor's bits as integers of the same width, or as they are for bool; of the same shape."""
    tensor = tensor.detach().contiguous()
    return tensor if tensor.dtype == torch.bool else tensor.view(INTEGERS[tensor.element_size()])


class Weights:
    """The only way to write a model's parameters; every write can be undone bit-exact.

    A parameter gets memory of its own the first time it is written, and what it held before is kept untouched: so the
    memory may be another model's, which is not copied to be edited. `state` and `undo` know these parameters only.
    One that accelerate keeps in main memory or on disk is settled on its device before it is read or written.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._live: dict[str, Tensor] = dict(model.named_parameters())
        self._base: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        if self._live[name].is_meta:
            self._live[name] = settled(self._model, name)
        return self._live[name]

    def write(self, name: str, value: Tensor) -> None:
        """Overwrite one parameter.

        Raises:
            NonFiniteEdit: The value contains NaN or infinity; nothing is written.
        """
        live = self[name]
        if not bool(torch.isfinite(value).all()):
            raise NonFiniteEdit(f"the update of {name} is not finite")
        if self._before is not None and name not in self._before:
            self._before[name] = live.detach().clone() if name in self._base else live.data
        self._put(name, value)

    def _put(self, name: str, value: Tensor) -> None:
        """Write into memory of the parameter's own, which it gets the first time."""
        live = self[name]
        if name in self._base:
            _copy(live, value)
            return
        own = torch.empty_like(live.data)
        _copy(own, value)
        self._base[name] = live.data
        live.data = own

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all writes in the block, or none: an exception reverts them."""
        self._before = {}
        try:
            yield
        except BaseException:
            for name, value in self._before.items():
                _copy(self._live[name], value)
            raise
        finally:
            self._before = None

    @contextmanager
    def pristine(self) -> Iterator[None]:
        """Use the base weights in the block, then restore the edited ones; both bit-exact."""
        edited = {name: self._live[name].data for name in self._base}
        for name, value in self._base.items():
            self._live[name].data = value
        try:
            yield
        finally:
            for name, value in edited.items():
                self._live[name].data = value

    def state(self) -> dict[str, Tensor]:
        """Current values of the parameters that differ from the base, under `weight:<name>`."""
        return {
            PREFIX + name: self._live[name].detach().clone()
            for name, base in self._base.items()
            if not same_bits(self._live[name], base)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state; parameters that it does not name return to the base.

        Raises:
            StateMismatch: A name, shape or dtype does not fit; nothing is changed.
        """
        values = {name.removeprefix(PREFIX): value for name, value in state.items()}
        for name, value in values.items():
            self._check(name, value)
        self.undo()
        for name, value in values.items():
            self._put(name, value)

    def _check(self, name: str, value: Tensor) -> None:
        if name not in self._live:
            raise StateMismatch(f"the state contains {name!r}, which this model does not have")
        live = self._live[name]
        if (live.shape, live.dtype) != (value.shape, value.dtype):
            raise StateMismatch(
                f"{name} is {tuple(value.shape)} {value.dtype} in the state, "
                f"{tuple(live.shape)} {live.dtype} in the model"
            )

    def undo(self) -> None:
        """Return every written parameter to its base value."""
        for name, value in self._base.items():
            self._live[name].data = value
        self._base.clear()


@torch.no_grad()
def _copy(live: Tensor, value: Tensor) -> None:
    live.copy_(value)
