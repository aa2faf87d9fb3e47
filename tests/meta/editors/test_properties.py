"""What the papers' formulas promise of an edited model, on tiny random models in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from editors import Edit, Editor, create
from editors.models.architecture import Architecture, first_tensor
from meta.support import tiny_models as tiny

few = settings(max_examples=4, deadline=None)
BARE = [["{}"]]


def _edited(method: str, model: PreTrainedModel, **changes: Any) -> tuple[Editor, dict[str, Tensor]]:  # noqa: ANN401
    """An editor after the first edit, and what it recorded (the last value of each name)."""
    tape: dict[str, Tensor] = {}
    given = {"covariances": tiny.moments(model), "contexts": changes.pop("contexts", tiny.CONTEXTS)}
    values = tiny.settings(method, **changes)
    editor = create(method, model, tiny.tokenizer(), record=tape.__setitem__, **given, **values)
    editor.apply(tiny.EDITS[0])
    return editor, tape


def _logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=torch.tensor([[1, 7, 8, 9, 10, 11]])).logits
    return logits


def _block_output(model: PreTrainedModel, layer: int, edit: Edit) -> Tensor:
    """Output of a block at the subject's last token, by a hook on a whole forward pass."""
    seen: list[Tensor] = []
    block = Architecture(model).blocks[layer]
    handle = block.register_forward_hook(lambda _m, _a, output: seen.append(first_tensor(output)))
    tokenizer = tiny.tokenizer()
    with torch.no_grad():
        model(input_ids=tokenizer(edit.text, return_tensors="pt").input_ids)
    handle.remove()
    before = edit.prompt.partition("{}")[0] + edit.about
    return seen[0][0, len(tokenizer(before).input_ids) - 1]


