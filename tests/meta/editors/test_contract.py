"""Every built-in editor keeps the contract: in place, accumulating, saved and taken back at any step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from editors import (
    Edit,
    Editor,
    HyperparameterError,
    NonFiniteEdit,
    UnsupportedModel,
    create,
    kind_of,
    names,
)
from editors.core.weights import same_bits
from meta.support import tiny_models as tiny

METHODS = names()
pytestmark = pytest.mark.filterwarnings("error")


def _editor(
    method: str,
    family: str = "llama",
    changes: dict[str, Any] | None = None,
    **given: Any,  # noqa: ANN401
) -> Editor:
    """An editor on a fresh tiny model; makes its own contexts and covariances unless they are given."""
    model = tiny.model(family, dtype=given.pop("dtype", torch.float32))
    given = {"corpus": tiny.CORPUS, "training": tiny.EDITS} | given
    return create(method, model, tiny.tokenizer(), **given, **tiny.settings(method, **(changes or {})))


def _after(editor: Editor, edits: Iterable[Edit]) -> dict[str, Tensor]:
    for edit in edits:
        editor.apply(edit)
    return editor.state()


def _bits(model: object) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tiny.inner(model).named_parameters()}


def writes_numbers(editor: Editor) -> bool:
    """Whether an edit is computed by this method; the others keep its text."""
    return editor.name not in {"serac", "ike", "retrieval"}


def _equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(same_bits(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_edits_accumulate_and_undo_is_bit_exact(method: str, family: str) -> None:
    """Two edits differ from one and from the second alone; undo brings the base back bit by bit."""
    editor = _editor(method, family)
    base = _bits(editor.model)
    assert editor.state() == {}
    first = _after(editor, tiny.EDITS[:1])
    both = _after(editor, tiny.EDITS[1:2])
    editor.undo()
    assert _equal(_bits(editor.model), base)
    assert editor.state() == {}
    second = _after(editor, tiny.EDITS[1:2])
    assert first
    assert not _equal(first, both)
    assert not _equal(second, both)


@pytest.mark.parametrize("method", METHODS)
def test_no_hook_stays_behind(method: str) -> None:
    """After an edit, and after one that failed, no module of the model has a hook left."""
    editor = _editor(method)
    editor.apply(tiny.EDITS[0])
    tiny.inner(editor.model).get_parameter("lm_head.weight")[5, 0] = float("nan")
    if writes_numbers(editor):
        with pytest.raises(NonFiniteEdit):
            editor.apply(tiny.EDITS[1])
    left = [
        name
        for name, module in tiny.inner(editor.model).named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]
    assert left == []


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_resumed_equals_uninterrupted(method: str, family: str) -> None:
    """A state put through safetensors into a new editor on a fresh model continues bit by bit the same.

    The new editor makes its contexts and covariances after the restore, yet from the base weights.
    """
    whole = _editor(method, family)
    half = _after(whole, tiny.EDITS[:2])
    end = _after(whole, tiny.EDITS[2:])
    resumed = _editor(method, family)
    resumed.restore(load(save(half)))
    assert _equal(resumed.state(), half)
    assert _equal(_after(resumed, tiny.EDITS[2:]), end)
    assert resumed.contexts == whole.contexts
    assert _equal(resumed.prepared(), whole.prepared())
    shorter = _editor(method, family)
    assert _equal(_after(shorter, tiny.EDITS[:2]), half), "a trajectory's beginning is the shorter trajectory"


@pytest.mark.parametrize("method", METHODS)
def test_prepared_can_be_carried_over(method: str) -> None:
    """Contexts, covariances and networks of one editor serve another, which then needs no corpus or training."""
    first = _editor(method)
    second = _editor(method, corpus=None, training=None)
    second.load_prepared(load(save(first.prepared())), first.contexts or None)
    assert _equal(_after(first, tiny.EDITS[:1]), _after(second, tiny.EDITS[:1]))


@pytest.mark.parametrize("method", METHODS)
def test_two_editors_do_not_see_each_other(method: str) -> None:
    """Edits of two editors on two models, taken in turns, give what each gives alone."""
    left, right = _editor(method), _editor(method, seed=1)
    for one, other in zip(tiny.EDITS[:2], tiny.EDITS[2:], strict=True):
        left.apply(one)
        right.apply(other)
    assert _equal(left.state(), _after(_editor(method), tiny.EDITS[:2]))
    assert _equal(right.state(), _after(_editor(method, seed=1), tiny.EDITS[2:]))


@pytest.mark.parametrize("method", METHODS)
def test_global_randomness_is_neither_used_nor_moved(method: str) -> None:
    """Another global seed gives the same edit, and the edit leaves the global generator where it was."""
    torch.manual_seed(1)
    first = _after(_editor(method), tiny.EDITS[:1])
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = _after(_editor(method), tiny.EDITS[:1])
    assert _equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_models_are_edited(method: str) -> None:
    """A bfloat16 model keeps its type; the edit is computed in float32 and changes it."""
    editor = _editor(method, dtype=torch.bfloat16)
    state = _after(editor, tiny.EDITS[:1])
    assert state
    assert {value.dtype for name, value in state.items() if name.startswith("weight:")} <= {torch.bfloat16}
    assert {value.dtype for value in _bits(editor.model).values()} == {torch.bfloat16}


@pytest.mark.parametrize("method", METHODS)
def test_padding_side_of_the_tokenizer_is_ignored(method: str) -> None:
    """A tokenizer set to pad on the left, as transformers sets Llama's, gives the same edit bit by bit."""
    expected = _after(_editor(method), tiny.EDITS[:1])
    tokenizer = tiny.tokenizer()
    try:
        tokenizer.padding_side = "left"
        assert _equal(_after(_editor(method), tiny.EDITS[:1]), expected)
    finally:
        tokenizer.padding_side = "right"


