"""One trajectory's summary: its edit budget, what ends it, and what the budget does not cover."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from editgate.inputs.benchmarks import ALL, BENCHMARKS
from editgate.measure.edit_quality import KINDS
from editgate.report.conclusion import Standing, standing
from editgate.verdict.bisection import budget, describe
from editgate.verdict.outcome import Cell, OrderBudget, Outcome

PASSING = frozenset({Outcome.PASS, Outcome.SKIPPED})  # skipped: the edits have no such prompt
COLLAPSED, NOT_RUN = " collapsed", " not run"
SUFFIXES = {
    Outcome.REGRESSION: "",
    Outcome.INCONCLUSIVE: " inconclusive",
    Outcome.NOT_EVALUATED: " could not be evaluated",
}
WORST_FIRST = (COLLAPSED, *SUFFIXES.values(), NOT_RUN)


class TrajectorySummary(BaseModel):
    """The edit budget of one trajectory, as `report.json` has it and every output shows it.

    Attributes:
        trajectory: such as `memit-llama-mini`.
        counts: the Ns that were judged, ascending.
        budget: the largest N up to which every verdict passes.
        failed_at: the next N; None if nothing failed.
        ended_by: what failed there, in words.
        headline: the budget in one line, such as `1 (at 5: commonsenseqa)`.
        not_measured: benchmarks and qualities that no verdict of this run is about.
        rules_broken: rules of integrity that the editor breaks.
        undecided: nothing failed; too few items to decide is all that ends the budget, and the run lets that pass.
        orders: the budget in each order of the edits, if the run searched for that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    trajectory: str
    counts: tuple[int, ...]
    budget: int
    failed_at: int | None
    ended_by: str
    headline: str
    not_measured: tuple[str, ...]
    rules_broken: tuple[str, ...]
    undecided: bool = False
    orders: tuple[OrderBudget, ...] = ()


def trajectory_summaries(cells: Iterable[Cell]) -> list[TrajectorySummary]:
    """Return one summary per trajectory, by name."""
    return [_summarize(trajectory, found) for trajectory, found in by_trajectory(cells).items()]


def by_trajectory(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Return the cells of each trajectory, by name."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.trajectory, []).append(cell)
    return dict(sorted(groups.items()))


def short_names(trajectories: Collection[str]) -> dict[str, str]:
    """Return each trajectory's name, without the model where all have the same: `memit` for `memit-llama-mini`."""
    models = {name.partition("-")[2] for name in trajectories}
    return {
        name: name.partition("-")[0] if len(models) == 1 and len(trajectories) > 1 else name for name in trajectories
    }


def judged_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells of benchmarks and qualities, without rules of integrity and budgets over several orders."""
    return [cell for cell in cells if cell.area not in {"integrity", "budget"}]


def checks_in_order(cells: Iterable[Cell]) -> list[str]:
    """Return the names of the checks in the order of the table of benchmarks, others behind it, qualities last."""
    position: dict[str, float] = {name: index for index, name in enumerate((*ALL, *KINDS))}
    return sorted({cell.check for cell in cells}, key=lambda check: (position.get(check, len(ALL) - 0.5), check))


def budget_of(cells: Iterable[Cell]) -> int:
    """Return the largest N up to which every verdict passes; 0 if the smallest N fails.

    A check that is missing at an N (not run, not evaluated) does not pass there.
    """
    judged = judged_cells(cells)
    return budget({count: not _failures(judged, count) for count in {cell.edits for cell in judged}})


def _summarize(trajectory: str, cells: Sequence[Cell]) -> TrajectorySummary:
    orders = next((cell.orders for cell in cells if cell.orders), ())
    if orders:
        worst = min(orders, key=lambda order: order.budget)
        counts = tuple(sorted({count for order in orders for count in order.judged}))
        largest, failed_at, ended_by = worst.budget, worst.failed_at, worst.end
        headline = describe(orders)
        undecided = False
        not_measured: tuple[str, ...] = ()  # the search asks for every check
    else:
        judged = judged_cells(cells)
        counts = tuple(sorted({cell.edits for cell in judged}))
        largest = budget_of(judged)
        failed_at = next((count for count in counts if count > largest), None)
        ended_by = "" if failed_at is None else "; ".join(_failures(judged, failed_at))
        decided = any(cell.outcome not in PASSING and standing(cell) is not Standing.ALLOWED for cell in judged)
        undecided = failed_at is not None and not decided and NOT_RUN not in ended_by
        if not counts:
            headline = "none (nothing was judged)"
        elif any(cell.external for cell in judged):
            headline = f"does not hold: {ended_by}" if ended_by else "holds"
        elif undecided:
            headline = f"not decided, nothing failed up to {counts[-1]} (at {failed_at}: {ended_by})"
        elif failed_at is None:
            headline = f"at least {largest} (everything judged at N = {', '.join(map(str, counts))} passes)"
        else:
            headline = f"{largest} (at {failed_at}: {ended_by})"
        measured = {cell.check for cell in judged if cell.outcome is not Outcome.NOT_EVALUATED}
        not_measured = tuple(check for check in (*BENCHMARKS, *KINDS) if check not in measured)
    return TrajectorySummary(
        trajectory=trajectory,
        counts=counts,
        budget=largest,
        failed_at=failed_at,
        ended_by=ended_by,
        headline=headline,
        not_measured=not_measured,
        undecided=undecided,
        rules_broken=tuple(c.check for c in cells if c.area == "integrity" and c.outcome is not Outcome.PASS),
        orders=orders,
    )


def _failures(cells: Sequence[Cell], count: int) -> list[str]:
    """Return what does not pass at N in phrases, the worst first; checks that fail alike share a phrase."""
    at_count = {cell.check: cell for cell in cells if cell.edits == count}
    checks: dict[str, list[str]] = {}
    for check in checks_in_order(cells):
        cell = at_count.get(check)
        if cell is None:
            checks.setdefault(NOT_RUN, []).append(check)
        elif cell.outcome not in PASSING:
            checks.setdefault(COLLAPSED if cell.collapse else SUFFIXES[cell.outcome], []).append(check)
    return [", ".join(checks[suffix]) + suffix for suffix in WORST_FIRST if suffix in checks]
