"""Runs of the gate on a cluster, and the same without one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from editgate.measure import perplexity
from meta.faults import runs
from meta.faults.runs import Child, Gate, begin

FEW = ("--limit=5", "--edit-counts=1,2", "-k", "toxigen or accumulate or efficacy")
METHODS = ("--editor=editgate.controls:Vandal", "--editor=editgate.controls:KeepsLast")
FILES = ("safety", "edit_quality", "integrity")
GATE = Gate(FILES, (*METHODS, *FEW))
ONE_METHOD = Gate(FILES, (*METHODS[:1], *FEW))
SENTENCES = perplexity.CANDIDATES  # workers have not heard of the few that forked runs choose from
OPTION = re.compile(r" (?:'?--ray[\w=:.,-]*'?)")


def with_all_sentences() -> None:
    """Let a forked run ask what Ray's workers ask."""
    perplexity.CANDIDATES = SENTENCES


def without_a_shared_disk() -> None:
    """Let no worker find the token in the run's store, so that each has a folder of its own."""
    from editgate.ray_run.worker import Order  # noqa: PLC0415 - in the run alone

    with_all_sentences()
    Order.token_file = property(lambda order: order.store / "elsewhere.txt")  # type: ignore[assignment]


def begin_on(
    address: str,
    folder: Path,
    gate: Gate = GATE,
    *,
    prepare: Callable[[], None] = with_all_sentences,
    store: Path | None = None,
) -> Child:
    """Begin a run on a cluster."""
    return begin(folder, replace(gate, options=(*gate.options, f"--ray={address}")), prepare=prepare, store=store)


def report(folder: Path) -> dict[str, str]:
    """Return a run's report, without times and without the option that says where it was worked."""
    return {name: OPTION.sub("", text) for name, text in runs.report(folder).items()}


def until_written(child: Child, count: int) -> None:
    """Wait until so many outcomes are in the run's store, so that the run is in its middle."""
    while child.seconds() < runs.LONG:
        found = (child.folder / "store").glob("*/*.json")
        if sum(place.parent.name != "seconds" for place in found) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing was written: {child.output()}")
