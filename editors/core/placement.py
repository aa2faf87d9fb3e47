"""Where the weights of a model are that accelerate has spread over devices, main memory and disk.

Accelerate gives a module that does not fit a hook: between passes its parameters are on "meta" and have no values, in a
pass the hook puts values from a read-only map (main memory, or files) into them. What is written into such a
parameter is lost at the next pass. So a module whose weights an editor reads or writes is *settled*: its parameters
stay on the device that computes it, and the hook only moves inputs from then on. The map, and so the files, are never
written. An editor settles few modules: those that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Hook = Any  # accelerate.hooks.AlignDevicesHook; accelerate is optional, and its hooks are known by what they have


def hooks(module: nn.Module) -> list[Hook]:
    """Return accelerate's hooks of one module, without those of its children."""
    found = getattr(module, "_hf_hook", None)
    parts = getattr(found, "hooks", (found,))  # accelerate chains several as one
    return [hook for hook in parts if hasattr(hook, "weights_map")]


def maps(model: nn.Module) -> list[object]:
    """Return what accelerate's hooks read weights from: nobody writes it, so that copies of the model can share it."""
    found = [hook for module in model.modules() for hook in hooks(module)]
    return [each for hook in found for each in (hook.weights_map, hook.tied_params_map) if each is not None]


def settle(module: nn.Module) -> None:
    """Keep the parameters of one module on the device that computes it; nothing to do where they are there already."""
    from torch import nn  # noqa: PLC0415 - a command line is refused without it, and reads this module

    for hook in hooks(module):
        if hook.offload:
            for name, parameter in list(module.named_parameters(recurse=False)):
                value = hook.weights_map[name].to(hook.execution_device, parameter.dtype)
                module.register_parameter(name, nn.Parameter(value, requires_grad=parameter.requires_grad))
            hook.offload = False


def settled(model: nn.Module, name: str) -> nn.Parameter:
    """Settle the module that has the parameter of that name, and return the parameter."""
    settle(model.get_submodule(name.rpartition(".")[0]))
    return model.get_parameter(name)


class _Values(Mapping[str, "Tensor"]):
    """Parameters by name; the value of one that is not there between passes is read when it is asked for."""

    def __init__(self, model: nn.Module, named: Mapping[str, Tensor]) -> None:
        self._model = model
        self._named = named

    def __getitem__(self, name: str) -> Tensor:
        parameter = self._named[name]
        path, _, leaf = name.rpartition(".")
        maps = [hook.weights_map for hook in hooks(self._model.get_submodule(path)) if hook.offload]
        if not parameter.is_meta or not maps:
            return parameter
        value: Tensor = maps[0][leaf]
        return value.to(parameter.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


def values(model: nn.Module, *, remove_duplicate: bool = True) -> Mapping[str, Tensor]:
    """Return a model's parameters by name, with their values wherever these are; read-only where they are elsewhere.

    Args:
        model: The model.
        remove_duplicate: Whether tied parameters come once, under their first name.
    """
    named = dict(model.named_parameters(remove_duplicate=remove_duplicate))
    return _Values(model, named) if is_offloaded(model) else named


def is_offloaded(model: nn.Module) -> bool:
    """Return whether some weights are kept off the device that computes, and come for a pass only."""
    return any(hook.offload for module in model.modules() for hook in hooks(module))


def devices(model: nn.Module) -> set[torch.device]:
    """Return the devices that compute: those of the parameters, or to which these come for a pass."""
    import torch  # noqa: PLC0415 - as above

    found: set[torch.device] = set()
    for module in model.modules():
        away = [torch.device(hook.execution_device) for hook in hooks(module) if hook.offload]
        found.update(away or (parameter.device for parameter in module.parameters(recurse=False)))
    return found
