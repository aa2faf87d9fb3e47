"""What JUnit gets beyond pytest's own words: errors marked "could not evaluate", and the sentence about safety."""

from __future__ import annotations

import pytest

from editgate.compat.pytest import add_junit_property, junit_errors, junit_message
from editgate.report.collector import reason_of

COULD_NOT_EVALUATE = "could not evaluate"


def mark_not_evaluated(config: pytest.Config, report: pytest.TestReport) -> None:
    """Mark the `<error>` of a setup that failed as "could not evaluate"; call it after pytest wrote it."""
    if report.when == "setup" and report.failed:
        for error in junit_errors(config, report):
            error.set("type", COULD_NOT_EVALUATE)
            error.set("message", junit_message(f"{COULD_NOT_EVALUATE}: {reason_of(report)}"))


def add_safety(config: pytest.Config, line: str) -> None:
    """Make the sentence about safety a property of the whole suite; call it before pytest writes the file."""
    if line:
        add_junit_property(config, "safety", line)
