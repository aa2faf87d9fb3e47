"""Every built-in editor keeps the contract: in place, accumulating, saved and taken back at any step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from transformers import PreTrainedModel

from editors import (
    Edit,
    EditError,
    Editor,
    HyperparameterError,
    MissingCorpus,
    NonFiniteEdit,
    StateMismatch,
    UnsupportedModel,
    create,
    kind_of,
    names,
)
from editors.parts.hyperparameters import tables
from editors.parts.weights import Weights, same_bits
from tests.meta import tiny_models as tiny

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
    given = {"corpus": tiny.CORPUS} | given
    return create(method, model, tiny.tokenizer(), **given, **tiny.settings(method, **(changes or {})))


def _after(editor: Editor, edits: Iterable[Edit]) -> dict[str, Tensor]:
    for edit in edits:
        editor.apply(edit)
    return editor.state()


def _bits(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


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
def test_only_the_listed_weights_change(method: str) -> None:
    """Edits change the down-projections of `layers` and no other bit; all parameters stay frozen."""
    editor = _editor(method, "gpt2")
    base = _bits(editor.model)
    state = _after(editor, tiny.EDITS[:2])
    layers = tiny.settings(method)["layers"]
    assert sorted(state) == [f"weight:transformer.h.{layer}.mlp.c_proj.weight" for layer in layers]
    changed = [name for name, value in _bits(editor.model).items() if not same_bits(value, base[name])]
    assert sorted(changed) == [name.removeprefix("weight:") for name in sorted(state)]
    assert not editor.model.training
    assert not any(parameter.requires_grad for parameter in editor.model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_no_hook_stays_behind(method: str) -> None:
    """After an edit, and after one that failed, no module of the model has a hook left."""
    editor = _editor(method)
    editor.apply(tiny.EDITS[0])
    editor.model.get_parameter("lm_head.weight")[5, 0] = float("nan")
    with pytest.raises(NonFiniteEdit):
        editor.apply(tiny.EDITS[1])
    left = [name for name, module in editor.model.named_modules() if module._forward_hooks or module._forward_pre_hooks]
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
    """Contexts and covariances of one editor serve another, which then needs no corpus."""
    first = _editor(method)
    second = _editor(method, corpus=None)
    second.load_prepared(load(save(first.prepared())), first.contexts)
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
    state = _after(_editor(method, dtype=torch.bfloat16), tiny.EDITS[:1])
    assert state
    assert {value.dtype for value in state.values()} == {torch.bfloat16}


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
    editor.prepare()
    editor.model.get_parameter("lm_head.weight")[5, 0] = float("nan")
    base = _bits(editor.model)
    with pytest.raises(NonFiniteEdit, match=r"down_proj\.weight is not finite, at the edit 'The capital of Velidor"):
        editor.apply(tiny.EDITS[0])
    assert _equal(_bits(editor.model), base)
    assert editor.state() == {}


def test_a_failure_between_layers_takes_the_first_layer_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """MEMIT interrupted after its first layer leaves the weights of the edits before."""
    editor = _editor("memit")
    before = _after(editor, tiny.EDITS[:1])
    write, calls = Weights.write, []

    def failing(self: Weights, name: str, value: Tensor) -> None:
        calls.append(name)
        write(self, name, value if len(calls) == 1 else value * float("nan"))

    monkeypatch.setattr(Weights, "write", failing)
    with pytest.raises(NonFiniteEdit):
        editor.apply(tiny.EDITS[1])
    assert len(calls) == 2
    assert _equal(editor.state(), before)


@pytest.mark.parametrize("method", METHODS)
def test_diagnostics_are_numbers_of_the_last_apply(method: str) -> None:
    """After an apply the diagnostics hold finite numbers, among them the search's loss and steps."""
    editor = _editor(method)
    editor.apply(tiny.EDITS[0])
    told = editor.diagnostics()
    assert {"loss", "steps"} <= set(told)
    assert all(isinstance(value, float) and value == value for value in told.values())  # noqa: PLR0124 - not NaN


