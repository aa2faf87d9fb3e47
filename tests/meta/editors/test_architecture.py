"""Every row of the table of families says where things are, and what lies between them is what editors assume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from editors import Edit, UnsupportedModel, create
from editors.core.weights import same_bits
from editors.models.architecture import Architecture
from editors.models.architectures import ARCHITECTURES
from editors.models.cached_window import CachedWindow, PlainWindow, Window, open_window
from editors.models.suffix_forward import UpperBlocks
from editors.models.tokens import Row
from editors.models.trace import Trace
from meta.support import tiny_models as tiny

CLOSE = 1e-4  # transformers computes norms and rotations in float32 whatever the type
PLAIN = [family for family, row in ARCHITECTURES.items() if row.adds_mlp_output_directly]
SANDWICH = sorted(set(ARCHITECTURES) - set(PLAIN))
ROWS = [Row(tuple(range(5, 16)), 4, (9, 10)), Row((3, 4, 7), 1, (1, 2)), Row((8, 9), 1, (1,))]
EDIT = tiny.EDITS[3]  # its subject ends the prompt: no token follows on which a random model's other keys would show
GENTLE = {"v_num_grad_steps": 20, "v_lr": 0.05, "v_weight_decay": 0.0, "kl_factor": 0.0, "clamp_norm_factor": 50.0}


def _model(family: str) -> PreTrainedModel:
    # Gemma 2's own softmax is in float32, where float64's most negative number is -inf: padding would give NaN
    model = tiny.model(family, dtype=torch.float32 if family == "gemma2" else torch.float64)
    return model.requires_grad_(requires_grad=False)


def _own(model: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
    """The model's own logits at all labels, each row alone."""
    return torch.cat([model(input_ids=torch.tensor([row.ids])).logits[0, list(row.labels)] for row in rows])


def _nll(model: PreTrainedModel, edit: Edit) -> float:
    prompt = tiny.tokenizer()(edit.text)["input_ids"]
    whole = tiny.tokenizer()(f"{edit.text} {edit.target_new}")["input_ids"]
    labels = torch.tensor(whole[len(prompt) :])
    scores = model(input_ids=torch.tensor([whole])).logits[0, len(prompt) - 1 : -1].float()
    return float(torch.nn.functional.cross_entropy(scores, labels))


