"""ENCORE's promises on tiny random models: MEMIT's solution with its own edits among what is preserved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from editors import Edit, create
from editors.encore import EncoreHyperparameters
from editors.locate.value_search import search_value
from editors.models.architecture import Architecture
from meta.support import tiny_models as tiny
from meta.support.strategies import shapes

few = settings(max_examples=8, deadline=None)
Taken = dict[str, list[Tensor]]


def _edited(method: str, model: PreTrainedModel, batches: Sequence[Sequence[Edit]], **changes: Any) -> Taken:  # noqa: ANN401
    """Edit block 1 of a model batch after batch; what was recorded, one entry a call, and the changes ΔW [out, in]."""
    matrix = Architecture(model).down(1)
    taken: Taken = {"update": []}
    given = {"covariances": tiny.moments(model), "contexts": tiny.CONTEXTS}
    values = tiny.settings(method, layers=[1], **changes)
    editor = create(method, model, tiny.tokenizer(), record=_appended(taken), **given, **values)
    for batch in batches:
        before = matrix.weight.detach().clone()
        editor.apply_many(batch)
        taken["update"].append(matrix.stored(matrix.weight.detach() - before))
    return taken


def _appended(taken: Taken) -> Any:  # noqa: ANN401 - what `record` takes
    return lambda name, value: taken.setdefault(name, []).append(value)


@few
@given(shape=shapes, weight=st.floats(0.1, 10), length=st.floats(0.01, 1), size=st.sampled_from([1, 2]))
def test_an_update_is_solved_against_all_edits_so_far(
    *, shape: tiny.Shape, weight: float, length: float, size: int
) -> None:
    """ΔW (w C + μ I + Σ K Kᵀ) = R Kᵀ, with the keys of this batch and of all before it, for every batch."""
    model = shape.build()
    moment = tiny.moments(model)[Architecture(model).down(1).path]
    batches = [tiny.EDITS[start : start + size] for start in range(0, len(tiny.EDITS), size)]
    taken = _edited("encore", model, batches, mom2_update_weight=weight, update_norm_lambda=length)
    preserved = weight * moment + length * torch.eye(len(moment), dtype=moment.dtype)
    for update, keys, residual in zip(taken["update"], taken["ks.layer1"], taken["resid.layer1"], strict=True):
        preserved = preserved + keys.T.double() @ keys.double()
        assert torch.allclose(update @ preserved, residual @ keys.double(), rtol=1e-5, atol=1e-7)


@few
@given(shape=shapes)
def test_the_first_edit_without_its_additions_is_memits(shape: tiny.Shape) -> None:
    """With μ = 0 and the search of MEMIT the first update is MEMIT's; the second, which has a memory, is not."""
    ours, memits = shape.build(), shape.build()
    batches = [tiny.EDITS[:1], tiny.EDITS[1:2]]
    plain = {"update_norm_lambda": 0.0, "mpes_steps": None, "mom2_update_weight": 1.0}
    mine = _edited("encore", ours, batches, **plain)["update"]
    theirs = _edited("memit", memits, batches, mom2_update_weight=1.0)["update"]
    assert torch.allclose(mine[0], theirs[0], rtol=1e-7, atol=1e-10)
    assert not torch.allclose(mine[1], theirs[1], rtol=1e-3)


def test_a_later_edit_moves_what_an_earlier_one_wrote_less_than_memits_does() -> None:
    """What the second update adds at the first edit's key is smaller than what MEMIT's adds there."""
    moved = {}
    for method, plain in (("encore", {"update_norm_lambda": 0.0, "mpes_steps": None}), ("memit", {})):
        model = tiny.model(dtype=torch.float64)
        taken = _edited(method, model, [tiny.EDITS[:1], tiny.EDITS[1:2]], mom2_update_weight=0.01, **plain)
        moved[method] = float((taken["update"][1] @ taken["ks.layer1"][0].T.double()).norm())
    assert moved["encore"] < 0.5 * moved["memit"]


class _Bare:
    """A window on one row with one label, whose logits are the vector itself, the first token two ahead."""

    facts = torch.zeros(2, dtype=torch.int64)

    def logits(self, delta: Tensor) -> Tensor:
        return torch.stack([delta + torch.tensor([2.0, 0.0, 0.0]), torch.zeros(3)])

    def unchanged(self) -> Tensor:
        return self.logits(torch.zeros(3))


def test_a_search_ends_once_the_target_is_the_likeliest() -> None:
    """It ends at the loss that finds the target the likeliest token for the n-th time, with n - 1 steps more than 1."""
    values = tiny.settings("encore", v_num_grad_steps=60, v_weight_decay=0.0, clamp_norm_factor=50.0)
    hyperparameters = EncoreHyperparameters(**values)
    search = partial(search_value, _Bare(), torch.tensor([[1]]), torch.ones(3), hyperparameters, lambda *_: None)
    steps = {patience: search(patience=patience).steps for patience in (1, 3, None)}
    assert steps[1] > 1
    assert steps[3] == steps[1] + 2
    assert steps[None] > steps[3]
