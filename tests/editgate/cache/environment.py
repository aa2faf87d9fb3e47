"""What every number of an unedited model depends on: the store's keys begin with it."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from typing import Any

from editgate.inputs.unedited_model import UneditedModel

LIBRARIES = ("torch", "transformers", "lm_eval", "tokenizers", "datasets")


def conditions(base: UneditedModel) -> dict[str, Any]:
    """Return weights, architecture, tokenizer, precision, kind of machine and versions of libraries, fit for a key."""
    return {**base.identity, "machine": platform.machine(), "versions": versions()}


@cache
def versions() -> dict[str, str]:
    """Return the versions of the libraries that have a part in the numbers."""
    return {name: version(name) for name in LIBRARIES}
