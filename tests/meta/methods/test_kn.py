"""What integrated gradients and the shift of value vectors promise, on tiny random models in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import PreTrainedModel

from editors import Edit, NoEffect, UnsupportedModel, create
from editors.kn import Kn, attribution
from editors.kn.attribution import LOGITS, NeuronPaths, Site, attribute
from editors.models.architecture import Architecture
from meta.golden.published_kn import Preactivations
from meta.support import tiny_models as tiny

few = settings(max_examples=12, deadline=None)
shapes = st.builds(
    tiny.Shape,
    family=st.sampled_from(sorted(tiny.CORE)),
    depth=st.integers(1, 3),
    width=st.sampled_from([8, 16]),
    inner=st.sampled_from([8, 16, 20]),
    tied=st.booleans(),
    seed=st.integers(0, 999),
    dtype=st.just(torch.float64),
    attention=st.sampled_from(["eager", None]),
)
neurons = st.sampled_from([NeuronPaths, Preactivations])
rows = st.lists(st.integers(2, tiny.WORDS - 1), min_size=2, max_size=6)
EDIT = Edit("The mother tongue of {} is", "Yusuf Adair", "Swedish", "Greek")


def _kn(model: PreTrainedModel, **changes: Any) -> Kn:  # noqa: ANN401
    editor = create("kn", model, tiny.tokenizer(), **tiny.settings("kn", **changes))
    assert isinstance(editor, Kn)
    return editor


def _probability(  # noqa: PLR0917 - the setting of one number
    model: PreTrainedModel,
    ids: list[int],
    site: Site,
    layer: int,
    paths: type[NeuronPaths],
    change: Callable[[Tensor], Tensor],
) -> Tensor:
    """p(site's token) by a whole forward pass in which a layer's neurons at the site go through `change`."""
    architecture = Architecture(model)

    def changed(states: Tensor) -> Tensor:
        new = states.clone()
        new[0, site.position] = change(states[0, site.position])
        return new

    if paths is NeuronPaths:
        module = architecture.down(layer).module
        handle = module.register_forward_pre_hook(lambda _m, args: (changed(args[0]),))
    else:
        module = architecture.up(layer).module
        handle = module.register_forward_hook(lambda _m, _a, output: changed(output))
    try:
        logits: Tensor = model(input_ids=torch.tensor([ids])).logits
    finally:
        handle.remove()
    return logits[0, site.position].softmax(-1)[site.token]


@few
@given(shape=shapes, paths=neurons, ids=rows, token=st.integers(0, tiny.WORDS - 1))
def test_attributions_of_a_layer_add_up(
    shape: tiny.Shape, paths: type[NeuronPaths], ids: list[int], token: int
) -> None:
    """A layer's scores sum to p with its neurons as they are minus p with all of them at 0 (completeness)."""
    model, site, many = shape.build(), Site(len(ids) - 1, token), 64
    middles = (torch.arange(many) + 0.5) / many
    scores = attribute(paths(Architecture(model), ids, [site]), middles, 32)
    with torch.no_grad():
        for layer in range(shape.depth):
            full, zeroed = (
                _probability(model, ids, site, layer, paths, lambda a, factor=factor: factor * a)  # type: ignore[misc]
                for factor in (1.0, 0.0)
            )
            slack = 1e-3 * float(full + zeroed) + 1e-3 * float(scores[layer].abs().sum())
            assert float(scores[layer].sum()) == pytest.approx(float(full - zeroed), abs=slack)


@few
@given(shape=shapes, paths=neurons, ids=rows, batch_size=st.integers(1, 4), room=st.sampled_from([LOGITS, 1, 700]))
def test_one_pass_equals_many_whole_ones(
    shape: tiny.Shape, paths: type[NeuronPaths], ids: list[int], batch_size: int, room: int
) -> None:
    """All layers, points and sites side by side, logits in parts or not, give what whole forward passes give."""
    model = shape.build().requires_grad_(requires_grad=False)
    points = torch.tensor([0.0, 0.4, 1.0])
    sites = [Site(len(ids) - 1, 5), Site(len(ids) - 2, 9)]
    with mock.patch.object(attribution, "LOGITS", room):
        together = attribute(paths(Architecture(model), ids, sites), points, batch_size)
    for layer in range(shape.depth):
        single = torch.zeros_like(together[layer])
        for site in sites:
            for point in points:
                seen: list[Tensor] = []

                def scale(a: Tensor, factor: float = float(point), seen: list[Tensor] = seen) -> Tensor:
                    seen.extend([a.detach(), (factor * a.detach()).requires_grad_()])
                    return seen[1]

                p = _probability(model, ids, site, layer, paths, scale)
                single += seen[0] * torch.autograd.grad(p, seen[1])[0] / (len(points) * len(sites))
        assert torch.allclose(together[layer], single, rtol=1e-6, atol=1e-12 + 1e-6 * float(single.abs().max()))


@few
@given(shape=shapes, erase=st.floats(0, 3), write=st.floats(0.1, 3))
def test_the_strongest_neuron_alone_is_shifted(shape: tiny.Shape, erase: float, write: float) -> None:
    """Just below 1 the threshold leaves the strongest neuron, whose column moves by λ₂ t' - λ₁ t; no other does."""
    model = shape.build()
    editor = _kn(model, adaptive_threshold=1 - 1e-9, lambda_1=erase, lambda_2=write)
    architecture, tokenizer = editor.architecture, tiny.tokenizer()
    old, new = (tokenizer(f" {text}", add_special_tokens=False).input_ids for text in ("Greek", "Swedish"))
    scores = editor.scores(EDIT.text, old)
    layer, index = divmod(int(scores.argmax()), scores.shape[1])
    if float(scores.max()) <= 0:
        with pytest.raises(NoEffect, match="no neuron increases"):
            editor.apply(EDIT)
        return
    before = [architecture.down(each).weight.detach().clone() for each in range(shape.depth)]
    editor.apply(EDIT)
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    wanted = [torch.zeros_like(architecture.down(each).stored(weight)) for each, weight in enumerate(before)]
    wanted[layer][:, index] = write * table[new].sum(0) - erase * table[old].sum(0)
    for each, weight in enumerate(before):
        matrix = architecture.down(each)
        assert torch.allclose(matrix.stored(matrix.weight - weight), wanted[each], atol=1e-12)
    assert editor.diagnostics()["neurons"] == 1
    assert editor.diagnostics()["attribution"] == float(scores.max())


@few
@given(shape=shapes.map(lambda shape: replace(shape, family="gpt2")))
def test_storage_order_does_not_matter(shape: tiny.Shape) -> None:
    """One model stored as Conv1D and as nn.Linear is one function after the edit, also if square."""
    conv, linear = shape.build(), tiny.as_linear(shape.build())
    for model in (conv, linear):
        editor = _kn(model)
        assume(editor.neurons(EDIT))  # on few random models no neuron speaks for the old answer
        editor.apply(EDIT)
    left, right = (model(input_ids=torch.tensor([[1, 7, 8, 9]])).logits for model in (conv, linear))
    assert torch.allclose(left, right, rtol=1e-9, atol=1e-9)


def test_neurons_that_several_contexts_share_are_kept() -> None:
    """With refine a neuron stays if more than the share p of the contexts find it; each finds others, too."""
    model = tiny.model("gpt2", dtype=torch.float64)
    alone = []
    for template in ("{}", "The rain. {}", "I saw the gate. {}"):
        editor = _kn(model)
        alone.append(set(editor._coarse(EDIT, template.replace("{}", EDIT.text))))
    contexts = [["{}"], ["The rain. {}", "I saw the gate. {}"]]
    for share, least in ((0.0, 1), (0.4, 2), (0.7, 3)):
        editor = _kn(model, contexts=contexts, refine=True, p=share)
        union = set.union(*alone)
        expected = sorted(neuron for neuron in union if sum(neuron in each for each in alone) >= least)
        assert editor.neurons(EDIT) == expected
    assert len(set.union(*alone)) > len(set.intersection(*alone)) > 0


def test_an_edit_that_would_change_nothing_is_refused() -> None:
    """A model whose MLPs say nothing raises NoEffect; the weights stay, and so they do for the old answer itself."""
    model = tiny.model("llama")
    known = _kn(model)
    known.apply(replace(EDIT, target_new="Greek"))
    assert known.state() == {}
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.in_features == 24:
            module.weight.data.zero_()
    editor = _kn(model)
    with pytest.raises(NoEffect, match="no neuron increases the probability of the old answer"):
        editor.apply(EDIT)
    assert editor.state() == {}


def test_the_old_answer_is_what_the_model_writes_if_the_edit_does_not_say() -> None:
    """Without target_true the neurons and the change are those of the model's own greedy answer."""
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    count = len(tokenizer(" Swedish", add_special_tokens=False).input_ids)
    ids = tokenizer(EDIT.text, return_tensors="pt").input_ids
    written = model.generate(  # type: ignore[operator]  # transformers types it loosely
        ids, max_new_tokens=count, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    assert _kn(model)._old_answer(replace(EDIT, target_true="")) == written[0, ids.shape[1] :].tolist()


def test_an_attention_without_masks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attention implementation that takes no mask is refused by name, with those that are allowed."""
    model = tiny.model("llama")
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(UnsupportedModel, match="'flash_attention_2'; attribution needs one of eager, sdpa"):
        _kn(model).apply(EDIT)