@pytest.mark.parametrize("method", ["rome", "memit"])
@few
@given(seed=st.integers(0, 999), shape=st.sampled_from([(16, 24), (16, 16), (8, 32)]), tied=st.booleans())
def test_storage_order_does_not_matter(*, method: str, seed: int, shape: tuple[int, int], tied: bool) -> None:
    """One model stored as Conv1D and as nn.Linear is one function after the edit, also if square."""
    width, inner = shape
    conv, linear = (
        tiny.model("gpt2", dtype=torch.float64, width=width, inner=inner, seed=seed, tied=tied) for _ in "ab"
    )
    tiny.as_linear(linear)
    base = _logits(conv)
    for model in (conv, linear):
        _edited(method, model)
    assert torch.allclose(_logits(conv), _logits(linear), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(_logits(conv), base, atol=1e-6)


@pytest.mark.parametrize("family", tiny.CORE)
@pytest.mark.parametrize("method", ["rome", "memit"])
def test_delta_stays_within_the_clamp(method: str, family: str) -> None:
    """The value found is never farther from the start than the clamp allows."""
    model = tiny.model(family, dtype=torch.float64)
    start = _block_output(model, 1, tiny.EDITS[0])
    _, tape = _edited(method, model, clamp_norm_factor=0.3, v_lr=5.0)
    found = tape["z"][0] if method == "memit" else tape[next(name for name in tape if name.startswith("v_star"))]
    if method == "rome":
        start = tape[next(name for name in tape if name.startswith("cur_output"))]
    assert 0.29 * float(start.norm()) <= float((found - start).norm()) <= 0.3 * float(start.norm()) * (1 + 1e-4)


@pytest.mark.parametrize("family", tiny.CORE)
@pytest.mark.parametrize("method", ["rome", "memit"])
def test_one_step_changes_nothing(method: str, family: str) -> None:
    """With a single loss evaluation there is no step, delta is 0 and so is the update."""
    model = tiny.model(family, dtype=torch.float64)
    base = _logits(model)
    editor, tape = _edited(method, model, v_num_grad_steps=1)
    assert "delta_after_adam" not in tape
    assert editor.diagnostics()["steps"] == 0
    assert torch.allclose(_logits(model), base, atol=1e-9)


@pytest.mark.parametrize("family", tiny.CORE)
def test_rome_gives_the_value_to_the_bare_prompt(family: str) -> None:
    """After the edit the MLP's output at the subject of the bare prompt is v*; the update has rank one."""
    model = tiny.model(family, dtype=torch.float64)
    matrix = Architecture(model).down(1)
    before = matrix.weight.detach().clone()
    _, tape = _edited("rome", model)
    assert torch.linalg.matrix_rank(matrix.weight - before, rtol=1e-9) == 1
    _, again = _edited("rome", model, v_num_grad_steps=1)  # records the output of the edited matrix
    names = [next(name for name in each if name.startswith(part)) for each, part in ((tape, "v_star"), (again, "cur_"))]
    assert torch.allclose(again[names[1]], tape[names[0]], atol=1e-4 if family == "gptj" else 1e-5)


@pytest.mark.parametrize("family", tiny.CORE)
def test_memit_reaches_its_goal_without_a_penalty(family: str) -> None:
    """λ → 0, bare context only: the block's output at the subject becomes z; the first share is δ/L."""
    model = tiny.model(family, dtype=torch.float64)
    start = _block_output(model, 1, tiny.EDITS[0])
    _, tape = _edited("memit", model, contexts=BARE, mom2_update_weight=1e-9)
    goal = tape["z"][0]
    slack = 1e-4 if family == "gptj" else 1e-5
    assert torch.allclose(tape["cur_z.layer0"][0], start, atol=slack)
    assert torch.allclose(tape["resid.layer0"][:, 0] * 2, goal - start, atol=slack)
    assert torch.allclose(_block_output(model, 1, tiny.EDITS[0]), goal, atol=slack)


def test_memit_batch_reaches_all_goals() -> None:
    """λ → 0: a batch of edits with independent keys brings each subject to its own z."""
    model = tiny.model("gpt2", dtype=torch.float64)
    tape: dict[str, Tensor] = {}
    values = tiny.settings("memit", mom2_update_weight=1e-9)
    given = {"covariances": tiny.moments(model), "contexts": BARE, "record": tape.__setitem__}
    create("memit", model, tiny.tokenizer(), **given, **values).apply_many(tiny.EDITS)
    for goal, edit in zip(tape["z"], tiny.EDITS, strict=True):
        assert torch.allclose(_block_output(model, 1, edit), goal, atol=1e-5)


def test_a_batch_does_not_depend_on_its_order() -> None:
    """Edits in another order give the same weights up to rounding."""
    models = [tiny.model("gpt2", dtype=torch.float64) for _ in "ab"]
    for model, edits in zip(models, (tiny.EDITS, tiny.EDITS[::-1]), strict=True):
        given = {"covariances": tiny.moments(model), "contexts": tiny.CONTEXTS}
        create("memit", model, tiny.tokenizer(), **given, **tiny.settings("memit")).apply_many(edits)
    assert torch.allclose(_logits(models[0]), _logits(models[1]), rtol=1e-9, atol=1e-9)


def _mean_log_probability(model: PreTrainedModel, edit: Edit) -> float:
    """Of the target's tokens after the prompt."""
    tokenizer = tiny.tokenizer()
    ids = tokenizer(f"{edit.text} {edit.target_new}", return_tensors="pt").input_ids
    start = len(tokenizer(edit.text).input_ids)
    with torch.no_grad():
        scores = model(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
    return float(scores.gather(1, ids[0, start:, None]).mean())


@pytest.mark.parametrize("method", ["rome", "memit"])
def test_an_edit_raises_the_probability_of_its_target(method: str) -> None:
    """The new answer gets more likely, also if the editor is called where gradients are switched off."""
    model = tiny.model("llama", depth=4, width=32, inner=64)
    before = _mean_log_probability(model, tiny.EDITS[0])
    weak = {"mom2_update_weight": 0.1} if method == "memit" else {}
    with torch.no_grad():
        _edited(method, model, v_num_grad_steps=25, v_weight_decay=0.0, **weak)
    assert _mean_log_probability(model, tiny.EDITS[0]) > before + 0.1


def test_covariance_is_the_mean_over_all_tokens() -> None:
    """C is the mean of k kᵀ over every real token of every text, BOS included, whatever the batching."""
    model = tiny.model("gpt2", dtype=torch.float64)
    editor = create("rome", model, tiny.tokenizer(), corpus=tiny.CORPUS, contexts=BARE, **tiny.settings("rome"))
    ((path, moment),) = editor.prepared().items()
    keys: list[Tensor] = []
    model.get_submodule(path).register_forward_pre_hook(lambda _m, args: keys.append(args[0][0]))
    with torch.no_grad():
        for text in tiny.CORPUS:
            model(**tiny.tokenizer()(text, return_tensors="pt", return_token_type_ids=False))
    stacked = torch.cat(keys)
    assert torch.allclose(moment.double(), stacked.T @ stacked / len(stacked), rtol=1e-5, atol=1e-7)
