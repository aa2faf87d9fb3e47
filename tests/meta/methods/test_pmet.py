"""PMET's promises: two vectors searched together, each within its clamp, and a square root where MEMIT divides."""

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
from editors.models.tokens import Row
from editors.models.trace import Trace
from editors.pmet.joint_search import JointLoss, JointWindow
from meta.support import tiny_models as tiny
from meta.support.strategies import shapes

few = settings(max_examples=8, deadline=None)
SLACK = {"llama": 1e-5, "mistral": 1e-5, "gptj": 1e-4}  # transformers rounds to float32 inside these


def _moments(model: PreTrainedModel) -> dict[str, Tensor]:
    """Second moments of the down-projections, and the identity for the attention out-projections."""
    architecture = Architecture(model)
    paths = [architecture.attention_out(layer) for layer in range(architecture.depth)]
    eyes = {each.path: torch.eye(each.weight.shape[0], dtype=torch.float64) for each in paths}
    return tiny.moments(model) | eyes


def _edited(model: PreTrainedModel, contexts: list[list[str]], **changes: Any) -> dict[str, list[Tensor]]:  # noqa: ANN401
    """Edit a model; all that was recorded."""
    tape: dict[str, list[Tensor]] = {}

    def record(name: str, value: Tensor) -> None:
        tape.setdefault(name, []).append(value)

    values = tiny.settings("pmet", **changes)
    given = {"covariances": _moments(model), "contexts": contexts, "record": record}
    create("pmet", model, tiny.tokenizer(), **given, **values).apply(tiny.EDITS[0])
    return tape


def _output_at_subject(model: PreTrainedModel, module: torch.nn.Module) -> Tensor:
    """A module's output at the subject's last token of the first edit, from a whole forward pass."""
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda _m, _a, output: seen.append(output))
    edit, tokenizer = tiny.EDITS[0], tiny.tokenizer()
    with torch.no_grad():
        model(input_ids=tokenizer(edit.text, return_tensors="pt").input_ids)
    handle.remove()
    return seen[0][0, len(tokenizer(edit.prompt.partition("{}")[0] + edit.about).input_ids) - 1]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("family", tiny.CORE)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 999), site=st.integers(0, 2))
