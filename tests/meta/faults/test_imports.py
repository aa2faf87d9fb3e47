"""pytest inside pytest takes out of the process what it imports: nothing that our tests need afterwards."""

from __future__ import annotations

import sys

import pytest
from transformers import AutoConfig

from editgate.miniature.recipes import WEIGHTS


@pytest.mark.parametrize("name", ["gpt2-mini", "llama-mini", "mistral-mini", "pythia-mini-s"])
@pytest.mark.usefixtures("everything_imported")
def test_classes_of_shipped_models_keep_their_modules(name: str) -> None:
    """The module of a shipped model's class is imported before the first pytest inside pytest, so it stays."""
    config = type(AutoConfig.from_pretrained(WEIGHTS / name))
    module = config.__module__.replace("configuration_", "modeling_")
    assert module in sys.modules, f"tests/meta/conftest.py does not import {module}"
