"""What depends on transformers' version works with the installed one, and with models written for older ones."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from editors.models import compat
from editors.models.architectures import ARCHITECTURES
from meta.support import tiny_models as tiny


def _renamed(forward: Callable[..., object]) -> Callable[..., object]:
    """A forward that also takes the old name, as transformers 5.24 decorates its own."""

    @functools.wraps(forward)
    def wrapper(*args: object, **kwargs: Any) -> object:  # noqa: ANN401
        if "past_key_values" in kwargs:
            kwargs["cache"] = kwargs.pop("past_key_values")
        return forward(*args, **kwargs)

    return wrapper


def _new(input_ids: object, cache: object = None, **kwargs: object) -> object:
    return input_ids, cache, kwargs


def _old(input_ids: object, past_key_values: object = None) -> object:
    return input_ids, past_key_values


@pytest.mark.parametrize(
    ("forward", "name"),
    [(_new, "cache"), (_renamed(_new), "cache"), (_old, "past_key_values")],
    ids=["new", "decorated", "old"],
)
def test_the_cache_argument_is_the_one_that_forward_names(forward: Callable[..., object], name: str) -> None:
    """A forward gets its cache under the name in its own signature, decorated or not."""
    assert compat.cache_argument(forward) == name


def test_a_forward_without_names_gets_the_installed_one() -> None:
    """A wrapper that takes only `**kwargs` gets the name that the installed transformers uses."""
    model = tiny.model("llama")
    assert compat.cache_argument(model.__call__) == compat.cache_argument(model.forward)


def test_a_cache_that_transformers_renames_again_says_where_to_add_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that knows neither name ends in a message with the names and the place of the list."""
    monkeypatch.setattr(compat, "MODEL_CACHE_ARGUMENTS", ("a_third_name",))
    with pytest.raises(RuntimeError, match=r"a_third_name.*MODEL_CACHE_ARGUMENTS in editors/models/compat.py"):
        compat.cache_argument(_new)


@pytest.mark.parametrize("name", compat.MODEL_CACHE_ARGUMENTS)
def test_the_returned_cache_is_found_under_either_name(name: str) -> None:
    """An output's cache is read as `cache` where there is one, else as `past_key_values`."""
    cache = compat.DynamicCache()
    assert compat.returned_cache(SimpleNamespace(**{name: cache})) is cache


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_two_passes_with_a_cache_equal_one_without_and_warn_of_nothing(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Continuing from the returned cache gives the logits of the whole row, and transformers deprecates nothing."""
    model, ids = tiny.model(family), torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad(), caplog.at_level(logging.WARNING, logger="transformers"):
        first = compat.forward_with_cache(model, ids[:, :3], None)
        second = compat.forward_with_cache(model, ids[:, 3:], compat.returned_cache(first))
        whole = model(input_ids=ids).logits
    assert torch.allclose(torch.cat([first.logits, second.logits], dim=1), whole, atol=1e-4)
    assert "deprecated" not in caplog.text