def test_the_window_equals_a_hooked_forward(*, family: str, plain: bool, seed: int, site: int) -> None:
    """Vectors added at both out-projections of a block give the logits of whole passes of single rows."""
    model = tiny.model(family, dtype=torch.float64, seed=seed).requires_grad_(requires_grad=False)
    architecture = Architecture(model)
    rows = [Row((5, 6, 7, 8, 9), 1, (3, 4)), Row((9, 10, 11), 2, (2,))]
    matrices = [architecture.attention_out(site), architecture.down(site)]
    deltas = torch.randn(2, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    trace = Trace(architecture, rows, [])
    attention = model.config._attn_implementation
    if plain:
        model.config._attn_implementation = "flex_attention"  # unknown to the cached window
    window = JointWindow(trace, matrices, site, architecture.depth - 1)
    model.config._attn_implementation = attention
    expected = []
    for row in rows:
        handles = []
        for matrix, delta in zip(matrices, deltas, strict=True):

            def hook(_m: object, _a: object, output: Tensor, delta: Tensor = delta, at: int = row.lookup) -> Tensor:
                output = output.clone()
                output[0, at] += delta
                return output

            handles.append(matrix.module.register_forward_hook(hook))
        expected.append(model(input_ids=torch.tensor([row.ids])).logits[0, list(row.labels)])
        for handle in handles:
            handle.remove()
    tolerance = SLACK.get(family, 1e-9)
    assert torch.allclose(window.logits(deltas), torch.cat(expected), rtol=tolerance, atol=tolerance)


@few
@given(shape=shapes, rewrite=st.sampled_from([["mlp"], ["attention"], ["attention", "mlp"], ["mlp", "attention"]]))
def test_a_goal_is_reached_without_a_penalty(shape: tiny.Shape, rewrite: list[str]) -> None:
    """λ → 0, one layer, bare context: each matrix written gives its searched value at the subject.

    Where the attention is written first its value moves what the MLP reads, and the MLP still meets its own goal.
    """
    model = shape.build()
    tape = _edited(model, [["{}"]], layers=[1], mom2_update_weight=1e-9, rewrite=rewrite)
    architecture = Architecture(model)
    sites = {"attention": (architecture.attention_out(1), "z_attn"), "mlp": (architecture.down(1), "z_mlp")}
    if rewrite == ["mlp", "attention"]:
        rewrite = ["attention"]  # written last, it changes what the MLP sees
    for part in rewrite:
        matrix, name = sites[part]
        assert torch.allclose(_output_at_subject(model, matrix.module), tape[name][0][0], atol=1e-4)


@few
@given(shape=shapes)
def test_the_first_share_is_a_square_root(shape: tiny.Shape) -> None:
    """Over two layers the first is asked for (z - m) / √2, the second for all that is still missing."""
    model, base = shape.build(), shape.build()
    tape = _edited(model, [["{}"]], layers=[0, 1], mom2_update_weight=1e-9)
    for index, share in ((0, 2**0.5), (1, 1.0)):
        old, new = Architecture(base).down(index), Architecture(model).down(index)
        change = new.stored(new.weight - old.weight)
        key = tape[f"ks.{old.parameter}"][0][0]
        missing = tape["z_mlp"][0][0] - tape[f"cur_z.{old.parameter}"][0][0]
        assert torch.allclose(change @ key, missing / share, atol=1e-5)
        assert float(missing.norm()) > 1e-4


@few
@given(shape=shapes, clamp=st.floats(0.1, 0.5))
def test_each_vector_stays_within_its_own_clamp(shape: tiny.Shape, clamp: float) -> None:
    """With a large rate both vectors end at the clamp, each in lengths of its own start."""
    model = shape.build()
    architecture = Architecture(model)
    starts = {
        "z_attn": _output_at_subject(model, architecture.attention_out(1).module),
        "z_mlp": _output_at_subject(model, architecture.down(1).module),
    }
    tape = _edited(model, tiny.CONTEXTS, clamp_norm_factor=clamp, v_lr=5.0)
    for name, start in starts.items():
        moved = float((tape[name][0][0] - start).norm())
        assert 0.9 * clamp * float(start.norm()) <= moved <= clamp * float(start.norm()) * (1 + 1e-3)


@few
@given(shape=shapes)
def test_only_what_is_named_is_written(shape: tiny.Shape) -> None:
    """By default the MLP alone changes; with `rewrite` the attention's out-projection too, and no bias."""
    base, one, both = shape.build(), shape.build(), shape.build()
    _edited(one, tiny.CONTEXTS)
    _edited(both, tiny.CONTEXTS, rewrite=["attention", "mlp"])
    architecture = Architecture(base)
    mlp = {architecture.down(layer).parameter for layer in (0, 1)}
    attention = {architecture.attention_out(layer).parameter for layer in (0, 1)}
    for model, wanted in ((one, mlp), (both, mlp | attention)):
        now = dict(model.named_parameters())
        assert {name for name, value in base.named_parameters() if not same_bits(value, now[name])} == wanted


def test_the_search_eases_once_the_targets_are_the_likeliest() -> None:
    """The NLL weighs a tenth in the step after one where every target is the likeliest; small drift then ends it."""

    class Weights:
        v_num_grad_steps, v_lr, v_weight_decay, clamp_norm_factor, kl_factor, nll_loss_factor = (
            9,
            0.5,
            0.0,
            4.0,
            1.0,
            2.0,
        )

    def logits(margin: float, essence: float) -> Tensor:
        return torch.tensor([[margin, 0.0, 0.0], [essence, 0.0, 0.0]])

    loss = JointLoss(torch.tensor([[0]]), torch.ones(2), Weights())
    still = torch.zeros(2, 4)
    first, done = loss(logits(-1.0, 0.0), still)
    assert not done, "another token is likelier"
    nll = float(torch.tensor([-1.0, 0.0, 0.0]).log_softmax(0)[0].neg())
    assert float(first) == pytest.approx(2 * nll)
    _, done = loss(logits(1.0, 3.0), still)
    assert not done, "the targets are the likeliest, but the essence has moved far"
    eased, done = loss(logits(1.0, 0.0), still)
    nll = float(torch.tensor([1.0, 0.0, 0.0]).log_softmax(0)[0].neg())
    assert float(eased) == pytest.approx(0.2 * nll)
    assert done
    loss(logits(-1.0, 3.0), still)
    full, _ = loss(logits(1.0, 3.0), still)
    drift = float(full) - 2 * nll
    assert drift > 0.01, "the weight is whole again after a step that missed the targets"


def test_a_part_is_written_once() -> None:
    """The same part twice, an unknown part or none is refused."""
    for wrong in (["mlp", "mlp"], ["head"], []):
        with pytest.raises(HyperparameterError, match="rewrite"):
            create("pmet", tiny.model(), tiny.tokenizer(), **tiny.settings("pmet", rewrite=wrong))
