"""How a run ended, in one vocabulary: the first line of every output, and `report.json`'s `result` and `exit`.

A run passes if and only if its exit code is 0 and something was judged. What is on record, and what is undecided where
that is allowed, is not news and not a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from editgate.verdict.outcome import Cell, Outcome

COMPLETE = "complete"  # what `ended` says of a run that did not end early


class Result(StrEnum):
    """How a run ended; its capitals are the first word of every output."""

    COLLAPSE = "collapse"
    REGRESSION = "regression"
    NOT_EVALUATED = "could not evaluate"
    INCONCLUSIVE = "inconclusive"
    UNEXPECTED_PASS = "unexpected pass"  # noqa: S105 - no password
    INCOMPLETE = "incomplete"
    OTHER_FAILURES = "other failures"
    NOTHING_JUDGED = "nothing judged"
    PASS = "pass"  # noqa: S105


class Standing(StrEnum):
    """What one cell is to the gate, the worst first. The first six are new: each makes the run red."""

    COLLAPSE = "collapse"
    REGRESSION = "regression"
    RULE_BROKEN = "rule broken"
    NOT_EVALUATED = "could not be evaluated"
    UNDECIDED = "undecided"
    UNEXPECTED_PASS = "unexpected pass"  # noqa: S105 - on record as failing always, and it passed
    KNOWN = "known"  # it fails, and that is on record
    ALLOWED = "undecided, allowed"  # too few items to decide, and the run lets that pass
    HELD = "held"  # on record as failing sometimes, and this time it did not
    SKIPPED = "skipped"
    PASSED = "passed"


NEW = tuple(Standing)[:6]
_OUTCOMES = {
    Outcome.PASS: Standing.PASSED,
    Outcome.REGRESSION: Standing.REGRESSION,
    Outcome.SKIPPED: Standing.SKIPPED,
    Outcome.RULE_BROKEN: Standing.RULE_BROKEN,
    Outcome.NOT_EVALUATED: Standing.NOT_EVALUATED,
    Outcome.KNOWN_FAILURE: Standing.KNOWN,
    Outcome.UNEXPECTED_PASS: Standing.UNEXPECTED_PASS,
}


def standing(cell: Cell) -> Standing:
    """Return what a cell is to the gate."""
    if cell.unexpected_pass:
        return Standing.UNEXPECTED_PASS
    if cell.outcome is Outcome.INCONCLUSIVE and not cell.fails and not (cell.known_failure and cell.reason):
        return Standing.ALLOWED  # its test passed; one that failed as expected has a reason
    if cell.known_failure and cell.outcome in {Outcome.PASS, Outcome.REGRESSION, Outcome.INCONCLUSIVE}:
        return Standing.HELD if cell.outcome is Outcome.PASS else Standing.KNOWN
    if cell.outcome is Outcome.INCONCLUSIVE:
        return Standing.UNDECIDED
    return Standing.COLLAPSE if cell.collapse and cell.outcome is Outcome.REGRESSION else _OUTCOMES[cell.outcome]


class Conclusion(BaseModel):
    """How a run ended, and why its exit code is what it is.

    Attributes:
        result: in one word or two.
        exit: pytest's exit code.
        subject: what was judged, such as `11 methods`.
        counts: how many cells have each standing; those without a cell are left out.
        other_failures: tests that failed and are not about a method: recorded baselines, a suite's own tests.
        allowed_by: what lets undecided verdicts pass, such as `smoke`; empty if nothing does.
        ended: "complete", or why the run ended early.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    result: Result
    exit: int
    subject: str
    counts: dict[Standing, int]
    other_failures: int = 0
    allowed_by: str = ""
    ended: str = COMPLETE

    @property
    def passed(self) -> bool:
        """Whether the run is a pass: nothing else may be shown as one."""
        return self.result is Result.PASS

    @property
    def new_failures(self) -> int:
        """How many cells make the run red."""
        return sum(self.counts.get(each, 0) for each in NEW)

    @property
    def line(self) -> str:
        """The first line: `PASS: 11 methods; 0 new failures, 20 known, 87 undecided (allowed by smoke)`."""
        return f"{self.result.upper()}: {self.subject}; {self._counted()}"

    @property
    def reason(self) -> str:
        """Why the exit code is what it is: `exit code 0: every verdict passes or is on record`."""
        early = "" if self.ended == COMPLETE else f". The run ended early: {self.ended}"
        return f"exit code {self.exit}: {self._why()}{early}"

    def _counted(self) -> str:
        count = self.counts.get
        kinds = (
            (count(Standing.COLLAPSE, 0), "collapse", "collapses"),
            (count(Standing.REGRESSION, 0), "regression", "regressions"),
            (count(Standing.RULE_BROKEN, 0), "broken rule", "broken rules"),
            (count(Standing.NOT_EVALUATED, 0), "could not be evaluated", "could not be evaluated"),
            (count(Standing.UNDECIDED, 0), "undecided", "undecided"),
            (count(Standing.UNEXPECTED_PASS, 0), "unexpected pass", "unexpected passes"),
        )
        details = ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in kinds if number)
        new = f"{self.new_failures} new failure{'' if self.new_failures == 1 else 's'}"
        allowed = f" (allowed by {self.allowed_by})" if self.allowed_by else " (allowed)"
        others = (
            (self.other_failures, "other failed tests" if self.other_failures != 1 else "other failed test"),
            (count(Standing.KNOWN, 0), "known"),
            (count(Standing.ALLOWED, 0), f"undecided{allowed}"),
            (count(Standing.HELD, 0), "held although a limit is on record"),
            (count(Standing.SKIPPED, 0), "skipped"),
        )
        return ", ".join(
            [new + (f" ({details})" if details else ""), *(f"{number} {name}" for number, name in others if number)]
        )

    def _why(self) -> str:
        unexpected = self.counts.get(Standing.UNEXPECTED_PASS, 0)
        if self.result is Result.PASS:
            ways = ["passes"]
            ways += ["is on record"] if self.counts.get(Standing.KNOWN) else []
            if self.counts.get(Standing.ALLOWED):
                ways.append(f"has too few items to decide, which {self.allowed_by or 'this run'} allows")
            return f"every verdict {' or '.join(ways) if len(ways) < 3 else ', '.join(ways[:2]) + ', or ' + ways[2]}"
        return {
            Result.COLLAPSE: "a model that gives one answer to nearly everything is not on record",
            Result.REGRESSION: "what fell below its floor is not on record",
            Result.NOT_EVALUATED: "without a verdict there is no pass",
            Result.INCONCLUSIVE: "too few items to decide, which only --inconclusive=pass lets through",
            Result.UNEXPECTED_PASS: f"{unexpected} on record as failing always passed; measure again with "
            "python -m editgate.known_failures",
            Result.INCOMPLETE: "not everything ran, and what did not run is not a pass",
            Result.OTHER_FAILURES: f"every verdict passes, but {self.other_failures or 'something'} beside them failed",
            Result.NOTHING_JUDGED: "no benchmark was asked",
        }[self.result]


