"""What MEND promises of its step and of its training, on tiny random models."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from transformers import PreTrainedModel

from editors import Edit, HyperparameterError, MissingTraining, NoEffect, StateMismatch, create
from editors.mend import Mend
from editors.parts import training
from editors.parts.gradients import IGNORED, Batch, Gradients, gradients
from editors.parts.hypernetwork import NetworkHyperparameters, Transform
from editors.parts.mend_material import Material
from editors.parts.mend_training import MetaLoss, Weighing
from editors.parts.weights import same_bits
from tests.meta import tiny_models as tiny

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
TRAINING = [
    Edit("The capital of {} is", "Velidor", "Amber Bay", "Port Winslow", ("Velidor has its seat in",)),
    Edit(
        "{} was born in", "Marta Velen", "Dorvik", "", ("The home of Marta Velen is",), (("Yusuf was born in", "Bay"),)
    ),
    Edit(
        "The mother tongue of {} is",
        "Yusuf Adair",
        "Swedish",
        "Greek",
        (),
        (("The tongue of Marta is", "Greek"), ("We saw", "Bay")),
    ),
]


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
    """Untrained and not normalised, the update of a batch is sign * alpha * gradient, in stored order."""
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


def _loss_by_hand(model: PreTrainedModel, editor: Mend, material: Material, weighing: Weighing, view: int) -> float:
    """The training's loss with each edit really written, one text at a time, without any cache."""
    total = 0.0
    for edit, outer, loc in zip(material.edits, material.outer, material.loc, strict=True):
        asked, near = outer[view // len(loc) % len(outer)], loc[view % len(loc)]
        ids = [torch.tensor([query.row.ids]) for query in (asked, near)]
        before = model(input_ids=ids[1]).logits[0, list(near.row.labels)].log_softmax(-1)
        kept = {matrix.parameter: matrix.weight.detach().clone() for matrix in editor.matrices}
        editor.apply(edit)
        sizes = [(model.get_parameter(name) - value).square().sum() / value.square().sum() for name, value in kept.items()]
        said = model(input_ids=ids[0]).logits[0, list(asked.row.labels)]
        after = model(input_ids=ids[1]).logits[0, list(near.row.labels)].log_softmax(-1)
        editor.undo()
        total += weighing.size * float(torch.stack(sizes).sum())
        total += weighing.edit * float(cross_entropy(said, torch.tensor(asked.answer)))
        total += weighing.loc * float(kl_div(after, before, log_target=True, reduction="none").sum(-1).mean())
    return total / len(material.edits)


@few
@given(shape=SHAPES, sign=st.sampled_from([-1, 1]))
def test_the_training_loss_is_that_of_edited_models(*, shape: dict[str, Any], sign: int) -> None:
    """Groups, kept states and unformed updates give the loss that edits written one by one give."""
    model = tiny.model(**shape, dtype=torch.float64)
    editor = _mend(model, training=TRAINING, sign=sign)
    editor.prepare()
    assert editor._network is not None
    material, weighing = Material.of(tiny.tokenizer(), TRAINING, "rephrase"), Weighing(0.7, 1.3, 0.2, sign)
    loss = MetaLoss(
        model=model,
        tokenizer=tiny.tokenizer(),
        matrices=editor.matrices,
        lowest=editor._lowest,
        network=editor._network,
        material=material,
        weighing=weighing,
        group=len(TRAINING),
        neighbours=1,
        seed=0,
    )
    generator = torch.Generator().manual_seed(0)
    view = int(torch.randint(1 << 16, (), generator=generator)) % loss._views
    found = float(loss(0, generator.manual_seed(0)))
    with torch.no_grad():
        assert found == pytest.approx(_loss_by_hand(model, editor, material, weighing, view), rel=1e-5, abs=1e-7)


def test_training_lowers_its_loss() -> None:
    """After 40 steps the loss on the training edits is lower than the fresh network's, and each layer has left 0."""
    losses = []
    for steps in (0, 40):
        model = tiny.model()
        editor = _mend(model, training=TRAINING, max_iters=steps)
        editor.prepare()
        material = Material.of(tiny.tokenizer(), TRAINING, "rephrase")
        losses.append(_loss_by_hand(model, editor, material, Weighing(0.1, 1.0, 0.0, -1), 0))
    assert losses[1] < losses[0] - 0.05
    assert all(value.any() for name, value in editor.prepared().items() if name.endswith((".u", ".v")))


def test_a_killed_training_resumes_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between checkpoints and started again, the training gives the network of an uninterrupted one."""
    given = {"training": TRAINING, "max_iters": 7, "accumulate_bs": 2, "cooldown": 0.5}
    whole = _mend(tiny.model(), **given).prepared()
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    call = MetaLoss.__call__

    def killed(self: MetaLoss, step: int, generator: torch.Generator) -> Tensor:
        if step == 5:
            raise KeyboardInterrupt
        return call(self, step, generator)

    monkeypatch.setattr(MetaLoss, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        _mend(tiny.model(), **given, scratch=tmp_path).prepare()
    monkeypatch.setattr(MetaLoss, "__call__", call)
    resumed = _mend(tiny.model(), **given, scratch=tmp_path).prepared()
    assert all(same_bits(value, resumed[name]) for name, value in whole.items())
    assert any(
        not same_bits(value, whole[name]) for name, value in _mend(tiny.model(), **given, seed=1).prepared().items()
    )


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


def test_gradients_do_not_depend_on_the_other_texts() -> None:
    """Taken separately, each text's rows are those of the text alone, though losses have different lengths."""
    model = tiny.model(dtype=torch.float64)
    editor = _mend(model)
    together = gradients(model, editor.matrices, Batch.of(tiny.tokenizer(), _pairs(tiny.EDITS), CPU), separately=True)[
        1
    ]
    for number, pair in enumerate(_pairs(tiny.EDITS)):
        alone = gradients(model, editor.matrices, Batch.of(tiny.tokenizer(), [pair], CPU))[1]
        for many, one in zip(together, alone, strict=True):
            length = one.deltas.shape[1]
            assert torch.allclose(many.deltas[number, :length], one.deltas[0], atol=1e-10)
            assert not many.deltas[number, length:].any()


def test_wrong_requests_are_refused() -> None:
    """Unknown or doubled matrices, contradictory sides, missing training and foreign networks are named."""
    name = "model.layers.1.mlp.up_proj.weight"
    for bad, message in (
        ([f"{name}x"], "inner_params holds"),
        (["lm_head.weight"], "inner_params holds"),
        ([name, name], "different"),
    ):
        with pytest.raises(HyperparameterError, match=message):
            _mend(tiny.model(), inner_params=bad)
    with pytest.raises(HyperparameterError, match="x_only cannot be used"):
        _mend(tiny.model(), x_only=True)
    with pytest.raises(MissingTraining, match="several subjects"):
        _mend(tiny.model(), training=TRAINING[:1]).prepare()
    with pytest.raises(MissingTraining, match="pass training"):
        _mend(tiny.model(), training=()).prepare()
    with pytest.raises(StateMismatch, match="does not fit"):
        _mend(tiny.model(), rank=3).load_prepared(_mend(tiny.model()).prepared())
