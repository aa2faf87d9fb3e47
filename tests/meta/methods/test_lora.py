"""LoRA's update is of low rank, is merged into the matrices it names, and needs peft."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch

from editors import Editor, EditorNotFound, HyperparameterError, create, names
from editors.core import registry
from meta.support import tiny_models as tiny

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed: editgate[peft]")


def _editor(family: str = "llama", **changes: Any) -> Editor:  # noqa: ANN401 - hyperparameters
    return create("lora", tiny.model(family), tiny.tokenizer(), **tiny.settings("lora", **changes))


@needs_peft
def test_the_update_is_of_rank_r_in_the_named_matrices_alone() -> None:
    """With r = 2 and q_proj named, each block's q_proj has changed by a matrix of rank 2 and nothing else has."""
    editor, base = _editor(target_modules=["q_proj"]), tiny.model()
    editor.apply(tiny.EDITS[0])
    state = editor.state()
    assert {name.rpartition(".self_attn.")[2] for name in state} == {"q_proj.weight"}
    for name, value in state.items():
        change = value.double() - base.get_parameter(name.removeprefix("weight:")).double()
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2


@needs_peft
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_edit_is_learned_and_no_adapter_stays(family: str) -> None:
    """Sixty steps lower the loss by more than three do, and the model has the modules and flags that it had."""
    short, editor = _editor(family, num_steps=3), _editor(family, num_steps=60, lr=3e-2)
    short.apply(tiny.EDITS[0])
    before = [name for name, _ in tiny.inner(editor.model).named_modules()]
    editor.apply(tiny.EDITS[0])
    assert editor.diagnostics()["loss"] < short.diagnostics()["loss"] - 0.5
    assert [name for name, _ in tiny.inner(editor.model).named_modules()] == before
    assert not any(value.requires_grad for value in tiny.inner(editor.model).parameters())


@needs_peft
def test_modules_that_are_not_there_are_refused() -> None:
    """A name that ends no matrix's path is refused with the name."""
    with pytest.raises(HyperparameterError, match=r"target_modules is \('color',\): .*color"):
        _editor(target_modules=["color"]).apply(tiny.EDITS[0])


def test_without_peft_the_way_out_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no editor then, so that runs of all editors do not need it; asking for it says what to install."""
    monkeypatch.setattr(registry, "find_spec", lambda _name: None)
    assert "lora" not in names()
    with pytest.raises(EditorNotFound, match=r"lora needs the package peft: pip install 'editgate\[peft\]'"):
        create("lora", tiny.model(), tiny.tokenizer())
