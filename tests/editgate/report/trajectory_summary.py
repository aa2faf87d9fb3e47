"""Where a trajectory stands: its edit budget, what ends it, and what the budget does not rest on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from editgate.inputs.benchmarks import ALL, BENCHMARKS
from editgate.measure.edit_quality import KINDS
from editgate.verdict.bisection import budget, describe
from editgate.verdict.outcome import Cell, OrderBudget, Outcome

HELD = frozenset({Outcome.PASS, Outcome.SKIPPED})  # skipped: the edits have no prompt to ask
WORDS = {
    Outcome.REGRESSION: "",
    Outcome.INCONCLUSIVE: " inconclusive",
    Outcome.NOT_EVALUATED: " could not be evaluated",
}
ORDER = (" collapsed", *WORDS.values(), " not run")


@dataclass(frozen=True)
class TrajectorySummary:
    """One trajectory's headline.

    Attributes:
        trajectory: such as `memit-llama-mini`.
        counts: the Ns that were judged, ascending.
        budget: the largest N up to which every verdict passes.
        failed_at: the next N; None if nothing failed.
        ended_by: what failed there, in words.
        unasked: benchmarks and qualities that no verdict of this run is about.
        broken: rules of integrity that the editor breaks.
        orders: the budget in each order of the edits, if the run looked for that.
    """

    trajectory: str
    counts: tuple[int, ...]
    budget: int
    failed_at: int | None
    ended_by: str
    unasked: tuple[str, ...]
    broken: tuple[str, ...]
    orders: tuple[OrderBudget, ...] = ()

    @property
    def headline(self) -> str:
        """The budget in one line, such as `1 (at 5: commonsenseqa)`."""
        if self.orders:
            return describe(self.orders)
        if not self.counts:
            return "none (nothing was judged)"
        if self.failed_at is None:
            return f"at least {self.budget} (everything judged at N = {', '.join(map(str, self.counts))} passes)"
        return f"{self.budget} (at {self.failed_at}: {self.ended_by})"


def rows_of(cells: Iterable[Cell]) -> list[str]:
    """Return the rows in the order of the table of benchmarks, whatever order the tests ran in."""
    known = [*ALL, *KINDS]
    return sorted(
        {cell.check for cell in cells}, key=lambda row: (known.index(row) if row in known else len(known), row)
    )


def judged(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that are about a benchmark or a quality, not about a rule or a budget over orders."""
    return [cell for cell in cells if cell.area not in {"integrity", "budget"}]


def budget_of(cells: Iterable[Cell]) -> int:
    """Return the largest N up to which every verdict passes; 0 if the smallest N fails.

    What is missing at an N (never run, not evaluated) does not pass there.
    """
    found = judged(cells)
    return budget({count: not _short(found, count) for count in {cell.edits for cell in found}})


def trajectory_summaries(cells: Iterable[Cell]) -> list[TrajectorySummary]:
    """Return one standing a trajectory, by name."""
    by_run: dict[str, list[Cell]] = {}
    for cell in cells:
        by_run.setdefault(cell.trajectory, []).append(cell)
    return [_standing(name, found) for name, found in sorted(by_run.items())]


def _standing(name: str, cells: Sequence[Cell]) -> TrajectorySummary:
    orders = next((cell.orders for cell in cells if cell.orders), ())
    return _over_orders(name, cells, orders) if orders else _at_counts(name, cells)


def _over_orders(name: str, cells: Sequence[Cell], orders: tuple[OrderBudget, ...]) -> TrajectorySummary:
    """The standing of the worst order; in finding it everything was asked."""
    worst = min(orders, key=lambda each: each.budget)
    counts = tuple(sorted({count for each in orders for count in each.judged}))
    return TrajectorySummary(name, counts, worst.budget, worst.failed_at, worst.end, (), _broken(cells), orders)


def _at_counts(name: str, cells: Sequence[Cell]) -> TrajectorySummary:
    found = judged(cells)
    counts = tuple(sorted({cell.edits for cell in found}))
    largest = budget_of(found)
    failed = next((count for count in counts if count > largest), None)
    asked = {cell.check for cell in found if cell.outcome != Outcome.NOT_EVALUATED}
    return TrajectorySummary(
        trajectory=name,
        counts=counts,
        budget=largest,
        failed_at=failed,
        ended_by="" if failed is None else "; ".join(_short(found, failed)),
        unasked=tuple(row for row in (*BENCHMARKS, *KINDS) if row not in asked),
        broken=_broken(cells),
    )


def _broken(cells: Iterable[Cell]) -> tuple[str, ...]:
    return tuple(cell.check for cell in cells if cell.area == "integrity" and cell.outcome is not Outcome.PASS)


def _short(cells: Sequence[Cell], count: int) -> list[str]:
    """What does not pass at N, in phrases: benchmarks that share their trouble stand together."""
    here = {cell.check: cell for cell in cells if cell.edits == count}
    troubles: dict[str, list[str]] = {}
    for row in rows_of(cells):
        if row not in here or here[row].outcome not in HELD:
            troubles.setdefault(_why(here.get(row)), []).append(row)
    return [", ".join(rows) + why for why, rows in sorted(troubles.items(), key=lambda each: ORDER.index(each[0]))]


def _why(cell: Cell | None) -> str:
    if cell is None:
        return " not run"
    return " collapsed" if cell.collapse else WORDS[cell.outcome]
