"""EMMET's promises on tiny random models: it is ROME for one edit, and holds a batch to its equalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from editors import Edit, create
from editors.models.architecture import Architecture
from meta.support import tiny_models as tiny
from meta.support.strategies import shapes

few = settings(max_examples=8, deadline=None)
BARE = [["{}"]]
FREE = {"layers": [1], "v_weight_decay": 0.0, "clamp_norm_factor": 1e6}  # neither term knows where a search starts


def _edited(method: str, model: PreTrainedModel, edits: Sequence[Edit], **changes: Any) -> Tensor:  # noqa: ANN401
    """Edit a model; the change ΔW [out, in] of block 1's down-projection."""
    matrix = Architecture(model).down(1)
    before = matrix.weight.detach().clone()
    given = {"covariances": tiny.moments(model), "contexts": BARE, **tiny.settings(method, **changes)}
    create(method, model, tiny.tokenizer(), **given).apply_many(edits)
    return matrix.stored(matrix.weight.detach() - before)


@few
@given(shape=shapes, number=st.integers(0, 3))
def test_one_edit_is_romes(shape: tiny.Shape, number: int) -> None:
    """Where one key and no term that depends on the search's start are used, ΔW is ROME's to a relative 1e-4."""
    ours, romes = shape.build(), shape.build()
    change = _edited("emmet", ours, [tiny.EDITS[number]], **FREE)
    wanted = _edited("rome", romes, [tiny.EDITS[number]], **FREE)
    assert float(wanted.norm()) > 1e-6
    assert float((change - wanted).norm() / wanted.norm()) <= 1e-4


@pytest.mark.parametrize("slack", [0.0, 0.1])
def test_a_batch_meets_its_equalities_but_for_the_slack(slack: float) -> None:
    """ΔW K = R for all edits of a batch if lambda is 0; with a lambda less of each residual is met."""
    tape: dict[str, Tensor] = {}
    model = tiny.model(dtype=torch.float64)
    matrix = Architecture(model).down(1)
    before = matrix.weight.detach().clone()
    values = tiny.settings("emmet", layers=[1], emmet_lambda=slack)
    given = {"covariances": tiny.moments(model), "contexts": tiny.CONTEXTS, "record": tape.__setitem__}
    create("emmet", model, tiny.tokenizer(), **given, **values).apply_many(tiny.EDITS)
    missed = tape["resid.layer1"] - (matrix.weight.detach() - before) @ tape["ks.layer1"].T.double()
    share = float(missed.norm() / tape["resid.layer1"].norm())
    assert share > 0.05 if slack else share < 1e-9


def test_an_edit_asked_twice_in_a_batch_without_slack_is_met_once() -> None:
    """Equal keys with equal values are no contradiction: ΔW is that of the edit alone, and finite."""
    once, twice = tiny.model(dtype=torch.float64), tiny.model(dtype=torch.float64)
    change = _edited("emmet", twice, [tiny.EDITS[0]] * 2, layers=[1], emmet_lambda=0.0)
    wanted = _edited("emmet", once, tiny.EDITS[:1], layers=[1])
    assert torch.allclose(change, wanted, rtol=1e-6, atol=1e-9)


def test_a_batch_is_memits_with_its_weight_times_lambda() -> None:
    """With w lambda for its weight MEMIT of one layer is EMMET on a batch, and not on one edit."""
    for edits, same in ((tiny.EDITS, True), (tiny.EDITS[:1], False)):
        ours, memits = tiny.model(dtype=torch.float64), tiny.model(dtype=torch.float64)
        change = _edited("emmet", ours, edits, layers=[1], emmet_lambda=0.1)
        wanted = _edited("memit", memits, edits, layers=[1], mom2_update_weight=2.0)
        assert torch.allclose(change, wanted, rtol=1e-8, atol=1e-12) is same


def test_a_batch_is_not_its_edits_one_after_another() -> None:
    """`apply_many` hands all edits to one solution."""
    single = tiny.model()
    one_by_one = torch.stack([_edited("emmet", single, [edit]) for edit in tiny.EDITS]).sum(0)
    assert not torch.allclose(_edited("emmet", tiny.model(), tiny.EDITS), one_by_one, rtol=1e-2)
