"""Somebody else's editor, named as `module:Name`, keeps the contract without knowing it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput

from editors import (
    Edit,
    Editor,
    EditorError,
    EditorNotFound,
    HyperparameterError,
    StateMismatch,
    create,
    kind_of,
    names,
)
from editors.core.hyperparameters import build, tables
from editors.core.registry import built_in, resolve
from editors.core.weights import same_bits
from editors.external.adapter import ExternalEditor
from editors.memory.memory_model import MemoryModel
from meta.support import tiny_models as tiny

HERE = __name__


class Scaling:
    """Scales the final norm; counts its edits."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, factor: float = 2.0) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.factor = factor
        self.count = 0

    def apply(self, edit: Edit) -> None:
        """Scale by the factor, differently each time and for each subject."""
        self.count += 1
        with torch.no_grad():
            self.model.get_parameter("model.norm.weight").mul_(self.factor + self.count + len(edit.about))


def in_place(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, edits: Sequence[Edit], step: float = 1.0
) -> PreTrainedModel:
    """One gradient step on the head."""
    ids = tokenizer(edits[0].text, return_tensors="pt").input_ids
    head = model.get_parameter("lm_head.weight")
    (gradient,) = torch.autograd.grad(model(input_ids=ids).logits.square().mean(), head)
    with torch.no_grad():
        head.add_(gradient, alpha=step)
    return model


def on_a_copy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, edits: Sequence[Edit]) -> PreTrainedModel:
    """The same on a copy, which it returns."""
    other = copy.deepcopy(model)
    in_place(other, tokenizer, edits)
    return other


def untying(model: PreTrainedModel, _tokenizer: object, edits: Sequence[Edit]) -> PreTrainedModel:
    """Gives a tied model a head of its own."""
    own = model.get_parameter("lm_head.weight").detach() * (2 + len(edits))
    model.get_submodule("lm_head").weight = torch.nn.Parameter(own)
    return model


def growing(model: PreTrainedModel, _tokenizer: object, edits: Sequence[Edit]) -> PreTrainedModel:
    """Adds a parameter."""
    model.register_parameter("extra", torch.nn.Parameter(torch.zeros(len(edits))))
    return model


class Anchored:
    """Remembers, when it is made, what it will add."""

    def __init__(self, model: PreTrainedModel, _tokenizer: object) -> None:
        self.model = model
        self.anchor = model.get_parameter("model.norm.weight").detach().clone()

    def apply(self, _edit: Edit) -> None:
        """Add it."""
        with torch.no_grad():
            self.model.get_parameter("model.norm.weight").add_(self.anchor)


class Counting(Scaling):
    """Scales more with every edit; says that it remembers."""

    kind = "wrapper"


class Behind:
    """A memory in front of the model: no module, no generate, the answer of the last edit to everything."""

    def __init__(self, inner: PreTrainedModel) -> None:
        self.inner = inner
        self.answers: list[int] = []

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> CausalLMOutput:
        """Logits that want the first remembered token."""
        assert attention_mask.all()
        logits = self.inner(input_ids).logits.clone()
        logits[..., self.answers] += 100.0 * len(self.answers)
        return CausalLMOutput(logits=logits)


class Remembering:
    """Shows a wrapper from the first edit on, and spoils the model that it was handed."""

    kind = "wrapper"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = Behind(model)
        self.tokenizer = tokenizer
        model.register_parameter("extra", torch.nn.Parameter(torch.zeros(1)))

    def apply(self, edit: Edit) -> None:
        """Keep the first token of the answer."""
        self.model.answers = [self.tokenizer(" " + edit.target_new, add_special_tokens=False).input_ids[0]]


class Without:
    """Has no apply."""


FOREIGN = [f"{HERE}:Scaling", f"{HERE}:in_place", f"{HERE}:on_a_copy"]


def _foreign(spec: str, **kwargs: object) -> Editor:
    return create(spec, tiny.model(), tiny.tokenizer(), **kwargs)


def _after(editor: Editor, edits: Sequence[Edit]) -> dict[str, Tensor]:
    for edit in edits:
        editor.apply(edit)
    return editor.state()


