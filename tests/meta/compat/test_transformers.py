"""Each part of transformers that its releases change does what `compat.transformers` says, and so does its absence."""

from __future__ import annotations

import pytest
import transformers
from torch import nn

from editgate.compat import transformers as compat
from editgate.inference.backend import Completion
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.select_backend import backend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from meta.support import toy

RENAMED = 5, 24  # the release that renamed past_key_values


def _generate() -> str:
    """A short text by a toy on the engine."""
    (generation,) = backend(toy.model(), toy.tokenizer(bos=True), "toy").generate(
        [Completion("red blue", (0, 5, 9), ("never",), 6)]
    )
    return generation.text


def test_the_cache_argument_is_the_installed_releases() -> None:
    """`cache` since 5.24, `past_key_values` before; the engine's own calls raise no warning about it."""
    release = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    body = toy.model().base_model
    assert compat.cache_argument(body.forward) == ("cache" if release >= RENAMED else "past_key_values")
    assert compat.takes_a_cache(body.forward)


@pytest.mark.filterwarnings("error")
def test_generating_warns_of_nothing() -> None:
    """The engine runs with warnings as errors."""
    assert _generate()


def test_a_body_that_names_no_cache_is_run_by_hflm(monkeypatch: pytest.MonkeyPatch) -> None:
    """After another renaming HFLM runs the model: slower, same numbers."""
    monkeypatch.setattr(compat, "MODEL_CACHE_ARGUMENTS", ("another_name",))
    assert isinstance(backend(toy.model(), toy.tokenizer(bos=True), "toy"), HflmBackend)


def test_a_model_that_does_not_name_its_attention_is_run_by_hflm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `_attn_implementation` nothing says whether the engine's mask is respected."""
    model = toy.model()
    assert isinstance(backend(model, toy.tokenizer(bos=True), "toy"), SharedPrefixBackend)
    monkeypatch.delattr(transformers.PretrainedConfig, "_attn_implementation")
    assert isinstance(backend(model, toy.tokenizer(bos=True), "toy"), HflmBackend)


def test_loading_needs_no_way_to_hide_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release without `disable_progress_bar` shows its bars."""
    compat.hide_progress_bars()
    monkeypatch.delattr(transformers.utils.logging, "disable_progress_bar")
    compat.hide_progress_bars()


@pytest.mark.parametrize("before", [True, False])
def test_hooks_are_seen(before: bool) -> None:  # noqa: FBT001 - a parameter
    """A hook before or after `forward` counts; a torch that keeps them elsewhere is an error, not a "no"."""
    module = nn.Linear(1, 1)
    assert not compat.has_forward_hooks(module)
    register = module.register_forward_pre_hook if before else module.register_forward_hook
    register(lambda *_: None)
    assert compat.has_forward_hooks(module)
    del vars(module)["_forward_pre_hooks" if before else "_forward_hooks"]
    if before:
        vars(module)["_forward_hooks"].clear()
    with pytest.raises(AttributeError):
        compat.has_forward_hooks(module)
