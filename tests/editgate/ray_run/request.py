"""What `--ray` and `--ray-worker` ask for, read without Ray."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from editgate.errors import ConfigError
from editgate.inputs.files.validation import brief
from editgate.inputs.models import ModelSource
from editgate.options.options import Options
from editgate.options.sizes import in_bytes
from editgate.plan.costs import megabytes

HERE = "here"  # what `--ray` alone stands for
AUTO = "auto"
ADDRESS = re.compile(r"(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})", re.ASCII)
DEVICES = ("cpu", "cuda", "auto")
PROCESS = 10**9  # bytes of a worker without a model: python, torch, transformers and lm-eval take 0.7 GB
A_MODEL = 1.6  # what a run takes at most, in weights: docs/big-models.md
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes


@dataclass(frozen=True)
class Share:
    """What one worker takes of a node.

    Attributes:
        cpus: cores.
        gpus: devices; a part of one where several workers share it.
        memory: bytes; 0: nobody knows how large the model is, so none is asked for.
    """

    cpus: float
    gpus: float
    memory: int

    def fit_into(self, there: Mapping[str, float]) -> int:
        """Return how many workers a node has room for, by what Ray says of it."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory)}
        return min(math.floor(there.get(name, 0.0) / amount + 1e-6) for name, amount in wanted.items() if amount)

    def __str__(self) -> str:
        """As on the command line."""
        memory = f",memory={self.memory / 1e9:.1f}GB" if self.memory else ""
        return f"cpus={self.cpus:g},gpus={self.gpus:g}{memory}"


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        address: HOST:PORT of a cluster, `auto`, or `HERE`.
        share: what each worker takes.
    """

    address: str
    share: Share

    @property
    def joins(self) -> bool:
        """Whether the cluster is there already."""
        return self.address != HERE


def read(options: Options, models: Iterable[ModelSource]) -> Request:
    """Return what the options ask for.

    Args:
        options: with `--ray`.
        models: that the run loads.

    Raises:
        ConfigError: Ray is not installed, or an option cannot be so.
    """
    assert options.ray is not None
    if options.ray not in {HERE, AUTO} and not _is_address(options.ray):
        raise ConfigError(
            f"--ray {brief(options.ray)} is no address. Allowed: --ray alone for a cluster on this machine, {AUTO}, "
            "HOST:PORT."
        )
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--ray needs the package ray. Install it: pip install 'editgate[ray]'")
    if options.device not in DEVICES:
        raise ConfigError(
            f"--device {options.device} with --ray: Ray gives each worker its devices. Allowed: {', '.join(DEVICES)}."
        )
    return Request(options.ray, _share(options, models))


def _is_address(text: str) -> bool:
    found = ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found["port"]) < 65536


def _share(options: Options, models: Iterable[ModelSource]) -> Share:
    on_gpu = options.device != "cpu"
    largest = max((_weights(model, options.dtype) for model in models), default=0.0)
    memory = 0.0 if math.isinf(largest) else PROCESS + A_MODEL * largest
    amounts = {"cpus": 1.0, "gpus": 1.0 if on_gpu else 0.0, "memory": memory}
    for text in filter(None, (options.ray_worker or "").split(",")):
        name, _, value = text.partition("=")
        try:
            amounts[name] = READERS[name](value)
        except (KeyError, ValueError):
            raise ConfigError(
                f"--ray-worker {brief(text)} is nothing that a worker takes. Allowed: cpus=NUMBER, gpus=NUMBER, "
                "memory=SIZE such as 8GB or 500MiB, joined by commas; memory=0 asks for none."
            ) from None
    if amounts["cpus"] <= 0 or (on_gpu and amounts["gpus"] <= 0):
        raise ConfigError(f"--ray-worker {options.ray_worker}: a worker takes some of each core and device it needs.")
    return Share(amounts["cpus"], amounts["gpus"], int(amounts["memory"]))


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def _memory(text: str) -> float:
    """Bytes, with their unit: who writes memory=8 has forgotten it."""
    if text.replace(".", "").isdecimal() and float(text):
        raise ValueError(text)
    return float(in_bytes(text))


READERS = {"cpus": _number, "gpus": _number, "memory": _memory}  # of what a worker takes; each raises a ValueError


def _weights(model: ModelSource, dtype: str) -> float:
    """Return the bytes of a model's weights in memory; infinite if they are not in a folder here."""
    there = megabytes(model) * 1e6
    if not there:
        return math.inf
    config = json.loads((Path(model.location) / "config.json").read_text(encoding="utf-8"))
    kept = WIDTHS.get(str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch."), 4)
    return there * WIDTHS[dtype] / kept
