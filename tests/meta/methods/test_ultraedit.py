"""UltraEdit's promises on tiny random models: statistics of all rows, no NaN from one of them, ridge regression."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from editors import Edit, Editor, HyperparameterError, NoEffect, StateMismatch, create
from editors.core.weights import same_bits
from editors.models.architecture import Architecture
from editors.ultraedit import UltraEdit
from editors.ultraedit.normalizer import Moments
from meta.support import tiny_models as tiny
from meta.support.strategies import shapes

few = settings(max_examples=8, deadline=None)
ONE_TOKEN = Edit("The capital of {} is", "Velidor", "a")


def _editor(shape: tiny.Shape | None = None, **changes: Any) -> UltraEdit:  # noqa: ANN401
    model = (shape or tiny.Shape(dtype=torch.float64)).build()
    editor = create("ultraedit", model, tiny.tokenizer(), **tiny.settings("ultraedit", **changes))
    assert isinstance(editor, UltraEdit)
    return editor


@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(1, 19), max_size=6))
@settings(max_examples=40, deadline=None)
def test_statistics_do_not_depend_on_how_rows_are_cut(seed: int, cuts: list[int]) -> None:
    """Row by row, all at once or anything between gives mean and spread of all rows, and no NaN."""
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 7
    moments = Moments.none(5, rows.device)
    ends = [0, *sorted(set(cuts)), 20]
    for start, end in pairwise(ends):
        moments = moments.with_rows(rows[start:end])
    assert int(moments.count) == 20
    assert torch.allclose(moments.mean, rows.double().mean(0), rtol=1e-9)
    assert torch.allclose(moments.std, rows.double().std(0), rtol=1e-6)
    normalized = moments.normalize(rows)
    assert torch.allclose(normalized.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(normalized.std(0), torch.ones(5, dtype=torch.float64), atol=1e-5)


def test_one_row_is_as_far_from_0_as_it_measures_itself() -> None:
    """A first single row becomes its signs, and equal rows too; what is 0 stays 0."""
    row = torch.tensor([[3.0, -0.5, 0.0]])
    for moments in (
        Moments.none(3, row.device).with_rows(row),
        Moments.none(3, row.device).with_rows(row.expand(4, 3)),
    ):
        assert torch.allclose(moments.normalize(row), torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64), atol=1e-6)


@few
@given(shape=shapes)
def test_a_first_edit_of_one_token_changes_the_weights_and_is_finite(shape: tiny.Shape) -> None:
    """A turn of one row in one matrix gives an update with which the answer is likelier, and a finite memory."""
    model = shape.build()
    name = Architecture(model).down(1).parameter
    editor = create("ultraedit", model, tiny.tokenizer(), lr=1e-3, inner_params=[name])
    assert len(tiny.tokenizer()(" a", add_special_tokens=False).input_ids) == 1
    editor.apply(ONE_TOKEN)
    state = editor.state()
    first = editor.diagnostics()["loss"]
    assert f"weight:{name}" in state
    assert all(bool(torch.isfinite(value).all()) for value in state.values())
    editor.apply(ONE_TOKEN)
    assert editor.diagnostics()["loss"] < first


@few
@given(shape=shapes)
def test_an_update_is_the_ridge_regression_on_the_wanted_changes(shape: tiny.Shape) -> None:
    """ΔW (KᵀK + I) = VᵀK, with V = -lr |k^|² g^ of what the statistics say after the turn."""
    tape: dict[str, torch.Tensor] = {}
    model = shape.build()
    matrix = Architecture(model).down(1)
    before = matrix.weight.detach().clone()
    given = {"record": tape.__setitem__, "lr": 1e-2, "inner_params": [matrix.parameter]}
    editor = create("ultraedit", model, tiny.tokenizer(), **given)
    editor.apply_many(tiny.EDITS)
    change = matrix.stored(matrix.weight.detach() - before)
    keys, slopes = tape[f"keys.{matrix.path}"], tape[f"values_grad.{matrix.path}"]
    both = torch.cat([keys, slopes], 1)
    hat = (both - both.mean(0)) / (both.std(0) + torch.finfo(torch.float32).eps)
    wanted = -1e-2 * (hat[:, : keys.shape[1]] ** 2).sum(1, keepdim=True) * hat[:, keys.shape[1] :]
    ridge = keys.T @ keys + torch.eye(keys.shape[1], dtype=keys.dtype)
    assert torch.allclose(change @ ridge, wanted.T @ keys, rtol=1e-4, atol=1e-6 * float(wanted.norm() * keys.norm()))


def test_statistics_are_lifelong_and_part_of_the_state() -> None:
    """The second edit is normalized by the first one's rows too, also after a restore, and not after an undo."""
    editor, fresh, resumed = _editor(), _editor(), _editor()
    editor.apply(tiny.EDITS[0])
    half = load(save(editor.state()))
    resumed.restore(half)
    weights_alone = {name: value for name, value in half.items() if name.startswith("weight:")}
    fresh.restore(weights_alone)
    for each in (editor, fresh, resumed):
        each.apply(tiny.EDITS[1])
    assert _equal(editor, resumed)
    assert not _equal(editor, fresh)
    editor.undo()
    assert editor.state() == {}
    editor.apply(tiny.EDITS[0])
    assert all(same_bits(value, half[name]) for name, value in editor.state().items())


def _equal(left: Editor, right: Editor) -> bool:
    ours, theirs = left.state(), right.state()
    return ours.keys() == theirs.keys() and all(same_bits(value, theirs[name]) for name, value in ours.items())


def test_an_update_that_is_lost_in_rounding_is_no_edit() -> None:
    """With a rate that moves no weight the edit raises NoEffect, and the statistics are as before."""
    editor = _editor(tiny.Shape(dtype=torch.bfloat16), lr=1e-12)
    with pytest.raises(NoEffect, match="the update changes no weight"):
        editor.apply(tiny.EDITS[0])
    assert editor.state() == {}


def test_edits_need_no_subject() -> None:
    """The subject is not looked at: another one that gives the same text gives the same edit."""
    left, right = _editor(), _editor()
    left.apply(Edit("The capital of {} is", "Velidor", "Dorvik"))
    right.apply(Edit("The {} of Velidor is", "capital", "Dorvik"))
    assert _equal(left, right)
    assert not UltraEdit.needs_subject


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.embed_tokens.weight"], "inner_params contains 'model.embed_tokens.weight'; it may contain matrices"),
        (["model.layers.1.mlp.down_proj.weight"] * 2, "inner_params must be different"),
    ],
)
def test_wrong_matrices_are_refused(names: list[str], message: str) -> None:
    """What is not a matrix of a block, or is named twice, is told."""
    with pytest.raises(HyperparameterError, match=message):
        _editor(inner_params=names)


def test_a_strange_memory_is_refused() -> None:
    """Statistics of another shape, or a part of them, do not fit; the editor is as before."""
    editor = _editor()
    editor.apply(tiny.EDITS[0])
    state = editor.state()
    name = next(name for name in state if name.startswith("memory:mean"))
    for wrong in ({**state, name: state[name][:3]}, {key: value for key, value in state.items() if key != name}):
        with pytest.raises(StateMismatch, match="must"):
            editor.restore(wrong)
        assert all(same_bits(value, state[key]) for key, value in editor.state().items())