def _create(method: str, model: PreTrainedModel, **changes: Any) -> Any:  # noqa: ANN401
    settings = tiny.settings(method, **changes)
    given = {"corpus": tiny.CORPUS, "training": tiny.EDITS, "contexts": [["{}"]], "covariances": tiny.moments(model)}
    return create(method, model, tiny.tokenizer(), **given, **settings)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_replayed_blocks_give_the_models_own_logits(family: str) -> None:
    """From any block on, in a window or from the whole pass, the logits are those of the model's own forward."""
    model = _model(family)
    architecture, own = Architecture(model), _own(model, ROWS)
    last = architecture.depth - 1
    trace = Trace(architecture, ROWS, [])
    windows: list[Window] = [kind(trace, 0, last) for kind in (CachedWindow, PlainWindow)]
    for window in windows:
        assert torch.allclose(window.unchanged(), own, rtol=CLOSE, atol=CLOSE)
    assert torch.allclose(UpperBlocks(trace, 1).logits({}), own, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("family", PLAIN)
def test_what_the_mlp_writes_is_added_as_it_is(family: str) -> None:
    """A vector added to the down-projection's output acts as the search supposes: as if added behind the block."""
    model = _model(family)
    architecture, delta = Architecture(model), torch.linspace(-1, 1, 16, dtype=torch.float64)
    row = Row(tuple(range(5, 13)), 4, (5, 6))  # labels that a sliding window of 4 still sees

    def add(_module: object, _args: object, output: Tensor) -> Tensor:
        changed = output.clone().reshape(1, len(row.ids), -1)
        changed[0, row.lookup] += delta
        return changed.reshape(output.shape)

    window = open_window(Trace(architecture, [row], []), 1, architecture.depth - 1)
    handle = architecture.down(1).module.register_forward_hook(add)
    own = _own(model, [row])
    handle.remove()
    assert torch.allclose(window.logits(delta), own, rtol=CLOSE, atol=CLOSE)
    assert not torch.allclose(window.unchanged(), own, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("method", ["rome", "memit", "ftl"])
@pytest.mark.parametrize("family", PLAIN)
def test_one_edit_lands_and_is_taken_back(family: str, method: str) -> None:
    """The edit changes the family's down-projections and nothing else, makes its target likelier, and is undone."""
    model = tiny.model(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    editor = _create(method, model, **({} if method == "ftl" else GENTLE))
    wrong = _nll(model, EDIT)
    editor.apply(EDIT)
    changed = {name for name, value in model.state_dict().items() if not same_bits(value, before[name])}
    assert changed == {Architecture(model).down(layer).parameter for layer in editor.hyperparameters.layers}
    assert _nll(model, EDIT) < wrong
    editor.undo()
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())


NOT_AS_IT_IS = {**dict.fromkeys([*SANDWICH, "olmo2", "glm4"], "normalizes"), "granite": "multiplies"}


def _late(family: str) -> PreTrainedModel:
    """A model whose norms behind the MLP are not all ones: a search that ignored them would be seen."""
    scaled = {"residual_multiplier": 0.5, "logits_scaling": 4.0} if family == "granite" else {}
    model = tiny.model(
        family, extra={"pad_token_id": 0, "num_key_value_heads": 1, **tiny.EXTRA.get(family, {}), **scaled}
    )
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("method", ["rome", "rrome", "memit"])
@pytest.mark.parametrize("family", NOT_AS_IT_IS)
def test_what_is_searched_is_what_the_matrix_writes(family: str, method: str) -> None:
    """Behind a norm or a factor the vector found is what the down-projection gives after the edit, and it is undone."""
    model = _late(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found: dict[str, Tensor] = {}
    changes = {"layers": (1,), "mom2_update_weight": 1e-6} if method == "memit" else {"layers": (1,)}
    editor = _create(method, model, **GENTLE, **changes)
    editor.record = lambda name, value: found.update({name.partition(".")[0]: value.detach().clone()})
    wrong = _nll(model, EDIT)
    editor.apply(EDIT)
    assert _nll(model, EDIT) < wrong
    wanted = found["z"][0] if method == "memit" else found["v_star"]
    written: list[Tensor] = []
    handle = Architecture(model).down(1).module.register_forward_hook(lambda _m, _a, out: written.append(out[0, -1]))
    model(input_ids=torch.tensor([tiny.tokenizer()(EDIT.text)["input_ids"]]))
    handle.remove()
    assert torch.allclose(written[0], wanted, rtol=1e-3, atol=1e-3)
    loss = editor.diagnostics()["loss"]
    editor.undo()

    def put(_module: object, _args: object, output: Tensor) -> Tensor:
        output[0, len(tiny.tokenizer()(EDIT.text)["input_ids"]) - 1] = wanted
        return output

    handle = Architecture(model).down(1).module.register_forward_hook(put)
    assert _nll(model, EDIT) == pytest.approx(loss, rel=1e-3)
    handle.remove()
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", [*SANDWICH, "olmo2"])
@pytest.mark.parametrize("method", ["memit", "alphaedit", "pmet"])
def test_a_vector_is_not_spread_over_several_norms(method: str, family: str) -> None:
    """Each block's norm makes another thing of it; one layer, or another method, is the way out."""
    with pytest.raises(UnsupportedModel, match=rf"{family} normalizes .* give one, such as layers=\[1\], or use ROME"):
        _create(method, _late(family), layers=(0, 1))


@pytest.mark.parametrize("family", NOT_AS_IT_IS)
def test_kn_says_that_it_takes_the_mlp_as_it_is(family: str) -> None:
    """Attribution adds what the MLP writes to the hidden states, which a norm or a factor makes wrong."""
    with pytest.raises(UnsupportedModel, match=f"{family} {NOT_AS_IT_IS[family]} what its MLP writes .* use ROME"):
        _create("kn", _late(family)).apply(tiny.EDITS[0])


REFUSED = {
    "grace": "tokens of all rows one after another; grace must know",
    "kn": "opt has no module that is its MLP",
    "mend": "opt has no module that is its MLP",
    "wise": "tokens of all rows one after another; wise must know",
}


@pytest.mark.parametrize("method", sorted(REFUSED))
def test_methods_that_need_rows_refuse_opt(method: str) -> None:
    """OPT's MLP sees no rows and is no module: methods that need either say so instead of mixing tokens."""
    with pytest.raises(UnsupportedModel, match=REFUSED[method]):
        _create(method, tiny.model("opt")).apply(EDIT)


def test_the_odd_opt_is_refused() -> None:
    """OPT-350m normalizes late: it is refused, and the others are named as supported."""
    with pytest.raises(UnsupportedModel, match=r"350m.*the other sizes of OPT are supported"):
        Architecture(tiny.model("opt", extra={"do_layer_norm_before": False}))


def test_fused_gate_and_up_cannot_be_told_apart() -> None:
    """Phi-3 has one matrix for gate and up-projection: a neuron's value before the activation is nowhere alone."""
    with pytest.raises(UnsupportedModel, match="phi3 fuses gate and up-projection"):
        Architecture(tiny.model("phi3")).up(0)
