"""The settings of a small run, as the command line would give them."""

from __future__ import annotations

from pathlib import Path

from editgate.inputs.models import ModelSource
from editgate.options.profiles import MODEL
from editgate.options.settings import Settings, read
from editgate.verdict.known_failures import ROOT


def settings(store: Path, **changes: object) -> Settings:
    """Return the settings of `llama-mini` with every editor; `changes` go before the defaults of the command line."""
    given: dict[str, object] = {
        "model": [MODEL], "editor": [], "edits": "counterfact", "edit_counts": "1,5", "edit_order": 0,
        "limit": None, "device": "cpu", "dtype": "float32", "store": store, "inconclusive": "fail",
        "thresholds": ROOT / "thresholds",
    }  # fmt: skip
    return read(**(given | changes))  # type: ignore[arg-type]


def miniature(chosen: Settings) -> ModelSource:
    """Return the shipped model."""
    return next(model for model in chosen.models if model.name == MODEL)
