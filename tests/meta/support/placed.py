"""Models that accelerate has placed: some weights in main memory and some on disk, where a pass fetches them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from editors.models.architecture import Architecture


def offload(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Take all blocks off the device, in place: every other one to files in `folder`, the rest to main memory.

    The embedding stays. On a machine with a GPU this is what `--device=auto` does with blocks that do not fit; without
    one accelerate itself would leave in main memory what is there.
    """
    hooks = pytest.importorskip("accelerate.hooks", reason="accelerate places models, and is not installed")
    utils = pytest.importorskip("accelerate.utils")
    architecture = Architecture(model)
    blocks = [name for name, module in model.named_modules() if module in architecture.blocks]
    on_disk = tuple(f"{name}." for name in blocks[::2])
    in_memory = tuple(f"{name}." for name in blocks[1::2])
    state = model.state_dict()
    utils.offload_state_dict(folder, {name: value for name, value in state.items() if name.startswith(on_disk)})
    kept = {name: value for name, value in state.items() if name.startswith(in_memory)}
    modules = [name for name, module in model.named_modules() if _is_placed_alone(module, name, blocks)]
    places = dict.fromkeys([*modules, *blocks], torch.device("cpu"))
    hooks.attach_align_device_hook_on_blocks(
        model,
        execution_device=places | {"": torch.device("cpu")},
        offload={name: name in blocks for name in places},
        weights_map=utils.OffloadedWeightsLoader(state_dict=kept, save_folder=folder),
        skip_keys=getattr(model, "_skip_keys_device_placement", None),
        tied_params_map={},
    )
    return model


def _is_placed_alone(module: nn.Module, name: str, blocks: list[str]) -> bool:
    """Whether a module has parameters of its own, and is in no block."""
    return bool(list(module.parameters(recurse=False))) and not name.startswith(tuple(f"{block}." for block in blocks))