@pytest.mark.parametrize(
    ("state", "part"),
    [
        ({"weight:model.layers.9.x": torch.zeros(1)}, "does not have"),
        ({"weight:model.norm.weight": torch.zeros(3)}, r"is \(3,\) torch.float32 in the state"),
        ({"weight:model.norm.weight": torch.zeros(16, dtype=torch.float64)}, "float64 in the state"),
        ({"model.norm.weight": torch.zeros(16)}, "names begin with"),
        ({"memory:cache": torch.zeros(1)}, "does not keep"),
    ],
)
def test_a_strange_state_is_refused(state: dict[str, Tensor], part: str) -> None:
    """A state of another model or method raises StateMismatch and changes nothing."""
    editor = _editor("memit")
    before = _after(editor, tiny.EDITS[:1])
    with pytest.raises(StateMismatch, match=part):
        editor.restore(state)
    assert _equal(editor.state(), before)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_hyperparameters_are_refused_with_the_list(method: str) -> None:
    """A name that a method does not have is answered with all that it has."""
    with pytest.raises(HyperparameterError, match=r"no hyperparameter colour; it has layers, .*kl_factor"):
        _editor(method, changes={"colour": 1})


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"v_lr": 0}, "v_lr is 0: .*greater than 0"),
        ({"layers": ()}, "layers is"),
        ({"layers": (1, 1)}, "different"),
        ({"layers": (7,)}, "layers holds 7; this model has layers 0 to 2"),
        ({"v_loss_layer": 9}, "v_loss_layer holds 9"),
        ({"fact_token": "middle"}, "fact_token is 'middle'"),
        ({"v_lr": float("nan")}, "v_lr"),
    ],
)
def test_hyperparameters_out_of_bounds_are_refused(changes: dict[str, Any], part: str) -> None:
    """A value outside its bounds is named with what is allowed."""
    with pytest.raises(HyperparameterError, match=part):
        _editor("memit", changes=changes)


def test_layer_is_short_for_layers() -> None:
    """`layer=2` means `layers=(2,)`."""
    values = tiny.settings("rome")
    del values["layers"]
    editor = create("rome", tiny.model(), tiny.tokenizer(), layer=2, **values)
    assert editor.hyperparameters.model_dump()["layers"] == (2,)


def test_an_unknown_model_needs_its_hyperparameters() -> None:
    """Without defaults for the model the message lists the known models and the values to give."""
    with pytest.raises(HyperparameterError, match=r"no defaults .*gpt2-xl, .*or give layers, v_num_grad_steps"):
        create("memit", tiny.model(), tiny.tokenizer())
    with pytest.raises(HyperparameterError, match="no defaults for the model 'gpt9'"):
        create("memit", tiny.model(), tiny.tokenizer(), defaults="gpt9", **tiny.settings("memit"))


def test_defaults_follow_the_name_of_the_model() -> None:
    """The last part of the name that a model was loaded from picks its table; arguments go over it."""
    model = tiny.model(depth=8)
    model.config.name_or_path = "some/place/Llama-Mini"
    editor = create("memit", model, tiny.tokenizer(), v_lr=0.25)
    values = editor.hyperparameters.model_dump()
    assert list(values["layers"]) == tables("memit")["llama-mini"]["layers"]
    assert values["v_lr"] == 0.25


def test_a_needed_covariance_has_to_come_from_somewhere() -> None:
    """Neither covariances nor corpus: MissingCorpus says which matrix and what to do; ROME can do without."""
    with pytest.raises(MissingCorpus, match=r"down_proj.*covariances=\{path: matrix\} or corpus="):
        _editor("rome", corpus=None).prepare()
    with pytest.raises(MissingCorpus, match="holds no text"):
        _editor("rome", corpus=[]).prepare()
    assert _after(_editor("rome", corpus=None, changes={"mom2_adjustment": False}), tiny.EDITS[:1])


def test_a_covariance_of_another_shape_is_refused() -> None:
    """A second moment that does not fit the matrix is named with both shapes."""
    wrong = {"model.layers.1.mlp.down_proj": torch.eye(3)}
    with pytest.raises(StateMismatch, match=r"\(3, 3\), it must be \(24, 24\)"):
        _editor("rome", covariances=wrong).prepare()


@pytest.mark.parametrize("contexts", [[], [["The rain. {}"]], [["{}", "no place"]], [["{}"], []]])
def test_malformed_contexts_are_refused(contexts: list[list[str]]) -> None:
    """Contexts begin with the bare prompt and hold one place each."""
    with pytest.raises(EditError, match="context"):
        _editor("rome", contexts=contexts)


def test_an_unknown_family_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a family without a row of anatomy is refused with the known ones."""
    model = tiny.model()
    monkeypatch.setattr(type(model.config), "model_type", "opt")
    with pytest.raises(UnsupportedModel, match="'opt' is not known; known are gpt2, gpt_neox"):
        create("rome", model, tiny.tokenizer(), **tiny.settings("rome"))
    monkeypatch.undo()
    inner = tiny.model().model
    with pytest.raises(UnsupportedModel, match="has no module 'model'"):
        create("rome", inner, tiny.tokenizer(), **tiny.settings("rome"))


@pytest.mark.parametrize("method", METHODS)
def test_no_edits_change_nothing(method: str) -> None:
    """An empty batch does nothing, not even prepare."""
    editor = _editor(method, corpus=None)
    editor.apply_many([])
    assert editor.state() == {}
    assert kind_of(method) == editor.kind