@pytest.mark.parametrize("method", METHODS)
def test_braces_and_odd_texts_do_no_harm(method: str) -> None:
    """Braces, quotes and non-ASCII letters in prompt, subject and target are just text."""
    assert _after(_editor(method), [Edit('In {{x}} "{}" is', "Zürich {0}", "{ö}")])


@pytest.mark.parametrize("method", METHODS)
def test_a_non_finite_update_leaves_the_weights(method: str) -> None:
    """An update with NaN in it raises NonFiniteEdit with edit and parameter; nothing has changed."""
    editor = _editor(method)
    if not writes_numbers(editor):
        pytest.skip(f"{method} stores the edit's text; it computes no update")
    editor.prepare()
    tiny.inner(editor.model).get_parameter("lm_head.weight")[5, 0] = float("nan")
    base = _bits(editor.model)
    with pytest.raises(NonFiniteEdit, match=r"not finite, at the edit 'The capital of Velidor"):
        editor.apply(tiny.EDITS[0])
    assert _equal(_bits(editor.model), base)
    assert editor.state() == {}


@pytest.mark.parametrize("method", METHODS)
def test_diagnostics_are_numbers_of_the_last_apply(method: str) -> None:
    """After an apply the diagnostics hold finite numbers, at least one."""
    editor = _editor(method)
    editor.apply(tiny.EDITS[0])
    told = editor.diagnostics()
    assert told
    assert all(isinstance(value, float) and value == value for value in told.values())  # noqa: PLR0124 - not NaN


@pytest.mark.parametrize("method", METHODS)
def test_unknown_hyperparameters_are_refused_with_the_list(method: str) -> None:
    """A name that a method does not have is answered with all that it has."""
    with pytest.raises(HyperparameterError, match=r"no hyperparameter color; it has \w+"):
        _editor(method, changes={"color": 1})


def test_a_model_without_its_head_is_refused() -> None:
    """The inner model of a known family is not the causal model; the message says what is missing."""
    inner = tiny.model().model
    with pytest.raises(UnsupportedModel, match="has no module 'model'"):
        create("rome", inner, tiny.tokenizer(), **tiny.settings("rome"))


@pytest.mark.parametrize("method", METHODS)
def test_no_edits_change_nothing(method: str) -> None:
    """An empty batch does nothing, not even prepare."""
    editor = _editor(method, corpus=None, training=None)
    editor.apply_many([])
    assert editor.state() == {}
    assert kind_of(method) == editor.kind
