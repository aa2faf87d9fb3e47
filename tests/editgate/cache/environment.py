"""What every number of an unedited model depends on: the store's keys begin with it."""

from __future__ import annotations

import json
import platform
from functools import cache
from importlib.metadata import version
from typing import Any

from editgate.cache.digest import digest_text
from editgate.inputs.models import LoadedModel
from editors.core.typing import PreTrainedModel

LIBRARIES = ("torch", "transformers", "lm_eval", "tokenizers", "datasets")
INCIDENTAL = ("_name_or_path", "transformers_version", "_from_model_config")  # no part in what a model answers


def conditions(base: LoadedModel) -> dict[str, Any]:
    """Return weights, architecture, tokenizer, precision, kind of machine and versions of libraries, fit for a key."""
    parameter = next(base.model.parameters())
    return {
        "model": base.digest,
        "config": digest_text(_settings(base.model)),
        "tokenizer": base.tokenizer_digest,
        "dtype": str(parameter.dtype),
        "device": str(parameter.device.type),
        "machine": platform.machine(),
        "versions": versions(),
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions of the libraries that have a part in the numbers."""
    return {name: version(name) for name in LIBRARIES}


def _settings(model: PreTrainedModel) -> str:
    """The same weights under another rotary base, or with another end of text, are another model."""
    tables = [each.to_dict() for each in (model.config, model.generation_config) if each is not None]
    kept = [{name: value for name, value in table.items() if name not in INCIDENTAL} for table in tables]
    return json.dumps(kept, sort_keys=True, default=str)
