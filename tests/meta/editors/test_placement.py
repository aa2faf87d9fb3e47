"""A model of which accelerate keeps weights in main memory and on disk is edited as the plain one is, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editgate.cache.digest import digest_tensors
from editgate.measure import model_copies, weight_changes
from editors import Editor, create, names
from editors.core import placement
from editors.core.typing import PreTrainedModel
from meta.support import tiny_models as tiny
from meta.support.placed import offload

IDS = torch.tensor([[5, 9, 2, 7, 30, 11]])
FAMILIES = ("llama", "gpt2", "gpt_neox")  # nn.Linear, Conv1D, attention and MLP side by side


def _editor(method: str, model: PreTrainedModel) -> Editor:
    given: dict[str, Any] = {"contexts": tiny.CONTEXTS, "training": tiny.EDITS[2:], "corpus": tiny.CORPUS * 3}
    return create(method, model, tiny.tokenizer(), **given, **tiny.settings(method))


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@torch.no_grad()
def _said(model: Any) -> Tensor:  # noqa: ANN401 - a model or a wrapper of one
    logits: Tensor = model(IDS).logits
    return logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", names())
def test_an_offloaded_model_is_edited_bit_by_bit(method: str, family: str, tmp_path: Path) -> None:
    """State, weights and answers after each edit are those of the plain model, undo too, and no file is written."""
    shape = {} if family == "gpt2" else {"tied": True}
    plain, model = (tiny.model(family, **shape) for _ in range(2))
    offload(model, tmp_path)
    files, base = _files(tmp_path), digest_tensors(placement.values(plain))
    assert digest_tensors(placement.values(model)) == base
    assert sum(each.is_meta for each in model.parameters()) > 10
    here, there = _editor(method, plain), _editor(method, model)
    for edit in tiny.EDITS[:2]:
        here.apply(edit)
        there.apply(edit)
        state = digest_tensors(here.state())
        assert digest_tensors(there.state()) == state
        assert torch.equal(_said(here.model), _said(there.model))
    assert dict(weight_changes.tensors(there.model)).keys() == dict(weight_changes.tensors(here.model)).keys()
    assert digest_tensors(dict(weight_changes.tensors(there.model))) == digest_tensors(
        dict(weight_changes.tensors(here.model))
    )
    kept = there.state()
    there.undo()
    assert digest_tensors(placement.values(model)) == base
    assert torch.equal(_said(model), _said(tiny.model(family, **shape)))
    there.restore(kept)
    assert digest_tensors(there.state()) == state
    assert placement.is_offloaded(model)
    assert _files(tmp_path) == files


def test_a_copy_shares_what_is_offloaded(tmp_path: Path) -> None:
    """Editing a copy of an offloaded model leaves the base's tensors, answers and maps as they are."""
    base = offload(tiny.model(), tmp_path)
    before, said = digest_tensors(placement.values(base)), _said(base)
    copy = model_copies.sharing(base)
    assert [id(each) for each in placement.maps(copy)] == [id(each) for each in placement.maps(base)]
    editor = _editor("memit", copy)
    editor.apply(tiny.EDITS[0])
    assert not torch.equal(_said(copy), said)
    assert digest_tensors(placement.values(base)) == before
    assert torch.equal(_said(base), said)
    assert all(parameter.is_meta for parameter in base.model.layers.parameters())


def test_a_state_is_restored_before_any_edit(tmp_path: Path) -> None:
    """A new editor on an offloaded model takes a state as its first act, and the next pass says what was edited."""
    plain = tiny.model()
    edited = _editor("ftl", plain)
    edited.apply(tiny.EDITS[0])
    model = offload(tiny.model(), tmp_path)
    _editor("ftl", model).restore(edited.state())
    assert torch.equal(_said(model), _said(plain))


def test_only_what_is_written_is_settled(tmp_path: Path) -> None:
    """After an edit of ROME one matrix more is on the device, and all others come for a pass only."""
    model = offload(tiny.model(), tmp_path)
    there = {name for name, value in model.named_parameters() if not value.is_meta}
    _editor("rome", model).apply(tiny.EDITS[0])
    settled = {name for name, value in model.named_parameters() if not value.is_meta} - there
    assert settled == {"model.layers.1.mlp.down_proj.weight"}


def test_a_change_of_an_offloaded_weight_is_seen(tmp_path: Path) -> None:
    """A fingerprint sees another value in the map, and takes a matrix that was settled meanwhile for the same."""
    model = offload(tiny.model(), tmp_path)
    before = weight_changes.fingerprint(model)
    placement.settle(model.get_submodule("model.layers.0.mlp.down_proj"))
    assert weight_changes.changed_since(before, model) == []
    model.get_submodule("model.layers.0.mlp.down_proj").weight.data[0, 0] += 1
    assert weight_changes.changed_since(before, model) == ["model.layers.0.mlp.down_proj.weight"]
