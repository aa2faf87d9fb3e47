"""Which devices a process uses, and how much of each: with `--device=cuda -n 8` worker i takes device i."""

from __future__ import annotations

import os
from collections.abc import Mapping

from editgate.errors import ConfigError
from editgate.options.sizes import in_bytes


def refuse_more_workers(device: str, workers: int) -> None:
    """Refuse more workers than there are devices of a kind: two large models would not fit where one does.

    Args:
        device: as `--device` names it. One with a number (`cuda:1`) is for all workers, and so is the CPU.
        workers: how many `-n` asks for; 0 or 1 is a process alone.

    Raises:
        ConfigError: there are too few devices.
    """
    if workers < 2 or not each_worker_has_one(device):
        return
    there = _count(device)
    if there < workers:
        raise ConfigError(
            f"-n {workers} with --device {device}: each worker takes a device, and there are {there}. "
            f"Allowed: at most -n {there}, or one device for all workers: --device {device}:0."
        )


def each_worker_has_one(device: str) -> bool:
    """Return whether each worker takes a device of its own: the name is of a kind, and of no single device."""
    return device not in {"cpu", "auto", "mps"} and ":" not in device


def of_this_process(device: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the device that this process loads models on: a worker of `-n` has one of its own.

    A worker that xdist started in place of one that crashed has a higher number; it begins anew at the first device.

    Args:
        device: as `--device` names it.
        environment: where xdist says which worker this is.
    """
    worker = environment.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not worker.isdigit() or not each_worker_has_one(device):
        return device
    return f"{device}:{int(worker) % _count(device)}"


def max_memory(given: str | None, device: str) -> dict[int | str, int] | None:
    """Read `--max-memory`: bytes by a device's number, or by "cpu" for main memory.

    Raises:
        ConfigError: it has another form, names a device that is not there, or `--device` is not `auto`.
    """
    if given is None:
        return None
    if device != "auto":
        raise ConfigError(f"--max-memory {given!r} is for --device auto, and --device is {device}.")
    there = [*map(str, range(_accelerators())), "cpu"]
    found: dict[int | str, int] = {}
    for part in given.split(","):
        name, _, size = part.strip().partition(":")
        if name not in there or found.keys() & {name, *([int(name)] if name != "cpu" else [])}:
            raise ConfigError(
                f"--max-memory {given!r}: {name!r} cannot be used. Allowed, each once: {', '.join(there)}."
            )
        try:
            found[name if name == "cpu" else int(name)] = in_bytes(size)
        except ValueError:
            raise ConfigError(
                f"--max-memory {given!r}: {size!r} is no size. Allowed: DEVICE:SIZE,…, such as 0:20GiB,cpu:60GiB."
            ) from None
    return found


def _accelerators() -> int:
    import torch  # noqa: PLC0415 - as in `_count`

    return torch.accelerator.device_count()


def _count(kind: str) -> int:
    """How many devices of a kind there are; of a kind that cannot be counted, one."""
    import torch  # noqa: PLC0415 - options are read without it where models run on the CPU

    count = getattr(torch.get_device_module(kind), "device_count", None)
    return 1 if count is None else max(1, int(count()))
