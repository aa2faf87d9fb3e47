"""The checkpoints of a training: one that was damaged is never gone on from."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from editors.core import training, unfinished
from editors.core.errors import DamagedCheckpoint
from editors.core.training import train
from editors.core.weights import same_bits

DONE, STEPS = 4, 6  # steps until the checkpoint, and in all


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 2)


def trained(scratch: Path | None, *, until: int = STEPS, width: int = 3) -> tuple[Tensor, list[int]]:
    """Return the weights after the last step, and which steps were made; the training dies at step `until`."""
    torch.manual_seed(0)
    network, made = nn.Linear(width, 1), []

    def loss(step: int, generator: torch.Generator) -> Tensor:
        if step == until:
            raise KeyboardInterrupt
        made.append(step)
        batch = torch.randn(5, width, generator=generator)
        distance: Tensor = network(batch) - batch.sum(1, keepdim=True)
        return distance.square().mean()

    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    with suppress(KeyboardInterrupt):
        train("net", network, optimizer, loss, steps=STEPS, seed=0, clip=10.0, scratch=scratch)
    return network.weight.detach().clone(), made


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-20] ^= 4  # in a weight
    file.write_bytes(content)


def unsigned(file: Path) -> None:
    save_file(load_file(file), file)


def of_another_training(file: Path) -> None:
    trained(file.parent.parent / "other", until=3)
    shutil.copy(file.parent.parent / "other" / file.name, file)


def of_another_network(file: Path) -> None:
    file.unlink()
    trained(file.parent, until=3, width=7)


@pytest.mark.parametrize("damage", [truncated, empty, flipped, unsigned, of_another_training, of_another_network])
def test_a_damaged_checkpoint_is_begun_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """It is told in a warning with the file, and the network is that of a training that was never interrupted."""
    whole, _ = trained(None)
    trained(tmp_path / "one", until=5)
    damage(tmp_path / "one" / "net.safetensors")
    with pytest.warns(DamagedCheckpoint, match=r"net\.safetensors is damaged \(.*\); the training begins anew"):
        again, made = trained(tmp_path / "one")
    assert made == list(range(STEPS))
    assert same_bits(again, whole)


def test_a_good_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    """The steps before it are not made again, and the network is the same."""
    whole, _ = trained(None)
    assert trained(tmp_path, until=5)[1] == list(range(5))
    with safe_open(tmp_path / "net.safetensors", framework="pt") as opened:
        assert int(opened.get_tensor("step")) == DONE
    again, made = trained(tmp_path)
    assert made == list(range(DONE, STEPS))
    assert same_bits(again, whole)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library says in its own words becomes the system's error, and nothing half-written stays."""

    def full(*_: object) -> None:
        (tmp_path / "net.tmp").write_bytes(b"half")
        raise SafetensorError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})")

    monkeypatch.setattr(unfinished, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        trained(tmp_path)
    assert caught.value.filename == str(tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []
