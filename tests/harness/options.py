"""The options of `pytest --help`, as data, and how they become checked settings."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Protocol

from tests.harness import settings
from tests.harness.models import DTYPES
from tests.harness.settings import Settings


class Group(Protocol):
    """What pytest's option groups and argparse's parsers share."""

    def addoption(self, *names: str, **attributes: Any) -> None:  # noqa: ANN401 - as pytest declares it
        """Add one option."""


OPTIONS: dict[str, dict[str, Any]] = {
    "--model": {
        "default": settings.DEFAULT_MODEL,
        "metavar": "NAME|DIR|HUB_ID",
        "help": "model to edit. Default: %(default)s",
    },
    "--editor": {
        "action": "append",
        "default": [],
        "metavar": "NAME|module:Class",
        "help": "run this editor only; may be given again. Default: all of editors/",
    },
    "--editor-arg": {
        "action": "append",
        "default": [],
        "metavar": "KEY=VALUE",
        "help": "a hyperparameter of the one --editor; may be given again. Default: those shipped for the model",
    },
    "--thresholds": {
        "action": "append",
        "default": [],
        "type": Path,
        "metavar": "FILE",
        "help": "floors and known limits of your own, before those of thresholds/; may be given again",
    },
    "--edits": {
        "default": settings.DEFAULT_EDITS,
        "metavar": "NAME|FILE",
        "help": "counterfact, zsre or a JSON file of records. Default: %(default)s",
    },
    "--edit-counts": {
        "default": settings.DEFAULT_COUNTS,
        "metavar": "N,N,…",
        "help": "numbers of edits after which the model is judged. Default: %(default)s",
    },
    "--edit-order": {
        "type": int,
        "default": 0,
        "metavar": "SEED",
        "help": "another order of the same edits; 0 is the file's own. Default: %(default)s",
    },
    "--limit": {"type": int, "metavar": "N", "help": "at most N items a benchmark. Default: all"},
    "--device": {"default": "cpu", "help": "where models run, such as cuda. Default: %(default)s"},
    "--dtype": {
        "default": "float32",
        "choices": sorted(DTYPES),
        "help": "type of the models' weights. Default: %(default)s",
    },
    "--store": {
        "type": Path,
        "metavar": "DIR",
        "help": "checkpoints and outcomes. Default: .editgate in the root directory",
    },
    "--inconclusive": {
        "default": "fail",
        "choices": ("fail", "pass"),
        "help": "what an inconclusive verdict does to its test. Default: %(default)s",
    },
}


def add_to(group: Group) -> None:
    """Add all of them."""
    for name, attributes in OPTIONS.items():
        group.addoption(name, **attributes)


def read(given: Namespace, root: Path) -> Settings:
    """Return the settings that the command line asks for; `root` is this checkout.

    Raises:
        UsageProblem: the first thing that is wrong, with its allowed values.
    """
    return settings.read(
        model=given.model,
        editor=given.editor,
        editor_arg=given.editor_arg,
        edits=given.edits,
        edit_counts=given.edit_counts,
        edit_order=given.edit_order,
        limit=given.limit,
        device=given.device,
        dtype=given.dtype,
        store=given.store or root / ".editgate",
        inconclusive=given.inconclusive,
        thresholds=root / "thresholds",
        own_thresholds=given.thresholds,
    )
