"""What FT-L's definition promises, on tiny random models of random shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from editors import Edit, Editor, HyperparameterError, NoEffect, create
from editors.models.architecture import Architecture
from editors.models.suffix_forward import UpperBlocks
from editors.models.tokens import encode, prompt_row, target_ids, target_row
from editors.models.trace import Trace
from meta.support import tiny_models as tiny

few = settings(max_examples=10, deadline=None)
families = st.sampled_from(["llama", "gpt2", "gptj", "gpt_neox"])
shapes = st.fixed_dictionaries(
    {
        "depth": st.integers(2, 3),
        "width": st.sampled_from([8, 16]),
        "inner": st.sampled_from([16, 24]),
        "tied": st.booleans(),
        "seed": st.integers(0, 99),
        "dtype": st.just(torch.float64),
    }
)
ONE_TOKEN = Edit("The capital of {} is", "Velidor", "a")


def _ftl(model: PreTrainedModel, **changes: Any) -> Editor:  # noqa: ANN401 - hyperparameters
    return create("ftl", model, tiny.tokenizer(), **tiny.settings("ftl", **changes))


def _weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def _loss(model: PreTrainedModel, edits: list[Edit]) -> float:
    """Mean NLL of the target's tokens after the prompt, by whole forward passes of one row each."""
    losses = []
    for edit in edits:
        target, prompt = target_ids(tiny.tokenizer(), edit.text, edit.target_new), encode(tiny.tokenizer(), edit.text)
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        losses.append(float(-scores.gather(1, torch.tensor(target)[:, None]).mean()))
    return sum(losses) / len(losses)


@few
@given(family=families, shape=shapes, limit=st.floats(1e-4, 1e-1), bias=st.booleans())
def test_no_entry_leaves_its_interval(family: str, shape: dict[str, Any], limit: float, *, bias: bool) -> None:
    """Each edit moves every entry by at most the constraint from where it was before that edit; others stay."""
    model = tiny.model(family, **shape)
    editor = _ftl(model, lr=0.05, norm_constraint=limit, bias=bias)
    for edit in tiny.EDITS[:2]:
        before = _weights(model)
        editor.apply(edit)
        moved = {name: float((value - before[name]).abs().max()) for name, value in _weights(model).items()}
        changed = {name for name, size in moved.items() if size}
        assert max(moved.values()) <= limit * (1 + 1e-9)
        has_bias = bias and Architecture(model).down(1).module.bias is not None
        path = Architecture(model).down(1).path
        assert changed == {f"{path}.weight"} | ({f"{path}.bias"} if has_bias else set())


