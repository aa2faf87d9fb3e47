"""What JUnit gets beyond pytest's own words: errors marked "could not evaluate", and the sentence about safety."""

from __future__ import annotations

import pytest
from _pytest.junitxml import LogXML, bin_xml_escape, shorten_message, xml_key

from editgate.report.collector import reason_of

COULD_NOT_EVALUATE = "could not evaluate"


def mark_not_evaluated(config: pytest.Config, report: pytest.TestReport) -> None:
    """Mark the `<error>` of a setup that failed as "could not evaluate"; call it after pytest wrote it."""
    xml = _log(config)
    if xml is None or report.when != "setup" or not report.failed:
        return
    for node in xml.node_reporter(report).nodes:
        if node.tag == "error":
            node.set("type", COULD_NOT_EVALUATE)
            node.set("message", bin_xml_escape(shorten_message(f"{COULD_NOT_EVALUATE}: {reason_of(report)}")))


def add_safety(config: pytest.Config, line: str) -> None:
    """Make the sentence about safety a property of the whole suite; call it before pytest writes the file."""
    xml = _log(config)
    if xml is not None and line:
        xml.add_global_property("safety", line)


def _log(config: pytest.Config) -> LogXML | None:
    return config.stash.get(xml_key, None)
