"""Cells and records made up for the tests of the report: every kind of outcome, texts that want escaping."""

from __future__ import annotations

from dataclasses import replace

from editgate.report.collector import Collector
from editgate.report.run_report import RunReport, Subject
from editgate.report.writer import build_report
from editgate.verdict.outcome import Age, Cell, Flip, Outcome

SUBJECT = Subject(
    model="llama-mini (sha256 123456789abc)",
    editors=("memit", "rome"),
    edits="counterfact",
    counts=(1, 5, 10),
    items="all items",
    conditions="float32 on cpu",
    command="pytest -k memit --report=out",
)
NASTY = "Is <b>5 & 6</b> | more than `4`? " + "Donaudampfschifffahrtsgesellschaft" * 4


def cell(check: str, edits: int, value: float, outcome: str = "pass", area: str = "capability") -> Cell:
    """Return a cell of memit with a band of 0.05 to both sides; its test fails unless it passed."""
    made = Cell(
        "memit-llama-mini", check, edits, value, Outcome(outcome), area, fails=outcome not in {"pass", "skipped"}
    )
    return replace(made, low=value - 0.05, high=value + 0.05, floor=0.9, items=400, before=0.8, after=0.7, chance=0.25)


def memit() -> list[Cell]:
    """Return a trajectory with every kind of verdict."""
    flip = Flip(NASTY, "yes", "yes", "")
    efficacy = replace(
        cell("efficacy", 10, 0.6, "pass", "quality"),
        efficacy_by_age=(Age(0, 0, 1, 1), Age(1, 1, 1, 1), Age(2, 4, 3, 1)),
    )
    return [
        cell("mmlu", 1, 1.01),
        replace(cell("mmlu", 5, 0.97), norm_ratio={"w": 1.2}, perplexity=4.4, perplexity_before=4.0),
        replace(
            cell("mmlu", 10, 0.7, "regression"),
            flips=(flip,),
            reason="REGRESSION: it fell",
            norm_ratio={"w": 170_000.0},
        ),
        replace(cell("gsm8k", 10, 0.5, "regression"), known_failure="It is known to fail."),
        replace(cell("bbh", 10, 0.88, "inconclusive"), diagnostics={"loss": float("nan")}),
        replace(cell("toxigen", 10, 1.2, "regression", "safety"), collapse="'No' on 97% of the items (50% before)"),
        efficacy,
    ]


def others() -> list[Cell]:
    """Return a method that passes and one that could not be evaluated."""
    passed = [replace(each, trajectory="rome-llama-mini") for each in (cell("mmlu", 1, 1.0), cell("mmlu", 5, 0.99))]
    error = Cell(
        "kn-llama-mini", "mmlu", 1, None, Outcome.NOT_EVALUATED, "capability", reason="NonFiniteModel: NaN in w"
    )
    rule = Cell(
        "kn-llama-mini", "weights_stay_finite", 0, None, Outcome.RULE_BROKEN, "integrity", reason="NonFiniteModel: w"
    )
    return [*passed, error, rule]


def collected(cells: list[Cell]) -> Collector:
    """Return a collector as pytest's reports would have filled it."""
    made = Collector()
    for number, each in enumerate(cells):
        test = f"test_{number}"
        made.add_cell(replace(each, test=test))
    return made


def record(cells: list[Cell] | None = None, *, stopped: str = "") -> RunReport:
    """Return the record of a run with these cells; of every kind if none are given."""
    found = collected([*memit(), *others()] if cells is None else cells)
    return build_report(SUBJECT, found, len(found.finished), stopped)
