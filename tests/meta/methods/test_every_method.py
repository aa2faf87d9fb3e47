"""What every built-in editor owes to any list of edits on any model: a way back, a way to continue, no company."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from editors import Edit, Editor, HyperparameterError, NoEffect, create, names
from editors.core.registry import built_in
from editors.core.weights import same_bits
from meta.support import tiny_models as tiny

METHODS = names()
few = settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # examples are small as they are; shrinking takes minutes
)
shapes = st.builds(
    tiny.Shape,
    family=st.sampled_from(["llama", "gpt2"]),
    depth=st.sampled_from([3, 4]),
    width=st.sampled_from([8, 16]),
    inner=st.sampled_from([16, 20]),
    tied=st.booleans(),
    seed=st.integers(0, 3),
)
edits = st.builds(
    Edit,
    prompt=st.sampled_from(["The capital of {} is", "{} was born in", "People who visit {}"]),
    subject=st.sampled_from(["Velidor", "Marta Velen", "Halden Spire", "Zürich", "Yusuf Adair"]),
    target_new=st.sampled_from(["Amber Bay", "Dorvik", "swim", "{ö}"]),
    target_true=st.sampled_from(["", "Greek", "Port Winslow"]),
)
lists = st.lists(edits, min_size=1, max_size=3)
words = st.from_regex(r"[a-z]{3,8}(_[a-z]{3,8})?", fullmatch=True)

State = dict[str, Tensor]


@cache
def _prepared(method: str, shape: str) -> tuple[State, tuple[tuple[str, ...], ...]]:
    """What an editor on the model of a shape (its `repr`: shapes hold a dict) prepares; trainings take long."""
    editor = _fresh(method, _SHAPES[shape])
    return editor.prepared(), editor.contexts


_SHAPES: dict[str, tiny.Shape] = {}


def _fresh(method: str, shape: tiny.Shape) -> Editor:
    model = shape.build()
    # second moments of a wide spectrum, in which every method's threshold finds its place
    moments = {path: torch.logspace(1, -5, len(found)).diag() for path, found in tiny.moments(model).items()}
    given: dict[str, Any] = {"contexts": tiny.CONTEXTS, "covariances": moments}
    given |= {"corpus": tiny.CORPUS, "training": tiny.EDITS}
    return create(method, model, tiny.tokenizer(), **given, **tiny.settings(method))


def _editor(method: str, shape: tiny.Shape) -> Editor:
    """An editor on a fresh model, prepared."""
    _SHAPES[repr(shape)] = shape
    made = _fresh(method, shape)
    tensors, contexts = _prepared(method, repr(shape))
    made.load_prepared(tensors, contexts or None)
    return made


def _apply(editor: Editor, asked: Iterable[Edit]) -> State:
    """The state after some edits; one in which the method finds nothing to change is left out."""
    for edit in asked:
        with suppress(NoEffect):
            editor.apply(edit)
    return editor.state()


def _equal(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(same_bits(value, right[name]) for name, value in left.items())


def _bits(editor: Editor) -> State:
    return {name: value.detach().clone() for name, value in tiny.inner(editor.model).named_parameters()}


def _logits(editor: Editor, edit: Edit) -> Tensor:
    with torch.no_grad():
        logits: Tensor = editor.model(input_ids=tiny.tokenizer()(edit.text, return_tensors="pt").input_ids).logits
    return logits


@pytest.mark.parametrize("method", METHODS)
@few
@given(shape=shapes, asked=lists)
def test_undo_brings_back_every_bit(method: str, shape: tiny.Shape, asked: list[Edit]) -> None:
    """After any edits undo gives the base's weights, an empty state and its answers; the edits can be repeated."""
    editor = _editor(method, shape)
    base, answers = _bits(editor), _logits(editor, asked[0])
    state = _apply(editor, asked)
    assume(state)
    editor.undo()
    assert _equal(_bits(editor), base)
    assert editor.state() == {}
    assert same_bits(_logits(editor, asked[0]), answers)
    assert _equal(_apply(editor, asked), state)


@pytest.mark.parametrize("method", METHODS)
@few
@given(shape=shapes, asked=lists, more=edits)
def test_a_state_survives_safetensors(method: str, shape: tiny.Shape, asked: list[Edit], more: Edit) -> None:
    """Put through safetensors into a new editor, a state answers the same and continues the same, bit by bit."""
    first, second = _editor(method, shape), _editor(method, shape)
    state = _apply(first, asked)
    assume(state)
    second.restore(load(save(state)))
    assert _equal(second.state(), state)
    assert same_bits(_logits(first, asked[-1]), _logits(second, asked[-1]))
    assert _equal(_apply(first, [more]), _apply(second, [more]))


@pytest.mark.parametrize("method", METHODS)
@few
@given(shape=shapes, asked=lists, cut=st.integers(0, 3))
def test_a_beginning_is_the_shorter_trajectory(method: str, shape: tiny.Shape, asked: list[Edit], cut: int) -> None:
    """The state on the way at any edit is the state at the end of a trajectory of that length."""
    way, short = _editor(method, shape), _editor(method, shape)
    beginning = _apply(way, asked[:cut])
    whole = _apply(way, asked[cut:])
    assert _equal(_apply(short, asked[:cut]), beginning)
    assert _equal(_apply(short, asked[cut:]), whole)


@pytest.mark.parametrize("method", METHODS)
@few
@given(shape=shapes, other=st.sampled_from(METHODS), left=lists, right=lists)
def test_editors_in_turns_do_not_see_each_other(
    method: str, shape: tiny.Shape, other: str, left: list[Edit], right: list[Edit]
) -> None:
    """Edits of two methods on two models, taken in turns, give what each gives alone."""
    second = replace(shape, seed=shape.seed + 1)
    one, two = _editor(method, shape), _editor(other, second)
    for mine, yours in zip_longest(left, right):
        _apply(one, [mine] if mine else [])
        _apply(two, [yours] if yours else [])
    assert _equal(one.state(), _apply(_editor(method, shape), left))
    assert _equal(two.state(), _apply(_editor(other, second), right))


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(name=words)
def test_unknown_hyperparameters_are_answered_with_all_known(method: str, name: str) -> None:
    """Whatever the unknown name, the message has it and every name that the method knows."""
    fields = built_in(method).Hyperparameters.model_fields
    given_otherwise = {"model", "tokenizer", "spec", "layer", "defaults", "corpus", "contexts", "covariances",
                       "training", "scratch", "seed", "record"}  # fmt: skip
    assume(name not in fields and name not in given_otherwise)
    with pytest.raises(HyperparameterError) as caught:
        create(method, _model(), tiny.tokenizer(), **tiny.settings(method, **{name: 1}))
    message = str(caught.value)
    assert f"{method} has no hyperparameter {name};" in message
    assert all(field in message.partition(";")[2] for field in fields)


@cache
def _model() -> PreTrainedModel:
    return tiny.model()
