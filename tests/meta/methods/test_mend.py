"""What MEND promises of its step and of its training, on tiny random models."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from editors import Edit, HyperparameterError, NoEffect, StateMismatch, create
from editors.core.weights import same_bits
from editors.mend import Mend
from editors.mend.network import NetworkHyperparameters, Transform
from editors.models.gradients import IGNORED, Batch, Gradients, gradients
from meta.support import tiny_models as tiny

few = settings(max_examples=10, deadline=None)
CPU = torch.device("cpu")
SHAPES = st.fixed_dictionaries(
    {
        "family": st.sampled_from(["llama", "gpt2"]),
        "width": st.sampled_from([8, 16]),
        "inner": st.sampled_from([8, 16, 24]),
        "depth": st.integers(1, 3),
        "tied": st.booleans(),
        "seed": st.integers(0, 999),
    }
)


def _mend(model: PreTrainedModel, **changes: Any) -> Mend:  # noqa: ANN401 - supplies and hyperparameters
    given = {name: changes.pop(name) for name in ("training", "scratch", "seed") if name in changes}
    editor = create(
        "mend", model, tiny.tokenizer(), **{"training": tiny.EDITS, **given}, **tiny.settings("mend", **changes)
    )
    assert isinstance(editor, Mend)
    return editor


def _pairs(edits: list[Edit]) -> list[tuple[str, str]]:
    return [(edit.text, edit.target_new) for edit in edits]


def _change(model: PreTrainedModel, editor: Mend, edits: list[Edit]) -> dict[str, Tensor]:
    """Change of each edited weight by a batch of edits."""
    base = {matrix.parameter: matrix.weight.detach().clone() for matrix in editor.matrices}
    editor.apply_many(edits)
    return {name: model.get_parameter(name).detach() - value for name, value in base.items()}


def _gradients_by_autograd(model: PreTrainedModel, names: list[str], edits: list[Edit]) -> list[Tensor]:
    """Gradient of the mean loss over all target tokens, each edit's row on its own."""
    model = copy.deepcopy(model).requires_grad_(requires_grad=True)
    losses = []
    for pair in _pairs(edits):
        batch = Batch.of(tiny.tokenizer(), [pair], CPU)
        logits = model(input_ids=batch.ids).logits[0, :-1]
        losses.append(cross_entropy(logits, batch.labels[0, 1:], ignore_index=IGNORED, reduction="none"))
    count = sum(int((each != 0).sum()) for each in losses)
    return list(torch.autograd.grad(torch.cat(losses).sum() / count, [model.get_parameter(name) for name in names]))


@few
@given(shape=SHAPES, number=st.integers(1, 3), sign=st.sampled_from([-1, 1]), shared=st.booleans())
def test_a_fresh_network_without_norm_takes_a_gradient_step(
    *, shape: dict[str, Any], number: int, sign: int, shared: bool
) -> None:
    """Untrained and not normalized, the update of a batch is sign * alpha * gradient, in stored order."""
    model = tiny.model(**shape, dtype=torch.float64)
    editor = _mend(model, norm=False, max_iters=0, edit_lr=0.25, sign=sign, shared=shared)
    editor.prepare()
    names = [matrix.parameter for matrix in editor.matrices]
    wanted = _gradients_by_autograd(model, names, tiny.EDITS[:number])
    found = _change(model, editor, tiny.EDITS[:number])
    for name, gradient in zip(names, wanted, strict=True):
        assert torch.allclose(found[name], sign * 0.25 * gradient, rtol=1e-6, atol=1e-9)


@few
@given(shape=SHAPES, extra=st.integers(1, 4))
def test_padding_and_sign(*, shape: dict[str, Any], extra: int) -> None:
    """More padding changes nothing, the other sign gives the opposite, the rank is at most the number of tokens."""
    plain, other = (tiny.model(**shape, dtype=torch.float64) for _ in "ab")
    left, right = _mend(plain), _mend(other, sign=1)
    made = left.prepared()
    right.load_prepared(made)
    right.prepare()
    down = _change(plain, left, tiny.EDITS[:1])
    batch = Batch.of(tiny.tokenizer(), _pairs(tiny.EDITS[:1]), CPU)
    wider = [
        torch.nn.functional.pad(each, (0, extra), value=v)
        for each, v in zip((batch.ids, batch.mask, batch.labels), (7, 0, IGNORED), strict=True)
    ]
    base = {matrix.parameter: matrix.weight.detach().clone() for matrix in right.matrices}
    right._step(Batch(*wider))
    for name, change in down.items():
        assert torch.allclose(other.get_parameter(name) - base[name], -change, rtol=1e-7, atol=1e-9)
        assert torch.linalg.matrix_rank(change, rtol=1e-9) < batch.ids.shape[1]


@few
@given(shape=SHAPES)
def test_storage_order_does_not_matter(shape: dict[str, Any]) -> None:
    """One model stored as Conv1D and as nn.Linear gets the same change, transposed, also if square."""
    conv, linear = (tiny.model(**{**shape, "family": "gpt2"}, dtype=torch.float64) for _ in "ab")
    tiny.as_linear(linear)
    changes = [_change(model, _mend(model), tiny.EDITS[:2]) for model in (conv, linear)]
    for name, change in changes[0].items():
        assert float(change.norm()) > 0
        assert torch.allclose(change, changes[1][name].T, rtol=1e-6, atol=1e-8)