def _equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(same_bits(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("spec", FOREIGN)
def test_foreign_editors_keep_the_contract(spec: str) -> None:
    """Edits accumulate, `state` holds exactly what changed, `restore` and `undo` work bit by bit."""
    editor = _foreign(spec, corpus=[], seed=3)
    base = {name: value.clone() for name, value in editor.model.state_dict().items()}
    first = _after(editor, tiny.EDITS[:1])
    second = _after(editor, tiny.EDITS[1:2])
    changed = {name for name in first if name.startswith("weight:")}
    assert changed == {"weight:model.norm.weight" if "Scaling" in spec else "weight:lm_head.weight"}
    assert set(first) - changed == {"memory:requested.bytes", "memory:requested.lengths"}
    assert not _equal(first, second)
    assert not any(parameter.requires_grad for parameter in editor.model.parameters())
    editor.undo()
    assert editor.state() == {}
    assert _equal(dict(editor.model.state_dict()), base)
    other = _foreign(spec)
    other.restore(first)
    assert _equal(other.state(), first)
    if "Scaling" not in spec:  # its counter starts anew
        assert _equal(_after(other, tiny.EDITS[1:2]), second)
    other.restore({})
    assert _equal(_after(other, tiny.EDITS[:1]), first)


def test_a_restored_editor_is_made_on_the_base() -> None:
    """What foreign code computes from the model when it is made comes from base weights, also after a restore."""
    editor = _foreign(f"{HERE}:Anchored")
    first = _after(editor, tiny.EDITS[:1])
    second = _after(editor, tiny.EDITS[1:2])
    editor.restore(first)
    assert _equal(_after(editor, tiny.EDITS[1:2]), second)


def test_what_remembers_is_put_back_by_its_edits() -> None:
    """A method of kind wrapper goes on after a restore as if it had never stopped, and the state tells its edits."""
    editor, other = _foreign(f"{HERE}:Counting"), _foreign(f"{HERE}:Counting")
    other.restore(_after(editor, tiny.EDITS[:2]))
    assert _equal(other.state(), editor.state())
    assert _equal(_after(other, tiny.EDITS[2:3]), _after(editor, tiny.EDITS[2:3]))
    state = editor.state()
    spoiled = state | {"weight:model.norm.weight": state["weight:model.norm.weight"] + 1}
    with pytest.raises(StateMismatch, match=r"gave other weights when its 3 edits .* argument `seed`"):
        other.restore(spoiled)


def test_a_wrapper_is_asked_alone_and_its_model_is_a_copy() -> None:
    """What is no model stands behind the base, answers each prompt without padding, and `undo` leaves nothing of it."""
    model = tiny.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    editor = create(f"{HERE}:Remembering", model, tiny.tokenizer())
    assert editor.model is model
    editor.apply(tiny.EDITS[0])
    assert isinstance(editor.model, MemoryModel)
    assert editor.model is editor.model
    wanted = tiny.tokenizer()(" " + tiny.EDITS[0].target_new, add_special_tokens=False).input_ids[0]
    assert editor.model.continue_routed((1, 5, 9), 0, 2, frozenset()) == [wanted, wanted]
    assert editor.model.continue_routed((1, 5, 9), 0, 2, frozenset({wanted})) == [wanted]
    assert set(editor.state()) == {"memory:requested.bytes", "memory:requested.lengths"}
    assert _equal(dict(model.state_dict()), before)
    editor.undo()
    assert editor.model is model
    assert editor.state() == {}


def test_a_warning_of_theirs_is_no_error() -> None:
    """The suite turns warnings into errors, but not those of somebody else's method."""

    def warning(model: PreTrainedModel, _tokenizer: object, _edits: Sequence[Edit]) -> PreTrainedModel:
        warnings.warn("this is old", FutureWarning, stacklevel=1)
        return model

    editor = ExternalEditor("here:warning", warning, tiny.model(), tiny.tokenizer(), settings={}, offered={})
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("error")
        editor.apply(tiny.EDITS[0])
    assert [str(warning.message) for warning in heard] == ["this is old"]


def test_an_entry_point_gives_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name registered by an installed package is known, is listed, and may not be a built-in editor's."""
    folder = tmp_path / "others-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n", encoding="utf-8")
    lines = ["[editgate.editors]", f"scaled = {HERE}:Scaling", f"rome = {HERE}:Scaling", ""]
    (folder / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve("scaled") is Scaling
    with pytest.raises(EditorNotFound, match="no editor is called 'scaledd'; there are scaled, "):
        resolve("scaledd")
    with pytest.raises(EditorNotFound, match=r"'rome' is a built-in editor, but .* rename that entry point"):
        resolve("rome")


def test_a_batch_reaches_a_function_whole() -> None:
    """`apply_many` hands a function all edits in one call, and a class each edit on its own."""
    sizes: list[int] = []

    def counting(model: PreTrainedModel, _tokenizer: object, edits: Sequence[Edit]) -> PreTrainedModel:
        sizes.append(len(edits))
        return model

    editor = ExternalEditor("here:counting", counting, tiny.model(), tiny.tokenizer(), settings={}, offered={})
    editor.apply_many(tiny.EDITS[:3])
    assert sizes == [3]
    many, single = _foreign(FOREIGN[0]), _foreign(FOREIGN[0])
    many.apply_many(tiny.EDITS[:2])
    assert _equal(many.state(), _after(single, tiny.EDITS[:2]))


def test_own_settings_are_passed_and_checked() -> None:
    """Hyperparameters reach the foreign code; one that it does not take is refused with the list."""
    plain, strong = (_after(_foreign(f"{HERE}:in_place", **given), tiny.EDITS[:1]) for given in ({}, {"step": 2.0}))
    assert not _equal(plain, strong)
    with pytest.raises(HyperparameterError, match="no hyperparameter color; it takes step"):
        _foreign(f"{HERE}:in_place", color=1)
    with pytest.raises(HyperparameterError, match="no hyperparameter color; it takes factor"):
        _foreign(f"{HERE}:Scaling", color=1)


def test_what_cannot_be_put_back_is_an_error() -> None:
    """Added tensors are refused; a state that unties shared tensors cannot be written into a tied model."""
    editor = _foreign(f"{HERE}:growing")
    editor.apply(tiny.EDITS[0])
    with pytest.raises(EditorError, match=r"added, removed or reshaped .* Set kind = 'wrapper'"):
        editor.state()
    tied = create(f"{HERE}:untying", tiny.model(tied=True), tiny.tokenizer())
    state = _after(tied, tiny.EDITS[:1])
    assert {name for name in state if name.startswith("weight:")} == {"weight:lm_head.weight"}
    fresh = create(f"{HERE}:untying", tiny.model(tied=True), tiny.tokenizer())
    with pytest.raises(StateMismatch, match="unties"):
        fresh.restore(state)


@pytest.mark.parametrize(
    ("state", "part"),
    [
        ({"weight:nothing": torch.zeros(1)}, "does not have"),
        ({"memory:count": torch.zeros(1)}, "does not have"),
        ({"weight:model.norm.weight": torch.zeros(2)}, "not so in the model"),
    ],
)
def test_a_strange_state_is_refused(state: dict[str, Tensor], part: str) -> None:
    """A state that is not of this model raises StateMismatch."""
    with pytest.raises(StateMismatch, match=part):
        _foreign(FOREIGN[0]).restore(state)


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("rmoe", r"no editor is called 'rmoe'; there are rome, "),
        ("nowhere.at_all:Editor", "cannot import 'nowhere.at_all'"),
        (f"{HERE}:Nothing", "has no 'Nothing'; it has .*Scaling"),
    ],
)
def test_unknown_editors_are_named_with_the_known_ones(spec: str, part: str) -> None:
    """A name that leads nowhere is answered with what there is, the nearest first."""
    with pytest.raises(EditorNotFound, match=part):
        create(spec, tiny.model(), tiny.tokenizer())


@pytest.mark.parametrize("name", ["Without", "HERE"])
def test_what_is_no_editor_is_refused(name: str) -> None:
    """A class without apply and a thing that cannot be called are no editors."""
    with pytest.raises(EditorError, match="must be a class with apply"):
        _foreign(f"{HERE}:{name}")


def test_built_in_editors_are_found_by_scanning() -> None:
    """Each file of the folder is one editor of the file's name, with its kind."""
    assert {"rome", "memit"} <= set(names())
    assert names() == sorted(names())
    for name in names():
        assert built_in(name).name == name
        assert kind_of(name) in {"weights", "wrapper", "prompt"}
    assert kind_of(FOREIGN[0]) == "weights"


@pytest.mark.parametrize("name", names())
def test_shipped_defaults_are_valid(name: str) -> None:
    """Each table of defaults says where it comes from and makes a valid record on its own."""
    record = built_in(name).Hyperparameters
    assert "llama-mini" in tables(name)
    for key, table in tables(name).items():
        assert table["source"], key
        assert build(record, name, key, {}, explicit=True)
