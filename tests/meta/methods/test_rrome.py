"""R-ROME's promises on tiny random models: the value is met at the one key that is used everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from editors import HyperparameterError, create
from editors.core.weights import same_bits
from editors.models.architecture import Architecture
from meta.support import tiny_models as tiny
from meta.support.strategies import shapes

few = settings(max_examples=8, deadline=None)


def _edited(method: str, model: PreTrainedModel, contexts: list[list[str]], **changes: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """Edit a model; what was recorded, names without the parameter's."""
    tape: dict[str, Tensor] = {}
    values = tiny.settings(method, **changes)
    given = {"covariances": tiny.moments(model), "contexts": contexts, "record": tape.__setitem__}
    create(method, model, tiny.tokenizer(), **given, **values).apply(tiny.EDITS[0])
    return {name.partition(".")[0]: value for name, value in tape.items()}


@few
@given(shape=shapes, prompt_keys=st.booleans())
def test_the_value_is_met_at_the_key_that_is_used(*, shape: tiny.Shape, prompt_keys: bool) -> None:
    """(W + ΔW) k + b = v*, with the mean key over contexts, or the bare prompt's for p-ROME; rank one."""
    model = shape.build()
    matrix = Architecture(model).down(1)
    before = matrix.weight.detach().clone()
    keys = {"enable_random_prefix_keys": not prompt_keys, "enable_prompt_keys": prompt_keys}
    tape = _edited("rrome", model, tiny.CONTEXTS, **keys)
    change = matrix.stored(matrix.weight - before)
    reached = change @ tape["k_cur_input"] + tape["cur_output"]
    assert torch.allclose(reached, tape["v_star"], atol=1e-6)
    assert torch.linalg.matrix_rank(change, rtol=1e-9) == 1
    assert float(change.norm()) > 1e-6
    mean = torch.linalg.solve(tiny.moments(model)[matrix.path], tape["k_cur_input"])
    assert torch.allclose(tape["u"], mean / mean.norm(), atol=1e-9)


@few
@given(shape=shapes)
def test_with_one_context_it_is_rome(shape: tiny.Shape) -> None:
    """With the bare prompt alone there is one key only, and R-ROME is ROME bit by bit; with more it is not."""
    ours, romes, more = shape.build(), shape.build(), shape.build()
    _edited("rrome", ours, [["{}"]])
    _edited("rome", romes, [["{}"]])
    _edited("rrome", more, tiny.CONTEXTS)
    path = Architecture(ours).down(1).parameter
    assert same_bits(ours.get_parameter(path), romes.get_parameter(path))
    assert not torch.allclose(more.get_parameter(path), romes.get_parameter(path), atol=1e-9)


@pytest.mark.parametrize("both", [True, False])
def test_one_key_must_be_chosen(*, both: bool) -> None:
    """Both kinds of key, or neither, is refused with the two names."""
    flags = {"enable_random_prefix_keys": both, "enable_prompt_keys": both}
    with pytest.raises(HyperparameterError, match="exactly one of enable_random_prefix_keys and enable_prompt_keys"):
        create("rrome", tiny.model(), tiny.tokenizer(), **tiny.settings("rrome", **flags))
