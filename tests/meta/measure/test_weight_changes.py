"""The cheap looks at a model see what is there."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from editgate.errors import EvaluationError, NonFiniteModel
from editgate.measure import weight_changes
from editgate.measure.perplexity import perplexity
from editgate.measure.weight_changes import (
    assert_finite,
    changed_parameters,
    changed_since,
    fingerprint,
    relative_changes,
)
from editors.core.weights import same_bits
from meta.support import toy

EDITED = "model.layers.0.mlp.down_proj.weight"


def _base(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapper"])
def test_perplexity_is_exp_of_the_mean_loss(wrapped: bool) -> None:  # noqa: FBT001 - a parameter
    """It weighs every token alike, over texts of different lengths, and equals the model's own loss."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    texts = ["red blue green", "cat dog sun moon Paris Rome gold iron", "tea"]
    losses: list[Tensor] = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        logprobs = model(ids).logits[0, :-1].detach().log_softmax(-1)
        losses += (-logprobs.gather(1, ids[0, 1:, None])).flatten()
    wanted = math.exp(float(torch.stack(losses).mean()))
    assert perplexity(toy.Wrapper(model) if wrapped else model, tokenizer, texts) == pytest.approx(wanted, rel=1e-4)


def test_perplexity_needs_something_to_predict() -> None:
    """Texts of one token are no evidence; NaN weights are no perplexity."""
    model = toy.model()
    with pytest.raises(EvaluationError, match="none of 1 texts"):
        perplexity(model, toy.tokenizer(bos=False), ["a"])
    with torch.no_grad():
        model.get_parameter(EDITED).fill_(float("nan"))
    with pytest.raises(NonFiniteModel, match="perplexity"):
        perplexity(model, toy.tokenizer(bos=True), ["red blue"])


def test_growth_is_the_relative_norm_of_the_change() -> None:
    """Only what changed is listed, by |change| / |base|, largest first."""
    model = toy.model()
    base = _base(model)
    with torch.no_grad():
        model.get_parameter(EDITED).mul_(1.5)
        model.get_parameter("lm_head.weight").mul_(3)
    growth = relative_changes(base, model)
    assert list(growth) == ["lm_head.weight", EDITED]
    assert list(growth.values()) == pytest.approx([2.0, 0.5])


def test_a_change_of_one_bit_is_a_change() -> None:
    """Comparison is by bits: -0.0 is not 0.0, NaN is itself, another type is another tensor."""
    zero, nan = torch.zeros(3), torch.full((3,), float("nan"))
    assert not same_bits(zero, -zero)
    assert same_bits(nan, nan.clone())
    assert not same_bits(zero, zero.double())
    model = toy.model()
    base = _base(model)
    assert changed_parameters(base, model) == []
    with torch.no_grad():
        weight = model.get_parameter(EDITED)
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert changed_parameters(base, toy.Wrapper(model)) == [EDITED]


def test_a_tensor_that_vanished_is_named() -> None:
    """A base with a tensor that the model lacks cannot be compared."""
    with pytest.raises(EvaluationError, match=r"no tensor 'adapter.weight'"):
        changed_parameters({"adapter.weight": torch.zeros(1)}, toy.model())


def test_broken_tensors_are_named_and_counted() -> None:
    """The message lists which tensors hold NaN or infinity, and how many values of each."""
    model = toy.model()
    assert_finite(model)
    with torch.no_grad():
        model.get_parameter(EDITED)[0, :2] = float("inf")
    with pytest.raises(NonFiniteModel, match=r"in 1 tensors: model\.layers\.0\.mlp\.down_proj\.weight \(2 values\)"):
        assert_finite(toy.Wrapper(model))


def test_a_fingerprint_sees_every_way_to_change_a_parameter() -> None:
    """In place behind autograd's back, by replacement, and by tying a head again."""
    model = toy.model()
    before = fingerprint(model)
    assert changed_since(before, model) == []
    model.get_parameter(EDITED).data[0, 0] += 1
    assert changed_since(before, model) == [EDITED]
    tied = copy.deepcopy(model)
    before = fingerprint(tied)
    tied.lm_head.weight = tied.get_input_embeddings().weight
    assert changed_since(before, tied) == ["lm_head.weight"]


def test_a_large_tensor_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In many parts, of which the last is shorter: a change there is seen, and its size is that of the whole."""
    monkeypatch.setattr(weight_changes, "PART", 1000)
    model = toy.model()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = fingerprint(model)
    with torch.no_grad():
        model.get_parameter(EDITED)[-1, -1] += 1
    assert changed_since(before, model) == [EDITED]
    whole, edited = base[EDITED].double(), model.get_parameter(EDITED).detach().double()
    change = (edited - whole).norm() / whole.norm()
    assert relative_changes(base, model) == {EDITED: pytest.approx(float(change), rel=1e-12)}
