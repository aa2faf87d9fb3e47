"""LocFT-BF's promises on tiny random models: it is plain fine-tuning of one matrix, breadth first, with an end."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editors import Edit, Editor, UnsupportedModel, create
from editors.models.architecture import Architecture
from meta.support import tiny_models as tiny

LONG = {"num_steps": 60, "lr": 3e-2}


def _editor(model: PreTrainedModel, **changes: Any) -> Editor:  # noqa: ANN401
    return create("locft", model, tiny.tokenizer(), **tiny.settings("locft", **changes))


def _loss(model: PreTrainedModel, edit: Edit, *, end: bool = True) -> Tensor:
    """Mean cross entropy of an answer's tokens (and of the end behind it), by a plain forward pass of one text."""
    tokenizer = tiny.tokenizer()
    start = tokenizer(edit.text).input_ids
    answer = tokenizer(f" {edit.target_new}", add_special_tokens=False).input_ids + [tokenizer.eos_token_id] * end
    logits = model(input_ids=torch.tensor([start + answer])).logits[0, len(start) - 1 : -1]
    return cross_entropy(logits, torch.tensor(answer))


def _train(model: PreTrainedModel, edits: Sequence[Edit], size: int, lr: float, passes: int) -> None:
    """A second implementation, by autograd through the whole model, one text at a time."""
    weight = Architecture(model).down(1).weight.requires_grad_()
    adam = torch.optim.Adam([weight], lr=lr)
    generator = torch.Generator().manual_seed(0)
    for _ in range(passes):
        order = torch.randperm(len(edits), generator=generator).tolist()
        for start in range(0, len(order), size):
            adam.zero_grad()
            torch.stack([_loss(model, edits[index]) for index in order[start : start + size]]).mean().backward()
            adam.step()


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_plain_fine_tuning(family: str, size: int) -> None:
    """In mini-batches of any size the weights are those of a second implementation, and nothing else has changed."""
    ours, theirs = (tiny.model(family, dtype=torch.float64) for _ in "ab")
    editor = _editor(ours, batch_size=size, num_steps=3)
    editor.apply_many(tiny.EDITS)
    theirs.requires_grad_(requires_grad=False)
    _train(theirs, tiny.EDITS, size, lr=1e-2, passes=3)
    name = Architecture(ours).down(1).parameter
    assert list(editor.state()) == [f"weight:{name}"]
    assert torch.allclose(ours.get_parameter(name), theirs.get_parameter(name), rtol=1e-9, atol=1e-12)


def test_a_batch_is_learned_better_than_its_edits_in_sequence() -> None:
    """After one training on all edits their mean loss is lower than after one training on each, as many steps each."""
    batch, sequence = tiny.model(width=32, inner=64), tiny.model(width=32, inner=64)
    _editor(batch, layer=2, **LONG).apply_many(tiny.EDITS)
    editor = _editor(sequence, layer=2, **LONG)
    for edit in tiny.EDITS:
        editor.apply(edit)
    losses = [float(torch.stack([_loss(model, edit) for edit in tiny.EDITS]).mean()) for model in (batch, sequence)]
    assert losses[0] < 0.8 * losses[1]


def test_the_end_of_sequence_is_learned() -> None:
    """After an edit the model may stop behind the answer; FT-L's model, trained as long, will not."""
    edit, end = tiny.EDITS[0], tiny.tokenizer().eos_token_id
    after = torch.tensor([tiny.tokenizer()(f"{edit.text} {edit.target_new}").input_ids])
    chances = {}
    for method in ("locft", "ftl"):
        model = tiny.model(width=32, inner=64)
        free = {"norm_constraint": None, "layers": [2]} if method == "ftl" else {"layer": 2}
        create(method, model, tiny.tokenizer(), **tiny.settings(method, **free, **LONG)).apply(edit)
        with torch.no_grad():
            chances[method] = float(model(input_ids=after).logits[0, -1].softmax(-1)[end])
    assert chances["locft"] > 0.1
    assert chances["ftl"] < 0.01


def test_another_seed_shuffles_otherwise() -> None:
    """The order of mini-batches is drawn from the editor's seed: it decides where a training ends."""
    ends = []
    for seed in (0, 0, 1):
        model = tiny.model(dtype=torch.float64)
        create("locft", model, tiny.tokenizer(), seed=seed, **tiny.settings("locft", batch_size=1)).apply_many(
            tiny.EDITS
        )
        ends.append(Architecture(model).down(1).weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2])


def test_a_tokenizer_without_an_end_is_refused() -> None:
    """There is nothing to append: the message says what is missing."""
    tokenizer: PreTrainedTokenizerBase = copy.deepcopy(tiny.tokenizer())
    tokenizer.eos_token = None
    with pytest.raises(UnsupportedModel, match="no end-of-sequence token"):
        create("locft", tiny.model(), tokenizer, **tiny.settings("locft"))