def conclude(
    cells: Iterable[Cell],
    *,
    other_failures: int = 0,
    ended: str = COMPLETE,
    allowed_by: str = "",
    exit_code: int | None = None,
) -> Conclusion:
    """Return how a run ended.

    Args:
        cells: one per gate test that ended.
        other_failures: how many tests outside the gate failed.
        ended: "complete", or why the run ended early.
        allowed_by: what lets undecided verdicts pass, for the words.
        exit_code: pytest's; None: what pytest gives for these cells.
    """
    known = list(cells)
    counts = Counter(standing(cell) for cell in known)
    judged = any(cell.area != "integrity" and cell.value is not None for cell in known)
    failed = other_failures or any(counts[each] for each in NEW)
    ended_with = (1 if failed else 2 if ended != COMPLETE else 0) if exit_code is None else exit_code
    order = (
        (Result.COLLAPSE, counts[Standing.COLLAPSE]),
        (Result.REGRESSION, counts[Standing.REGRESSION]),
        (Result.NOT_EVALUATED, counts[Standing.NOT_EVALUATED] + counts[Standing.RULE_BROKEN]),
        (Result.INCONCLUSIVE, counts[Standing.UNDECIDED]),
        (Result.UNEXPECTED_PASS, counts[Standing.UNEXPECTED_PASS]),
        (Result.INCOMPLETE, ended != COMPLETE),
        (Result.OTHER_FAILURES, other_failures or ended_with not in {0, 5}),  # 5: no test was selected
        (Result.NOTHING_JUDGED, not judged or ended_with),
    )
    return Conclusion(
        result=next((result for result, holds in order if holds), Result.PASS),
        exit=ended_with,
        subject=_subject(known),
        counts={each: counts[each] for each in Standing if counts[each]},
        other_failures=other_failures,
        allowed_by=allowed_by,
        ended=ended,
    )


def ended_of(stopped: str, ran: int, collected: int) -> str:
    """Return "complete", or why a run ended early: what stopped it, and how many tests ended of those collected."""
    missing = f"{ran} of {collected} tests ended" if ran < collected else ""
    return "; ".join(why for why in (stopped, missing) if why) or COMPLETE


def _subject(cells: Iterable[Cell]) -> str:
    """Return how many methods on how many models, or changed checkpoints, were judged."""
    trajectories = {cell.trajectory: cell.external for cell in cells}
    if not trajectories:
        return "no method"
    if any(trajectories.values()):
        return _counted(len(trajectories), "changed checkpoint")
    methods, models = ({name.partition("-")[part] for name in trajectories} for part in (0, 2))
    return _counted(len(methods), "method") + (f" on {len(models)} models" if len(models) > 1 else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