@few
@given(family=families, shape=shapes, pick=st.integers(0, 2))
def test_the_first_step_goes_down_the_gradient(family: str, shape: dict[str, Any], pick: int) -> None:
    """One step of Adam moves each entry by the rate against the sign of the whole model's own gradient."""
    model = tiny.model(family, **shape)
    edit, matrix = tiny.EDITS[pick], Architecture(model).down(1)
    prompt, target = encode(tiny.tokenizer(), edit.text), target_ids(tiny.tokenizer(), edit.text, edit.target_new)
    matrix.weight.requires_grad_()
    scores = model(input_ids=torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    (slope,) = torch.autograd.grad(-scores.gather(1, torch.tensor(target)[:, None]).mean(), matrix.weight)
    before = matrix.weight.detach().clone()
    _ftl(model, lr=1e-3, num_steps=1, norm_constraint=1.0).apply(edit)
    clear = slope.abs() > 1e-5  # where Adam's epsilon does not blur the sign
    assert clear.any()
    assert torch.allclose((matrix.weight - before)[clear], -1e-3 * slope.sign()[clear], rtol=1e-2)


@few
@given(family=families, shape=shapes)
def test_objectives_agree_on_one_token(family: str, shape: dict[str, Any]) -> None:
    """For an answer of one token `prompt_last` and `target_new` are one objective; for a longer one they are not."""

    def after(edit: Edit, objective: str) -> dict[str, Tensor]:
        editor = _ftl(tiny.model(family, **shape), objective_optimization=objective)
        editor.apply(edit)
        return editor.state()

    assert len(target_ids(tiny.tokenizer(), ONE_TOKEN.text, ONE_TOKEN.target_new)) == 1
    for edit, equal in ((ONE_TOKEN, True), (tiny.EDITS[0], False)):
        one, other = after(edit, "target_new"), after(edit, "prompt_last")
        assert all(torch.allclose(value, other[name], rtol=1e-9, atol=1e-12) for name, value in one.items()) == equal


@few
@given(family=families, shape=shapes, size=st.integers(1, 4))
def test_a_batch_in_any_split_lowers_the_loss_of_all(family: str, shape: dict[str, Any], size: int) -> None:
    """Several edits at once, padded on the right, get likelier together, as measured one by one."""
    model = tiny.model(family, **shape)
    before = _loss(model, tiny.EDITS)
    _ftl(model, lr=2e-3, num_steps=5, batch_size=size, norm_constraint=1.0).apply_many(tiny.EDITS)
    assert _loss(model, tiny.EDITS) < before


@few
@given(family=families, shape=shapes, count=st.integers(1, 4))
def test_a_batch_has_the_mean_loss_of_its_edits(family: str, shape: dict[str, Any], count: int) -> None:
    """The loss of edits of different lengths in one batch is the mean of what each has alone."""
    model = tiny.model(family, **shape)
    expected = _loss(model, tiny.EDITS[:count])
    editor = _ftl(model, num_steps=1, batch_size=count)
    editor.apply_many(tiny.EDITS[:count])
    assert editor.diagnostics()["loss"] == pytest.approx(expected, rel=1e-6 if family != "gptj" else 1e-4)


@few
@given(family=families, shape=shapes, first=st.integers(0, 1))
def test_the_cached_lower_part_changes_no_logit(family: str, shape: dict[str, Any], first: int) -> None:
    """From any block on, with that block's weight replaced, the logits are those of the whole model so changed."""
    model = tiny.model(family, **shape)
    architecture, tokenizer = Architecture(model), tiny.tokenizer()
    rows = [
        target_row(prompt_row(tokenizer, edit, "{}", "last"), target_ids(tokenizer, edit.text, edit.target_new))
        for edit in tiny.EDITS
    ]
    above = UpperBlocks(Trace(architecture, rows, ()), first)
    matrix = architecture.down(first)
    changed = matrix.weight.detach() * 1.5
    with torch.no_grad():
        got = above.logits({matrix.parameter: changed})
        matrix.weight.copy_(changed)
        whole = [model(input_ids=torch.tensor([row.ids])).logits[0, list(row.labels)] for row in rows]
    assert torch.allclose(got, torch.cat(whole), rtol=1e-7, atol=1e-7 if family != "gptj" else 1e-4)


def test_what_is_known_already_takes_no_step() -> None:
    """An answer whose loss is below the authors' limit leaves the weights alone, and that is no error."""
    model = tiny.model(width=128)
    editor = _ftl(model, lr=0.05, num_steps=60, norm_constraint=False)
    editor.apply(tiny.EDITS[0])
    assert editor.diagnostics()["loss"] < 1e-2
    before = editor.state()
    editor.apply(tiny.EDITS[0])
    assert editor.diagnostics()["steps"] == 0
    assert all(torch.equal(value, before[name]) for name, value in editor.state().items())


def test_steps_that_the_weights_cannot_hold_are_refused() -> None:
    """Steps far below a bfloat16 weight's resolution change nothing, which raises NoEffect."""
    editor = _ftl(tiny.model(dtype=torch.bfloat16), lr=1e-12, num_steps=2)
    with pytest.raises(NoEffect, match="smaller than the weights' dtype can hold"):
        editor.apply(tiny.EDITS[0])


@pytest.mark.parametrize(
    ("name", "value"), [("norm_constraint", 0.0), ("layers", []), ("layers", [1, 1]), ("layers", [9])]
)
def test_impossible_hyperparameters_are_refused(name: str, value: object) -> None:
    """A constraint of 0, no layers, one twice, or one that the model lacks: the error names the hyperparameter."""
    with pytest.raises(HyperparameterError, match=name):
        _ftl(tiny.model(), **{name: value})
