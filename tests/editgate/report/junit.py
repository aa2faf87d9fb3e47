"""What JUnit gets beyond pytest's own words: how the run ended, safety, and errors marked "could not evaluate"."""

from __future__ import annotations

import pytest

from editgate.compat.pytest import add_junit_property, junit_errors, junit_message
from editgate.report.collector import reason_of
from editgate.report.conclusion import Conclusion

COULD_NOT_EVALUATE = "could not evaluate"


def mark_not_evaluated(config: pytest.Config, report: pytest.TestReport) -> None:
    """Mark the `<error>` of a setup that failed as "could not evaluate"; call it after pytest wrote it."""
    if report.when == "setup" and report.failed:
        for error in junit_errors(config, report):
            error.set("type", COULD_NOT_EVALUATE)
            error.set("message", junit_message(f"{COULD_NOT_EVALUATE}: {reason_of(report)}"))


def add_conclusion(config: pytest.Config, conclusion: Conclusion, safety: str) -> None:
    """Make how the run ended, and the sentence about safety, properties of the suite; before pytest writes the file."""
    for name, text in (("conclusion", conclusion.line), ("exit code", conclusion.reason), ("safety", safety)):
        if text:
            add_junit_property(config, name, text)
