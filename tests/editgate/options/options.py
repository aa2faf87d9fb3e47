"""The options of `pytest --help`, as data, and how they become checked settings."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Protocol

from editgate.inputs.models import DTYPES
from editgate.options import profiles, settings
from editgate.options.settings import Settings
from editgate.verdict.bisection import ORDERS
from editgate.verdict.thresholds import SHIPPED


class Group(Protocol):
    """What pytest's option groups and argparse's parsers share."""

    def addoption(self, *names: str, **attributes: Any) -> None:  # noqa: ANN401 - as pytest declares it
        """Add one option."""


OPTIONS: dict[str, dict[str, Any]] = {
    "--profile": {
        "default": "default",
        "metavar": "|".join(profiles.PROFILES),
        "help": "defaults for --model, --edits, --edit-counts, --limit and --inconclusive. Default: %(default)s",
    },
    "--model": {"metavar": "NAME|DIR|HUB_ID", "help": f"model to edit. Default: {profiles.MODEL}"},
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
        "metavar": "NAME|FILE",
        "help": "counterfact, zsre, a JSON or JSONL file, or answers:FILE (ZsRE towards its true answers). "
        "Default: counterfact",
    },
    "--edited": {
        "type": Path,
        "metavar": "DIR",
        "help": "judge this changed model against --model instead of an editor; with --edits also whether edits took",
    },
    "--edit-counts": {
        "metavar": "N,N,…",
        "help": f"numbers of edits after which the model is judged. Default: {profiles.COUNTS}",
    },
    "--edit-order": {
        "type": int,
        "default": 0,
        "metavar": "SEED",
        "help": "another order of the same edits; 0 is the file's own. Default: %(default)s",
    },
    "--budget": {
        "nargs": "?",
        "const": str(ORDERS),
        "metavar": "ORDERS",
        "help": "find the largest N up to which everything passes, by bisection, over so many orders of the edits; "
        f"nothing else runs. Write --budget=5, or --budget alone for {ORDERS}",
    },
    "--min-budget": {
        "type": int,
        "metavar": "N",
        "help": "fail if the edit budget is below N in some order; implies --budget",
    },
    "--limit": {"type": int, "metavar": "N", "help": "at most N items a benchmark. Default: all"},
    "--documents": {
        "type": Path,
        "metavar": "DIR",
        "help": "benchmark documents for a --model that was not trained here, instead of the data sets on the hub",
    },
    "--covariance-text": {
        "type": Path,
        "metavar": "FILE",
        "help": "text to compute covariances from for such a --model. Default: wikitext from the hub",
    },
    "--device": {
        "default": "cpu",
        "help": "where models run: cpu, cuda, or auto for wherever there is room. Default: %(default)s",
    },
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
    "--report": {
        "type": Path,
        "metavar": "DIR",
        "help": "write report.html, report.md and report.json there, also when the run fails or is interrupted",
    },
    "--compare": {
        "type": Path,
        "metavar": "OLD.json",
        "help": "an earlier run's report.json: say what changed since then",
    },
    "--inconclusive": {
        "choices": ("fail", "pass"),
        "help": "what an inconclusive verdict does to its test. Default: fail",
    },
}


def add_to(group: Group) -> None:
    """Add all of them."""
    for name, attributes in OPTIONS.items():
        group.addoption(name, **attributes)


def read(given: Namespace, root: Path) -> Settings:
    """Return the settings that the command line asks for; `root` is where the store lies by default.

    Raises:
        ConfigError: the first thing that is wrong, with its allowed values.
    """
    profile = profiles.find(given.profile)
    return settings.read(
        profile=profile,
        model=(given.model,) if given.model else profile.models(),
        documents=given.documents,
        covariance_text=given.covariance_text,
        editor=given.editor,
        editor_arg=given.editor_arg,
        edited=given.edited,
        edits=given.edits,
        edit_counts=given.edit_counts or profile.edit_counts,
        edit_order=given.edit_order,
        limit=profile.limit if given.limit is None else given.limit,
        device=given.device,
        dtype=given.dtype,
        store=given.store or root / ".editgate",
        inconclusive=given.inconclusive or profile.inconclusive,
        thresholds=SHIPPED,
        own_thresholds=given.thresholds,
        budget=given.budget,
        min_budget=given.min_budget,
    )
