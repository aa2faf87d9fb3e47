"""SimIE around ROME, MEMIT and AlphaEdit: the recursion is one ridge regression over all edits, each solved alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from editors import Edit, Editor, NonFiniteEdit, create
from editors.core.weights import same_bits
from editors.models.architecture import Architecture
from editors.models.projection import Matrix
from meta.support import tiny_models as tiny
from meta.support.strategies import shapes

few = settings(max_examples=6, deadline=None)
VARIANTS = {
    "rome": "simie",
    "memit": "meta.methods.ideal_editors:SimieMemit",
    "alphaedit": "meta.methods.ideal_editors:SimieAlphaedit",
}


def _simie(inner: str, model: PreTrainedModel, **changes: object) -> Editor:
    return _editor(VARIANTS[inner], inner, model, **changes)


def _editor(method: str, inner: str, model: PreTrainedModel, **changes: object) -> Editor:
    given = {"covariances": tiny.moments(model), "contexts": tiny.CONTEXTS}
    free = {"nullspace_threshold": 0.8} if inner == "alphaedit" else {}  # about half of the directions of `moments`
    return create(method, model, tiny.tokenizer(), **given, **tiny.settings(inner, **free, **changes))


def _matrices(model: PreTrainedModel, inner: str) -> list[Matrix]:
    return [Architecture(model).down(layer) for layer in tiny.settings(inner)["layers"]]


def _weights(model: PreTrainedModel, inner: str) -> list[Tensor]:
    return [matrix.stored(matrix.weight.detach()).double().clone() for matrix in _matrices(model, inner)]


def _inputs(model: PreTrainedModel, inner: str, edit: Edit) -> list[Tensor]:
    """K [f, n] of each matrix: what a whole pass over prompt and answer gives it."""
    seen: list[Tensor] = []
    handles = [
        matrix.module.register_forward_pre_hook(lambda _module, args: seen.append(args[0][0].T.double()))
        for matrix in _matrices(model, inner)
    ]
    with torch.no_grad():
        model(input_ids=tiny.tokenizer()(f"{edit.text} {edit.target_new}", return_tensors="pt").input_ids)
    for handle in handles:
        handle.remove()
    return seen


def _regression(shape: tiny.Shape, inner: str, edits: Sequence[Edit], weight: float) -> list[Tensor]:
    """argmin_W Σ ‖(W - B_i) K_i‖² + λ ‖W - W_0‖² of each matrix, solved once for all edits."""
    base = shape.build()
    start = _weights(base, inner)
    goals = [torch.zeros_like(each) for each in start]
    grams = [weight * torch.eye(each.shape[1], dtype=torch.float64) for each in start]
    for edit in edits:
        keys, alone = _inputs(base, inner, edit), shape.build()
        _editor(inner, inner, alone).apply(edit)
        for number, edited in enumerate(_weights(alone, inner)):
            gram = keys[number] @ keys[number].T
            goals[number] += (edited - start[number]) @ gram
            grams[number] += gram
    return [one + goal @ gram.inverse() for one, goal, gram in zip(start, goals, grams, strict=True)]


@pytest.mark.parametrize("inner", VARIANTS)
@few
@given(shape=shapes, weight=st.sampled_from([0.1, 1.0, 30.0]))
def test_the_recursion_is_one_regression_over_all_edits(*, inner: str, shape: tiny.Shape, weight: float) -> None:
    """After three edits W is what solving for all of them at once gives."""
    model = shape.build()
    editor = _simie(inner, model, lamHyper=weight)
    for edit in tiny.EDITS[:3]:
        editor.apply(edit)
    for found, wanted in zip(_weights(model, inner), _regression(shape, inner, tiny.EDITS[:3], weight), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inner", VARIANTS)
def test_with_nothing_else_to_keep_a_first_edit_is_the_inner_one_on_its_own_tokens(inner: str) -> None:
    """For λ near 0 the first matrix gives, at the tokens of prompt and answer, what the inner method's gives there."""
    shape = tiny.Shape(dtype=torch.float64)
    ours, alone = shape.build(), shape.build()
    keys = _inputs(ours, inner, tiny.EDITS[0])[0]
    _simie(inner, ours, lamHyper=1e-9).apply(tiny.EDITS[0])
    _editor(inner, inner, alone).apply(tiny.EDITS[0])
    mine, theirs = _weights(ours, inner)[0], _weights(alone, inner)[0]
    assert torch.allclose(mine @ keys, theirs @ keys, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(mine, theirs, rtol=1e-3)


@pytest.mark.parametrize("inner", VARIANTS)
def test_the_order_of_edits_does_not_matter(inner: str) -> None:
    """Each edit is solved on the unedited model, so any order gives the same weights; on the edited one it does not."""
    shape = tiny.Shape(dtype=torch.float64)
    for alone in (True, False):
        found = []
        for order in list(permutations(tiny.EDITS[:3]))[::3]:
            model = shape.build()
            editor = _simie(inner, model, lamHyper=1.0, init_model=alone)
            for edit in order:
                editor.apply(edit)
            found.append(_weights(model, inner)[-1])
        assert torch.allclose(found[0], found[1], rtol=1e-6, atol=1e-9) == alone


def test_an_edit_that_fails_leaves_the_weights_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inner method works on the unedited weights; if it raises, the edited ones are back, bit by bit."""
    model = tiny.model()
    editor = _simie("rome", model, lamHyper=1.0)
    editor.apply(tiny.EDITS[0])
    before = editor.state()
    monkeypatch.setattr("editors.rome.rank_one", lambda _u, residual, _key: (residual * float("nan"), 1.0))
    with pytest.raises(NonFiniteEdit):
        editor.apply(tiny.EDITS[1])
    after = editor.state()
    assert before.keys() == after.keys()
    assert all(same_bits(value, after[name]) for name, value in before.items())
