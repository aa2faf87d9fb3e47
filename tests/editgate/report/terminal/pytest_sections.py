"""What pytest's own sections say of the gate's tests: sentences instead of module paths, and few long texts.

pytest prints the whole message of every failed test, the same again in its short summary under CI, and the reason of
every known failure that did not come. Of a gate with eleven methods that is thousands of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from editgate import inert
from editgate.report.collector import MODULE_PATH, reason_of
from editgate.report.presentation import HELD, first_sentence
from editgate.verdict.outcome import noted_cells

WHOLE = 3  # messages; of further failures of the gate the first sentence is shown
STRICT = "[XPASS(strict)]"
MEASURE_AGAIN = "Measure again: python -m editgate.known_failures"


def shorten_summary_line(report: pytest.TestReport) -> None:
    """Make the short summary begin with what happened: the sentence, not the exception's module.

    Of a known failure that did not come it says that this is no failure. Other tests lose the module alone.
    """
    gate = bool(noted_cells(report))
    recorded = str(vars(report).get("wasxfail", ""))
    if gate and report.passed and recorded:
        report.wasxfail = f"{HELD}; on record: {recorded.removeprefix('reason: ')}"
    if gate and report.failed and report.longreprtext.startswith(STRICT):
        reason = inert.terminal(report.longreprtext.removeprefix(STRICT))
        report.longrepr = f"UNEXPECTED PASS: on record as failing always ({reason}), and it passed. {MEASURE_AGAIN}"
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return
    crash.message = _first_sentence(report) if gate else MODULE_PATH.sub("", crash.message)


def fold_failures(reports: Sequence[pytest.TestReport]) -> None:
    """Leave the first few messages of the gate's failed tests whole, and of the others the first sentence.

    JUnit and the report have all of them; so has the screen with `-v`.
    """
    ours = [(report, getattr(report.longrepr, "reprcrash", None)) for report in reports if noted_cells(report)]
    for report, crash in [each for each in ours if each[1] is not None][WHOLE:]:
        report.longrepr = Folded(_first_sentence(report), crash)  # type: ignore[assignment]
        report.sections = []


@dataclass(frozen=True)
class Folded:
    """A failure in one sentence, as pytest's terminal wants it."""

    sentence: str
    reprcrash: Any

    def toterminal(self, writer: Any) -> None:  # noqa: ANN401 - pytest's private TerminalWriter
        """Write it."""
        writer.line(self.sentence, red=True)

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


def _first_sentence(report: pytest.TestReport) -> str:
    return inert.terminal(first_sentence(reason_of(report)))
