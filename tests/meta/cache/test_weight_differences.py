"""Checkpoints hold what differs from the base: small if that is of low rank, and exact to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from editgate.cache import weight_differences
from editgate.cache.store import Store
from editgate.cache.weight_differences import DIGEST, pack, unpack
from editgate.errors import StoreWarning
from editors import Editor, create
from editors.core.weights import same_bits
from meta.support import tiny_models as tiny

NAME = "weight:w"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]  # those that models are loaded in
generator = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def edited(base: Tensor, edits: int, size: float = 0.05) -> Tensor:
    """The base with so many rank-one updates, each rounded when it is added."""
    value = base.clone()
    for _ in range(edits):
        update = torch.outer(drawn(len(base)), drawn(base.shape[1]))
        value += (size * base.float().norm() / update.norm() * update).to(base.dtype)
    return value


def stored(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def comes_back(value: Tensor, base: Tensor) -> float:
    """Pack and unpack; return the packed size over the plain one."""
    packed = pack({NAME: value}, {"w": base})
    back = unpack(packed, {"w": base})[NAME]
    assert same_bits(back, value)
    return stored(packed) / value.nbytes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("edits", "share"), [(1, 0.1), (20, 0.5)])
def test_low_rank_changes_are_small_and_exact(dtype: torch.dtype, edits: int, share: float) -> None:
    """A few rank-one updates, each rounded, come back to the bit from factors that take a fraction of the room."""
    base = (0.02 * drawn(256, 1024)).to(dtype)
    packed = pack({NAME: edited(base, edits)}, {"w": base})
    assert f"packed left {NAME}" in packed
    assert comes_back(edited(base, edits), base) < share


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_few_changed_rows_are_small_and_exact(dtype: torch.dtype) -> None:
    """One row of noise costs about a row, with NaN, infinities, -0 and denormal numbers in it."""
    base = drawn(256, 1024).to(dtype)
    value = base.clone()
    value[3] = drawn(1024).to(dtype)
    tiny_number = torch.finfo(dtype).tiny / 4
    value[3, :6] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, tiny_number, -tiny_number]).to(dtype)
    assert comes_back(value, base) < 0.05


def test_a_change_of_all_of_it_is_exact() -> None:
    """Noise of full rank and another matrix come back to the bit, and never take more room than they are."""
    base = drawn(256, 512)
    assert comes_back(base + 1e-3 * drawn(256, 512), base) < 0.9
    assert comes_back(drawn(256, 512), base) <= 1.001


@pytest.mark.parametrize("shape", [(4096,), (4, 32, 64), (8192, 1), (1, 8192), (96, 96)])
def test_any_shape_comes_back(shape: tuple[int, ...]) -> None:
    """Vectors, stacks of matrices, thin and square ones; a transposed one too."""
    base = drawn(*shape)
    value = base + 0.01
    comes_back(value, base)
    comes_back(value.T.contiguous().T if value.ndim == 2 else value, base)


@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_any_bits_come_back(seed: int, dtype: torch.dtype) -> None:
    """Whatever the bits of base and value are, NaNs with their payload included."""
    random = np.random.default_rng(seed)
    base, value = (
        torch.from_numpy(random.integers(0, 256, 8192 * dtype.itemsize, dtype=np.uint8)).view(dtype).view(64, 128)
        for _ in range(2)
    )
    mixed = torch.where(torch.from_numpy(random.random((64, 128)) < 0.5), base, value)
    comes_back(mixed, base)


def test_it_is_the_same_with_any_number_of_threads() -> None:
    """What one thread packed two threads unpack, and the global random numbers go on as if nothing was drawn."""
    base = 0.02 * drawn(512, 2048)
    state = {NAME: edited(base, 40)}
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        packed = pack(state, {"w": base})
        torch.set_num_threads(2)
        assert same_bits(unpack(packed, {"w": base})[NAME], state[NAME])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_no_weight_is_kept_as_it_is() -> None:
    """Memories, small tensors and weights of another shape than the base's stand in the file as they are."""
    state = {"memory:w": drawn(128, 128), "weight:bias": drawn(8), NAME: drawn(128, 128), "weight:new": drawn(128, 128)}
    packed = pack(state, {"w": drawn(128, 64), "bias": drawn(8)})
    assert packed.keys() == state.keys()
    assert all(packed[name] is value for name, value in state.items())


def test_a_form_that_does_not_come_back_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """If unpacking gave another bit, the matrix itself is stored."""
    base = drawn(128, 128)
    value = edited(base, 1)
    real = weight_differences._unpack
    monkeypatch.setattr(weight_differences, "_unpack", lambda parts, base: real(parts, base).nextafter(torch.tensor(9)))
    assert pack({NAME: value}, {"w": base}) == {NAME: value}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda packed: packed | {f"packed e0 {NAME}": torch.zeros(9, dtype=torch.uint8)},
            "Error -3 while decompressing",
        ),
        (lambda packed: packed | {f"packed scale {NAME}": packed[f"packed scale {NAME}"] + 1}, "not what was packed"),
        (lambda packed: packed | {DIGEST: packed[DIGEST].flip(0)}, "not what was packed"),
    ],
    ids=["stream", "scale", "digest"],
)
def test_what_was_packed_otherwise_counts_as_damaged(
    tmp_path: Path, spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]], reason: str
) -> None:
    """A form that cannot be unpacked, or to something else, is no checkpoint: a warning, and it is computed again."""
    base = {"w": drawn(128, 128)}
    store = Store(tmp_path)
    packed = pack({NAME: edited(base["w"], 1)}, base)
    store.save_tensors("checkpoint", "k", spoil(packed))
    with pytest.warns(StoreWarning, match=reason):
        assert store.load_tensors("checkpoint", "k", lambda found: unpack(found, base)) is None


@pytest.mark.parametrize("method", ["rome", "memit", "ftl"])
def test_a_method_goes_on_from_a_packed_checkpoint(method: str) -> None:
    """Edits after a restored checkpoint give the same bits as edits after one another."""

    def made() -> Editor:
        given = {"covariances": tiny.moments(tiny.model()), "contexts": [["{}"]]} if method != "ftl" else {}
        return create(method, tiny.model(), tiny.tokenizer(), **given, **tiny.settings(method))

    base = dict(tiny.model().named_parameters())
    straight, resumed = made(), made()
    straight.apply(tiny.EDITS[0])
    resumed.restore(unpack(pack(straight.state(), base), base))
    straight.apply(tiny.EDITS[1])
    resumed.apply(tiny.EDITS[1])
    assert straight.state().keys() == resumed.state().keys()
    assert all(same_bits(value, resumed.state()[name]) for name, value in straight.state().items())
