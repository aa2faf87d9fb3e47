"""The settings of a small run, as the command line would give them."""

from __future__ import annotations

from pathlib import Path

from editgate.inputs.models import ModelSource
from editgate.options.options import Options
from editgate.options.profiles import MODEL
from editgate.options.settings import Settings, read


def settings(store: Path, **changes: object) -> Settings:
    """Return the settings of `llama-mini` with every editor; `changes` go before the defaults of the command line."""
    return read(Options.of({"edit_counts": "1,5", **changes}), store)


def miniature(chosen: Settings) -> ModelSource:
    """Return the shipped model."""
    return next(model for model in chosen.models if model.name == MODEL)
