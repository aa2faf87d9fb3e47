"""The counter of passes counts."""

from __future__ import annotations

import pytest
import torch

from editors.models.architecture import Architecture
from meta.speed import counting as counting_module
from meta.speed.counting import Passes, bare, counting, floor
from meta.support import tiny_models as tiny


@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj"])
def test_passes_are_counted(family: str) -> None:
    """A whole pass is one forward over all tokens; one of three blocks a third; backward only where gradients go."""
    model, ids = tiny.model(family), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    model.requires_grad_(requires_grad=False)
    with counting(model) as passes:
        model(input_ids=ids)
    head = {"heads": 1, "heads_back": 0, "logits": 8}
    assert vars(passes) == pytest.approx({"forward": 1, "backward": 0, "tokens": 8, **head})
    Architecture(model).down(1).weight.requires_grad_()
    with counting(model) as passes:
        model(input_ids=ids).logits.sum().backward()
    assert vars(passes) == pytest.approx({"forward": 1, "backward": 2 / 3, "tokens": 8, **head, "heads_back": 1})
    with counting(model) as passes:
        Architecture(model).mlp(0)(torch.zeros(1, 2, 16))
    assert passes.forward == 0


def test_the_floor_is_made_of_the_passes() -> None:
    """A multiply and an add for each weight and token, forward and backward; each weight read once a pass."""
    model = tiny.model("llama")
    blocks = Architecture(model).blocks
    size = sum(weight.numel() for block in blocks for weight in block.parameters() if weight.dim() == 2)
    found = floor(model, Passes(forward=4, backward=2, tokens=100))
    assert found.gigaflops == pytest.approx(2 * size * 100 * 1.5 / 1e9)
    assert found.gigabytes == pytest.approx(4 * size * 6 / 1e9)
    assert found.seconds > 0
    assert floor(model, Passes()).seconds == 0


def test_the_floor_has_the_head_in_it() -> None:
    """Each logit is a product over the hidden state, forward and, as often as a gradient came, backward."""
    model = tiny.model("llama")
    head = model.get_output_embeddings().weight
    found = floor(model, Passes(heads=4, heads_back=2, logits=100))
    assert found.gigaflops == pytest.approx(2 * head.numel() * 100 * 1.5 / 1e9)
    assert found.gigabytes == pytest.approx(4 * head.numel() * 6 / 1e9)
    assert found.seconds > 0
    assert all(weight.requires_grad for weight in model.parameters())


def test_of_sequences_that_begin_alike_the_beginning_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 2 3, 1 2 4 and 5 are five tokens in rows of three, of which 682 fit into a pass."""
    monkeypatch.setattr(counting_module, "_best", lambda _run: 3 * 682.0)
    assert bare(tiny.model("llama"), [(1, 2, 4), (5,), (1, 2, 3)]) == pytest.approx(5.0)