@few
@given(cuts=st.sets(st.integers(1, 19)), seed=st.integers(0, 99))
def test_statistics_do_not_depend_on_the_split(*, cuts: set[int], seed: int) -> None:
    """Rows seen in any portions give mean and standard deviation of all of them; zero rows do not count."""
    generator = torch.Generator().manual_seed(seed)
    x, delta = (3 + torch.randn(20, width, generator=generator, dtype=torch.float64) for width in (3, 5))
    delta[4] = 0
    transform = Transform((3, 5), NetworkHyperparameters(), None, generator).double()
    edges = [0, *sorted(cuts), 20]
    for start, end in pairwise(edges):
        transform.observe(Gradients(x[start:end], delta[start:end]))
    kept = torch.arange(20) != 4
    assert float(transform.k) == 19
    for letter, rows in (("u", x[kept]), ("v", delta[kept])):
        assert torch.allclose(transform.get_buffer(f"{letter}_mean"), rows.mean(0))
        assert torch.allclose(transform.get_buffer(f"{letter}_std"), rows.std(0))


def test_without_accumulate_only_the_last_edit_is_left() -> None:
    """With accumulate = false, as in the published runs, the first edit is gone after the second."""
    states = []
    for edits in (tiny.EDITS[:2], tiny.EDITS[1:2]):
        editor = _mend(tiny.model(), accumulate=False)
        for edit in edits:
            editor.apply(edit)
        states.append(editor.state())
    assert states[0].keys() == states[1].keys() != set()
    assert all(same_bits(value, states[1][name]) for name, value in states[0].items())


def test_step_sizes_of_zero_are_no_effect() -> None:
    """A network whose step sizes are all 0 raises NoEffect and leaves every bit."""
    model = tiny.model()
    editor = _mend(model, edit_lr=0.0, max_iters=0)
    with pytest.raises(NoEffect, match="step sizes"):
        editor.apply(tiny.EDITS[0])
    assert editor.state() == {}


@few
@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 1e6]), clip=st.sampled_from([0.5, 3.0]))
def test_the_clip_bounds_a_row(*, seed: int, scale: float, clip: float) -> None:
    """With a clip no row's root mean square exceeds it, whatever comes in, and rows below it stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    rows = Gradients(*(torch.randn(20, width, generator=generator, dtype=torch.float64) for width in (3, 5)))
    plain, clipped = (
        Transform((3, 5), NetworkHyperparameters(row_clip=each), None, generator.manual_seed(0)).double()
        for each in (None, clip)
    )
    for transform in (plain, clipped):
        transform.observe(rows)
    far = Gradients(rows.inputs * scale, rows.deltas * scale)
    before, after = plain(far, None), clipped(far, None)
    for left, right in ((before.inputs, after.inputs), (before.deltas, after.deltas)):
        length = left.square().mean(-1).sqrt()
        assert torch.allclose(right.square().mean(-1).sqrt(), length.clamp(max=clip))
        assert torch.equal(left[length < clip], right[length < clip])


@few
@given(seed=st.integers(0, 99), floor=st.floats(0.1, 2.0))
def test_the_floor_bounds_what_a_dead_unit_can_do(*, seed: int, floor: float) -> None:
    """A unit that hardly moved in training is divided by the floor's share of the mean deviation, not by its own."""
    generator = torch.Generator().manual_seed(seed)
    rows = Gradients(*(torch.randn(20, width, generator=generator, dtype=torch.float64) for width in (3, 5)))
    rows.inputs[:, 0] *= 1e-6
    transform = Transform((3, 5), NetworkHyperparameters(std_floor=floor), None, generator).double()
    transform.observe(rows)
    moved = Gradients(rows.inputs + torch.tensor([1.0, 0.0, 0.0]), rows.deltas)
    step = transform(moved, None).inputs - transform(rows, None).inputs
    assert torch.allclose(step[:, 0], 1 / (floor * transform.u_std.mean()), rtol=1e-4)


def test_gradients_do_not_depend_on_the_other_texts() -> None:
    """Taken separately, each text's rows are those of the text alone, though losses have different lengths."""
    model = tiny.model(dtype=torch.float64)
    editor = _mend(model)
    batch = Batch.of(tiny.tokenizer(), _pairs(tiny.EDITS), CPU)
    together = gradients(model, editor.matrices, batch, separately=True)[1]
    for number, pair in enumerate(_pairs(tiny.EDITS)):
        alone = gradients(model, editor.matrices, Batch.of(tiny.tokenizer(), [pair], CPU))[1]
        for many, one in zip(together, alone, strict=True):
            length = one.deltas.shape[1]
            assert torch.allclose(many.deltas[number, :length], one.deltas[0], atol=1e-10)
            assert not many.deltas[number, length:].any()


def test_wrong_requests_are_refused() -> None:
    """Unknown or doubled matrices, contradictory sides and foreign networks are named."""
    name = "model.layers.1.mlp.up_proj.weight"
    for bad, message in (
        ([f"{name}x"], "inner_params contains"),
        (["lm_head.weight"], "inner_params contains"),
        ([name, name], "different"),
    ):
        with pytest.raises(HyperparameterError, match=message):
            _mend(tiny.model(), inner_params=bad)
    with pytest.raises(HyperparameterError, match="x_only cannot be used"):
        _mend(tiny.model(), x_only=True)
    with pytest.raises(StateMismatch, match="does not fit"):
        _mend(tiny.model(), rank=3).load_prepared(_mend(tiny.model()).prepared())
