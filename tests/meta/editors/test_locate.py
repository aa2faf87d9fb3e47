"""What ROME, MEMIT and their descendants share: which weights change, hyperparameters, covariances, contexts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from editors import EditError, Editor, HyperparameterError, MissingCorpus, NonFiniteEdit, StateMismatch, create, names
from editors.core.hyperparameters import tables
from editors.core.registry import built_in
from editors.core.weights import Weights, same_bits
from editors.locate import base
from editors.locate.base import LocateEditor
from meta.editors.test_contract import _after, _bits, _editor, _equal
from meta.support import tiny_models as tiny

METHODS = [name for name in names() if issubclass(built_in(name), LocateEditor)]


@pytest.mark.parametrize("method", METHODS)
def test_only_the_listed_weights_change(method: str) -> None:
    """Edits change the down-projections of `layers` and no other bit; all parameters stay frozen."""
    editor = _editor(method, "gpt2")
    base = _bits(editor.model)
    state = [name for name in _after(editor, tiny.EDITS[:2]) if name.startswith("weight:")]
    layers = tiny.settings(method)["layers"]
    assert sorted(state) == [f"weight:transformer.h.{layer}.mlp.c_proj.weight" for layer in layers]
    changed = [name for name, value in _bits(editor.model).items() if not same_bits(value, base[name])]
    assert sorted(changed) == [name.removeprefix("weight:") for name in sorted(state)]
    assert not editor.model.training
    assert not any(parameter.requires_grad for parameter in editor.model.parameters())


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


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"v_lr": 0}, "v_lr is 0: .*greater than 0"),
        ({"layers": ()}, "layers is"),
        ({"layers": (1, 1)}, "different"),
        ({"layers": (7,)}, "layers contains 7; this model has layers 0 to 2"),
        ({"v_loss_layer": 9}, "v_loss_layer contains 9"),
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
    with pytest.raises(MissingCorpus, match="the corpus has no text"):
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


def _two_edits(*, release: bool) -> tuple[Editor, dict[str, Tensor]]:
    editor = create(
        "memit", tiny.model(), tiny.tokenizer(), contexts=tiny.CONTEXTS, corpus=tiny.CORPUS, **tiny.settings("memit")
    )
    editor.apply(tiny.EDITS[0])
    if release:
        editor.release()
    editor.apply(tiny.EDITS[1])
    return editor, editor.state()


def test_what_is_let_go_of_is_computed_again_to_the_same_bits() -> None:
    """After `release` no covariance and no factor is kept, and the next edit is the one that it would have been."""
    kept, wanted = _two_edits(release=False)
    assert isinstance(kept, LocateEditor)
    assert len(kept._factors) == len(kept._covariances) == 2
    kept.release()
    assert not kept._factors
    assert not kept._covariances
    _, state = _two_edits(release=True)
    assert all(same_bits(state[name], value) for name, value in wanted.items())


def test_factors_that_take_too_much_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room for one factor of two none is kept, and the edits are the same bits."""
    _, wanted = _two_edits(release=False)
    monkeypatch.setattr(base, "SMALL", 24 * 24 * 8)
    editor, state = _two_edits(release=False)
    assert isinstance(editor, LocateEditor)
    assert not editor._factors
    assert all(same_bits(state[name], value) for name, value in wanted.items())
