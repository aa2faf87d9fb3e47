"""A copy that shares its memory can be edited by every method, and the original keeps its bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from editgate.cache.digest import digest_tensors
from editors import create
from editors.core.model_copies import sharing
from editors.core.weights import same_bits
from meta.support import tiny_models as tiny

GIVEN = {"contexts": [["{}"]], "training": tiny.EDITS[2:], "corpus": tiny.CORPUS}


def places(model: torch.nn.Module) -> dict[str, int]:
    """Where each parameter's numbers are."""
    return {name: parameter.data_ptr() for name, parameter in model.named_parameters(remove_duplicate=False)}


@pytest.mark.parametrize("method", ["rome", "memit", "ftl", "kn", "mend", "ultraedit"])
def test_methods_leave_the_original_alone(method: str) -> None:
    """After edits, a restore and an undo the original has its bits, and only what was edited ever had other memory."""
    original = tiny.model()
    before = digest_tensors(dict(original.named_parameters()))
    copied = sharing(original)
    given: dict[str, Any] = {**GIVEN, "covariances": tiny.moments(original), **tiny.settings(method)}
    editor = create(method, copied, tiny.tokenizer(), **given)
    editor.apply(tiny.EDITS[0])
    editor.apply(tiny.EDITS[1])
    state = editor.state()
    own = {name for name, place in places(copied).items() if place != places(original)[name]}
    assert own == {name.removeprefix("weight:") for name in state if name.startswith("weight:")} != set()
    assert digest_tensors(dict(original.named_parameters())) == before
    editor.restore(state)
    assert digest_tensors(dict(original.named_parameters())) == before
    editor.undo()
    assert places(copied) == places(original)
    assert digest_tensors(dict(copied.named_parameters())) == before


def test_it_gives_the_bits_that_a_whole_copy_gives() -> None:
    """Edits of a sharing copy and of a whole one are the same to the bit."""
    states = []
    for copied in (sharing(tiny.model()), tiny.model()):
        editor = create(
            "rome",
            copied,
            tiny.tokenizer(),
            covariances=tiny.moments(copied),
            contexts=[["{}"]],
            **tiny.settings("rome"),
        )
        editor.apply(tiny.EDITS[0])
        editor.apply(tiny.EDITS[1])
        states.append(digest_tensors(editor.state()))
    assert states[0] == states[1]


def test_tied_parameters_stay_tied() -> None:
    """An embedding that is the head too is one parameter in the copy."""
    copied = sharing(tiny.model(tied=True))
    assert copied.get_input_embeddings().weight is copied.get_output_embeddings().weight


def test_one_place_read_in_another_order_is_another_tensor() -> None:
    """What shares memory is the same without a look at it only where it is read the same way."""
    square = torch.arange(9.0).reshape(3, 3)
    square[1, 1] = float("nan")
    assert same_bits(square, square.detach())
    assert not same_bits(square, square.T)
    assert not same_bits(square[0], square[1])
