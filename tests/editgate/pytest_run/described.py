"""What a run is about and how a verdict is had again, in words and commands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from editgate import inert
from editgate.inputs import models, probes
from editgate.inputs.benchmarks import Benchmark
from editgate.inputs.harness import judging
from editgate.inputs.models import ModelSource
from editgate.measure.external_checkpoint import ExternalCheckpointSpec
from editgate.options.options import Options
from editgate.options.settings import Settings
from editgate.report.run_report import Subject

SKIPPED_SHOWN = 5  # records of --edits in the header


def subject(chosen: Settings, arguments: Sequence[object]) -> Subject:
    """Return what the report says the run is about; it reads the weights' files for their digest."""
    named = [model for model in chosen.models if model.name in chosen.chosen_models]
    command = " ".join(["pytest", *(inert.shell(str(argument)) for argument in arguments)])
    return Subject(
        model=", ".join(f"{model.name} ({models.digest_of(model)})" for model in named),
        editors=tuple(sorted(chosen.chosen_editors or _suited(chosen, named))),
        edits=_edits(chosen),
        skipped_edits=chosen.skipped_edits,
        counts=chosen.counts,
        batch_size=chosen.batch_size,
        items=_items(chosen),
        conditions=f"{chosen.dtype} on {chosen.device}",
        command=command.encode(errors="backslashreplace").decode(),
    )


def _suited(chosen: Settings, models: Sequence[ModelSource]) -> set[str]:
    """Return the names of the editors that take the edits of some of these models."""
    return {editor.name for editor in chosen.editors if any(chosen.suits(editor, model) for model in models)}


def _items(chosen: Settings) -> str:
    every = "all items and the reserve" if chosen.stops_early else "all items"
    most = every if chosen.limit is None else f"at most {chosen.limit} items a benchmark"
    return f"{most}, in blocks until a verdict is decided" if chosen.stops_early else most


def _edits(chosen: Settings) -> str:
    """Name the edits, and how they are applied where that is not one by one in the file's order."""
    order = f" in order {chosen.order}" if chosen.order else ""
    return chosen.edits_name + order + (f" in batches of {chosen.batch_size}" if chosen.batch_size > 1 else "")


def header(given: Options, chosen: Settings, about: Subject) -> list[str]:
    """Return the lines that a run begins with."""
    conditions = f"{about.items}; {about.conditions}"
    lines = [
        str(chosen.profile),
        f"editgate: model {about.model}, editors {', '.join(about.editors)}",
        f"edits: {about.edits} at N = {', '.join(map(str, about.counts))}; {conditions}",
        f"store: {chosen.store.root}",
    ]
    if given.edited:
        changed = f"editgate: changed checkpoint {', '.join(about.editors)}, made from model {about.model}"
        lines = [changed, conditions, *lines[3:]]
        lines += [
            note for editor in chosen.editors if isinstance(editor, ExternalCheckpointSpec) for note in editor.notes
        ]
    lines += [f"skipped {note}" for note in chosen.skipped_edits[:SKIPPED_SHOWN]]
    if len(chosen.skipped_edits) > SKIPPED_SHOWN:
        lines.append(f"skipped {len(chosen.skipped_edits) - SKIPPED_SHOWN} more; --report lists them in report.json")
    lines += [note for model in chosen.models if model.name in chosen.chosen_models for note in models.notes(model)]
    lines += [_told(chosen.benchmarks[name]) for name in chosen.added_benchmarks]
    lines += [f"edit budget: {chosen.budget.describe(chosen.counts[-1])}"] if chosen.budget else []
    return [inert.terminal(line) for line in lines]


def _told(row: Benchmark) -> str:
    return probes.told(row) if row.probe else judging.told(row)


def command_again(item: pytest.Item, given: Options) -> str:
    """Return the command that gives this verdict again, from a checkout or, of an installed gate, from anywhere."""
    if item.path.is_relative_to(item.config.rootpath):
        return " ".join(["pytest", inert.shell(item.nodeid), *given.repeated()])
    test = f"editgate.gate.{item.path.stem}::{item.name}"
    return " ".join(["python -m editgate", inert.shell(test), *given.repeated()])
