"""Covariances are summed in as few passes as there is room for, no further than needed, and go on where killed."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from editgate.miniature.recipes import WEIGHTS
from editgate.miniature.world.corpus import covariance_texts
from editors.core.errors import DamagedCheckpoint
from editors.core.progress import listening
from editors.models import covariance
from editors.models.architecture import Architecture
from editors.models.covariance import compute_covariances, cost, passes
from meta.support import tiny_models as tiny

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


def _room_for(monkeypatch: pytest.MonkeyPatch, width: int, count: int) -> None:
    """Leave room for so many sums of [width, width], whatever the model's size."""
    monkeypatch.setattr(covariance, "SMALL", 8 * width**2 * count)
    monkeypatch.setattr(covariance, "SHARE", 1 << 40)


def _width(loaded: tuple[Architecture, object]) -> int:
    weight: Tensor = loaded[0].down(0).weight
    return weight.shape[1]


def test_where_there_is_room_for_one_sum_each_has_a_pass_of_its_own(
    loaded: tuple[Architecture, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All matrices are there with the bits of one pass, and no two sums are alive at once."""
    whole = summed(loaded)
    _room_for(monkeypatch, _width(loaded), 1)
    add, made = covariance._add, list[weakref.ref[Tensor]]()
    alive: list[int] = []

    def watching(sums: dict[str, Tensor], *given: object) -> None:
        add(sums, *given)  # type: ignore[arg-type]
        made.extend(weakref.ref(total) for total in sums.values() if all(total is not known() for known in made))
        alive.append(sum(known() is not None for known in made))

    monkeypatch.setattr(covariance, "_add", watching)
    again = summed(loaded)
    assert again.keys() == whole.keys() == {loaded[0].down(layer).path for layer in LAYERS}
    assert all(torch.equal(again[path], whole[path]) for path in whole)
    assert len(made) == len(LAYERS)
    assert set(alive) == {1}


def test_a_killed_second_pass_goes_on_and_the_first_is_not_run_again(
    loaded: tuple[Architecture, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever kept what the first pass gave asks for the rest: its sums go on to the same bits, each text read once."""
    whole = summed(loaded)
    _room_for(monkeypatch, _width(loaded), 1)
    architecture, tokenizer = loaded
    kept: dict[str, Tensor] = {}
    read = {"pass 1 of 2: text": 0, "pass 2 of 2: text": 0, "text": 0}
    stop_at = 20

    def heard(what: str, done: int, total: int) -> None:
        read[what] = max(read[what], done)
        if what.startswith("pass 2") and done >= stop_at:
            raise KeyboardInterrupt
        again.append(done / total)

    def run(layers: tuple[int, ...]) -> None:
        with listening(heard):
            compute_covariances(
                architecture,
                tokenizer,  # type: ignore[arg-type]
                covariance_texts(40),
                [architecture.down(layer) for layer in layers],
                tmp_path,
                keep=kept.__setitem__,
            )

    again: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        run(LAYERS)
    assert list(kept) == [architecture.down(0).path]
    again.clear()
    run((1,))
    assert read["pass 1 of 2: text"] == read["text"] == 40
    assert min(again) >= stop_at / 40
    assert all(torch.equal(kept[path], whole[path]) for path in whole)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("count", "groups"), [(1, [[0], [1], [2]]), (2, [[0], [1, 2]]), (3, [[0, 1, 2]])])
def test_the_lowest_pass_has_the_fewest_matrices(
    count: int, groups: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes are filled from above, in any order of asking, and what they will take is told: room, tokens, passes."""
    architecture = Architecture(tiny.model())
    _room_for(monkeypatch, 24, count)
    matrices = [architecture.down(layer) for layer in (2, 0, 1)]
    found = passes(architecture, matrices)
    assert found == [[architecture.down(layer) for layer in group] for group in groups]
    told = cost(architecture, tiny.tokenizer(), tiny.CORPUS, matrices)
    assert (told.passes, told.size) == (len(groups), count * 8 * 24**2)
    assert (f" in {len(groups)} passes: " in str(told)) == (len(groups) > 1)


def test_a_batch_takes_a_tenth_of_the_weights_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full batch where the model is large enough; fewer tokens where a tenth of it, or 64 MiB, is less."""
    monkeypatch.setattr(covariance, "TOKENS_A_BATCH", 4096)
    matrix = SimpleNamespace(weight=torch.zeros(1, 2816))
    matrix.stored = lambda weight: weight

    def tokens(size: int) -> int:
        return covariance._tokens_a_batch(SimpleNamespace(size=size), [matrix])  # type: ignore[arg-type, list-item]

    assert tokens(10**10) == 4096
    assert tokens(10**9) == 10**8 // (4 * 4 * 2816)
    assert tokens(10**6) == (1 << 26) // (4 * 4 * 2816)
