"""Covariances are summed once, no further than needed, and go on where they were killed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from editgate.miniature.recipes import WEIGHTS
from editgate.miniature.world.corpus import covariance_texts
from editors.core.errors import DamagedCheckpoint
from editors.models import covariance
from editors.models.architecture import Architecture
from editors.models.covariance import compute_covariances

LAYERS = (0, 1)


@pytest.fixture(scope="module")
def loaded() -> tuple[Architecture, object]:
    """The smallest miniature and its tokenizer."""
    folder = WEIGHTS / "pythia-mini-s"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Architecture(model), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "TOKENS_A_BATCH", 200)
    monkeypatch.setattr(covariance, "SAVE_SECONDS", -1.0)


def summed(loaded: tuple[Architecture, object], scratch: Path | None = None) -> dict[str, Tensor]:
    """The covariances of two matrices."""
    architecture, tokenizer = loaded
    matrices = [architecture.down(layer) for layer in LAYERS]
    return compute_covariances(architecture, tokenizer, covariance_texts(40), matrices, scratch)  # type: ignore[arg-type]


def killed(loaded: tuple[Architecture, object], scratch: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Sum until so many batches are done."""
    add, left = covariance._add, iter(range(after))

    def counting(*arguments: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(covariance, "_add", counting)
    with pytest.raises(KeyboardInterrupt):
        summed(loaded, scratch)
    monkeypatch.setattr(covariance, "_add", add)


def test_killed_sums_go_on_to_the_same_bits(
    loaded: tuple[Architecture, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed twice, the sums are those of one pass, and no batch is read twice."""
    whole = summed(loaded)
    killed(loaded, tmp_path, monkeypatch, after=3)
    killed(loaded, tmp_path, monkeypatch, after=2)
    read: list[int] = []
    add = covariance._add

    def reading(sums: dict[str, Tensor], architecture: Architecture, rows: list[object], matrices: object) -> None:
        read.append(len(rows))
        add(sums, architecture, rows, matrices)  # type: ignore[arg-type]

    monkeypatch.setattr(covariance, "_add", reading)
    again = summed(loaded, tmp_path)
    assert all(torch.equal(again[path], whole[path]) for path in whole)
    assert 0 < sum(read) < 40


def test_damaged_sums_are_begun_anew(
    loaded: tuple[Architecture, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums with a flipped bit are not gone on from: a warning names the file, and the result is right."""
    killed(loaded, tmp_path, monkeypatch, after=3)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.warns(DamagedCheckpoint, match="checksum"):
        again = summed(loaded, tmp_path)
    whole = summed(loaded)
    assert all(torch.equal(again[path], whole[path]) for path in whole)


def test_blocks_behind_the_last_matrix_are_not_run(loaded: tuple[Architecture, object]) -> None:
    """A pass ends at the last matrix that is asked for."""
    ran: list[int] = []
    handles = [
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(loaded[0].blocks)
    ]
    summed(loaded)
    for handle in handles:
        handle.remove()
    assert set(ran) == set(LAYERS)
