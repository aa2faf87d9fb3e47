"""Training loop for the networks of MEND and SERAC: seeded, with a progress bar and resumable checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from editors.core import unfinished
from editors.core.progress import is_heard, tell

SAVE_EVERY = 100  # steps

LossOf = Callable[[int, torch.Generator], Tensor]


def train(
    name: str,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: LossOf,
    *,
    steps: int,
    seed: int,
    clip: float,
    scratch: Path | None = None,
    cooldown: float = 0.0,
) -> None:
    """Minimize `loss_of` over the network's parameters, in place.

    Args:
        name: Name of the progress bar and of the checkpoint file.
        network: The network to train; checkpoints include its buffers.
        optimizer: Over (some of) the network's parameters.
        loss_of: Called with the step and a generator that depends on seed and step only, so that a resumed training
            draws what an uninterrupted one would have; gives the step's loss.
        steps: Number of steps.
        seed: Of the generator.
        clip: Largest L2 norm of a step's gradient; a step whose gradient is not finite is skipped.
        scratch: Folder for a checkpoint; None: no checkpoints.
        cooldown: Fraction of the steps, at the end, over which the learning rates fall linearly to 0.

    Raises:
        OSError: a checkpoint cannot be written.
    """
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    file = None if scratch is None else scratch / f"{name}.safetensors"
    begin = 0 if file is None else _resume(file, network, optimizer)
    shown = {"desc": f"training {name}", "mininterval": 2, "leave": False, "disable": is_heard()}
    bar = tqdm(range(begin, steps), initial=begin, total=steps, **shown)
    for step in bar:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (steps - step) / max(cooldown * steps, 1.0))
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(step, generator)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
        if bool(norm.isfinite()):
            optimizer.step()
        bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
        tell(f"training {name}: step", step + 1, steps)
        if file is not None and (step + 1) % SAVE_EVERY == 0:
            _save(file, step + 1, network, optimizer)


def _save(file: Path, step: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write network, optimizer and step.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    tensors = {f"network.{key}": value.detach().clone() for key, value in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).clone()
    unfinished.save(file, tensors | {"step": torch.tensor(step)})


def _resume(file: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint and return its step; 0, and nothing changed, if there is none that can be trusted."""
    wanted = {f"network.{name}": value.shape for name, value in network.state_dict().items()}

    def fits(tensors: Mapping[str, Tensor]) -> bool:
        return {name: value.shape for name, value in tensors.items() if name.startswith("network.")} == wanted

    tensors = unfinished.load(file, fits, "training")
    if tensors is None:
        return 0
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, field = key.split(".", 2)
            state.setdefault(int(index), {})[field] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(tensors["step"])
