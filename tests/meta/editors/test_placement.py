"""A model on several devices, or with weights in main memory and on disk, is edited as the plain one is, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from editgate.cache.digest import digest_tensors
from editgate.measure import weight_changes
from editors import Editor, UnsupportedModel, create, names
from editors.core import model_copies, placement
from editors.core.typing import PreTrainedModel
from editors.models import cached_window
from meta.support import tiny_models as tiny
from meta.support.devices import DEVICES, WrongDeviceError, several_devices, spread
from meta.support.placed import offload

IDS = torch.tensor([[5, 9, 2, 7, 30, 11]])
FAMILIES = ("llama", "gpt2", "gpt_neox")  # nn.Linear, Conv1D, attention and MLP side by side
NEED_ONE_DEVICE = {"kn", "lora", "mend"}


def _editor(method: str, model: PreTrainedModel, **changes: Any) -> Editor:  # noqa: ANN401
    given: dict[str, Any] = {"contexts": tiny.CONTEXTS, "training": tiny.EDITS[2:], "corpus": tiny.CORPUS * 3}
    return create(method, model, tiny.tokenizer(), **given, **tiny.settings(method, **changes))


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
    model.get_parameter("model.layers.0.mlp.down_proj.weight").data[0, 0] += 1
    assert weight_changes.changed_since(before, model) == ["model.layers.0.mlp.down_proj.weight"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", sorted(set(names()) - NEED_ONE_DEVICE))
def test_a_model_on_several_devices_is_edited_bit_by_bit(method: str, family: str) -> None:
    """Tensors meet on one device only; state and answers are the plain model's, also after a restore and one more."""
    plain = _editor(method, tiny.model(family, attention="eager"))  # the same kernels on every device
    with several_devices():
        model = spread(tiny.model(family, attention="eager"))
        assert placement.devices(model) == set(DEVICES)
        editor = _editor(method, model)
        for edit in tiny.EDITS[:2]:
            editor.apply(edit)
        state = _here(editor.state())
        said = editor.model(IDS.to(model.device)).logits.cpu()
        editor.undo()
        assert editor.state() == {}
        editor.restore(state)
        editor.apply(tiny.EDITS[2])
        more = _here(editor.state())
    for edit in tiny.EDITS[:2]:
        plain.apply(edit)
    assert digest_tensors(state) == digest_tensors(plain.state())
    assert torch.equal(said, _said(plain.model))
    plain.undo()
    plain.restore(state)
    plain.apply(tiny.EDITS[2])
    assert digest_tensors(more) == digest_tensors(plain.state())


@pytest.mark.parametrize("family", ["gemma2", "opt"])
def test_other_blocks_on_several_devices(family: str) -> None:
    """ROME on blocks that normalize what their MLP writes, and on MLPs without a batch dimension."""
    plain = _editor("rome", tiny.model(family, attention="eager"))
    plain.apply(tiny.EDITS[0])
    with several_devices():
        editor = _editor("rome", spread(tiny.model(family, attention="eager")))
        editor.apply(tiny.EDITS[0])
        state = _here(editor.state())
    assert digest_tensors(state) == digest_tensors(plain.state())


def test_whole_passes_on_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cached window does not support a model, whole passes read the early and the last block together."""
    monkeypatch.setattr(cached_window, "takes_any_mask", lambda _: False)
    plain = _editor("memit", tiny.model(attention="eager"), v_loss_layer=1)
    plain.apply(tiny.EDITS[0])
    with several_devices():
        editor = _editor("memit", spread(tiny.model(attention="eager")), v_loss_layer=1)
        editor.apply(tiny.EDITS[0])
        state = _here(editor.state())
    assert digest_tensors(state) == digest_tensors(plain.state())


@pytest.mark.parametrize("method", sorted(NEED_ONE_DEVICE & set(names())))
def test_a_method_that_needs_one_device_says_so(method: str) -> None:
    """It is refused by its name, with the devices."""
    with several_devices():
        model = spread(tiny.model())
        with pytest.raises(UnsupportedModel, match=rf"^{method} needs the model on one device, and it is on meta:1, "):
            _editor(method, model)


def test_the_devices_of_these_tests_refuse_each_other() -> None:
    """Numbers on one of them meet neither another one's nor the CPU's, not even as an index."""
    with several_devices():
        one, two, here = torch.ones(3).to(DEVICES[0]), torch.ones(3).to(DEVICES[1]), torch.ones(3)
        assert (one + 1).sum().item() == 6.0
        for other in (two, here):
            with pytest.raises(WrongDeviceError):
                _ = one + other
        with pytest.raises(WrongDeviceError):
            _ = one[torch.tensor([0], device=DEVICES[1])]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two CUDA devices here")
@pytest.mark.parametrize("method", sorted(set(names()) - NEED_ONE_DEVICE))
def test_a_model_on_two_gpus_is_edited(method: str) -> None:
    """On two GPUs, blocks in turn, the answers after an edit are those of the model on one of them, up to rounding."""
    dispatch = pytest.importorskip("accelerate", reason="accelerate places models").dispatch_model
    model = tiny.model()
    blocks = {f"model.layers.{layer}": layer % 2 for layer in range(len(model.model.layers))}
    rest = {"model.embed_tokens": 0, "model.rotary_emb": 0, "model.norm": 1, "lm_head": 1}
    two, one = _editor(method, dispatch(model, rest | blocks)), _editor(method, nn.Module.to(tiny.model(), "cuda:0"))
    for editor in (one, two):
        editor.apply(tiny.EDITS[0])
    said = [editor.model(IDS.to("cuda:0")).logits.cpu() for editor in (one, two)]
    torch.testing.assert_close(*said, rtol=1e-3, atol=1e-3)


def _here(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in state.items()}
