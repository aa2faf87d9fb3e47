"""Several devices on a machine that has none: tensors that are somewhere, and refuse to meet one from elsewhere.

A tensor on "meta:1" or "meta:2" keeps its numbers in a plain one, and every operation checks that all its tensors are
on one device, as CUDA's kernels do: one without dimensions may come from the CPU, and an index too. What is asked of
torch is torch's own "meta" device, because autograd runs it on the CPU's thread, and takes any number for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from transformers import PreTrainedModel

from editors.models.architecture import Architecture

KIND = "meta"
DEVICES = tuple(torch.device(KIND, index) for index in (1, 2, 3))
aten = torch.ops.aten
Operation = Any  # torch._ops.OpOverload, which torch leaves untyped


class WrongDeviceError(RuntimeError):
    """Tensors of two devices met in an operation."""


class PlacedTensor(Tensor):
    """A tensor on one of the devices; its numbers are in `plain`."""

    plain: Tensor

    def __new__(cls, plain: Tensor, device: torch.device | None = None, *, requires_grad: bool = False) -> Self:
        """Return it: of a plain tensor on a device, or another one of a placed tensor, as accelerate makes them."""
        device = plain.device if device is None else device
        made: Self = torch.Tensor._make_wrapper_subclass(
            cls, plain.shape, plain.stride(), plain.storage_offset(), dtype=plain.dtype, device=device,
            requires_grad=requires_grad,
        )  # fmt: skip
        made.plain = plain.plain if isinstance(plain, PlacedTensor) else plain
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub is no class method
        cls,
        func: Operation,
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run one operation."""
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:  # noqa: ANN401
        """Torch has none for wrapped tensors."""
        return self.plain.tolist()

    def new_tensor(self, values: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]  # noqa: ANN401
        """Torch's would go past the mode."""
        return self.plain.new_tensor(values, **kwargs).to(self.device)

    @property
    def data(self) -> Tensor:
        """As torch's, which would not reach the numbers."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        assert isinstance(value, PlacedTensor)
        assert value.device == self.device
        self.plain = value.plain


class _Placing(TorchDispatchMode):
    """Operations that make a tensor, too."""

    def __torch_dispatch__(
        self,
        func: Operation,
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        return _run(func, args, kwargs or {})


def _run(func: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    """Check where the tensors are, run the operation on the plain ones, and place what comes out."""
    if func.overloadpacket is aten.to:  # in inference mode it comes as it is, and not as the operations it is made of
        with _Placing():  # type: ignore[no-untyped-call]
            return func.decompose(*args, **kwargs)
    given: list[Tensor] = []
    tree_map(lambda each: given.append(each) if isinstance(each, Tensor) else None, (args, kwargs))
    placed = [each for each in given if isinstance(each, PlacedTensor)]
    plain = tree_map(_plain, (list(args), dict(kwargs)))
    wanted = kwargs.get("device")
    if func is aten.copy_.default:  # copies between devices
        func(*plain[0], **plain[1])
        return args[0]
    if func is aten._to_copy.default:
        device = given[0].device if wanted is None else torch.device(wanted)
        made = func(*plain[0], **plain[1])
        return PlacedTensor(made, device) if device.type == KIND else made
    large = {each.device for each in given if each.ndim}
    if func in {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}:
        large = {device for device in large if device.type == KIND} or large
    if len(large) > 1 or len({each.device for each in placed}) > 1:
        raise WrongDeviceError(f"{func}: tensors on {', '.join(sorted({str(each.device) for each in given}))}")
    device = placed[0].device if wanted is None and placed else torch.device(wanted or "cpu")
    found = func(*plain[0], **plain[1])
    if device.type != KIND:
        return found
    known = {id(each.plain): each for each in placed}
    return tree_map(lambda each: known[id(each)] if id(each) in known else _placed(each, device), found)


def _plain(each: object) -> object:
    if isinstance(each, PlacedTensor):
        return each.plain
    return torch.device("cpu") if isinstance(each, torch.device) and each.type == KIND else each


def _placed(each: object, device: torch.device) -> object:
    return PlacedTensor(each, device) if isinstance(each, Tensor) else each


@contextmanager
def several_devices() -> Iterator[None]:
    """Inside, "meta:1" and its like hold numbers."""
    made: Callable[..., Tensor] = torch.tensor

    def tensor(*args: Any, device: torch.device | str | None = None, **kwargs: Any) -> Tensor:  # noqa: ANN401
        found = made(*args, **kwargs)  # with a device it would go past the mode
        return found if device is None else found.to(device)

    with patch.object(torch, "tensor", tensor), _Placing():  # type: ignore[no-untyped-call]
        yield


def spread(model: PreTrainedModel) -> PreTrainedModel:
    """Put a model's blocks on three devices in turn, in place, with accelerate's hooks: embedding first, head last."""
    hooks = pytest.importorskip("accelerate.hooks", reason="accelerate places models, and is not installed")
    architecture = Architecture(model)
    blocks = [name for name, module in model.named_modules() if module in architecture.blocks]
    places: dict[str, torch.device] = {}
    for name, module in model.named_modules():
        number = next((index for index, block in enumerate(blocks) if name == block), None)
        if number is not None:
            places[name] = DEVICES[number % len(DEVICES)]
        elif list(module.parameters(recurse=False)) and not any(name.startswith(f"{block}.") for block in blocks):
            places[name] = DEVICES[-1] if module in {architecture.norm, architecture.head} else DEVICES[0]
    for path, place in places.items():
        _move(model.get_submodule(path), place)
    _move(model, DEVICES[0], only_from=torch.device("cpu"))
    hooks.attach_align_device_hook_on_blocks(
        model,
        execution_device=places | {"": DEVICES[0]},
        offload=dict.fromkeys(places, False),
        skip_keys=getattr(model, "_skip_keys_device_placement", None),
        tied_params_map={},
    )
    return model


def _move(module: nn.Module, device: torch.device, only_from: torch.device | None = None) -> None:
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None and only_from in {None, value.device}:
                part._parameters[name] = nn.Parameter(value.detach().to(device), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None and only_from in {None, buffer.device}:
                part._buffers[name] = buffer.to(device)
