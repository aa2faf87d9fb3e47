"""What JUnit is told beyond pytest's own words: could-not-evaluate by name, and the sentence about safety."""

from __future__ import annotations

import pytest
from _pytest.junitxml import LogXML, bin_xml_escape, shorten_message, xml_key

from editgate.report.collector import COULD_NOT, reason


def mark_not_evaluated(config: pytest.Config, report: pytest.TestReport) -> None:
    """Let the `<error>` of a setup that failed begin with "could not evaluate: "; call it after pytest wrote it."""
    xml = _log(config)
    if xml is None or report.when == "call" or not report.failed:
        return
    for node in xml.node_reporter(report).nodes:
        if node.tag == "error" and report.when == "setup":
            node.set("type", "could not evaluate")
            node.set("message", bin_xml_escape(shorten_message(COULD_NOT + reason(report))))


def tell_safety(config: pytest.Config, line: str) -> None:
    """Make the sentence about safety a property of the whole suite; call it before pytest writes the file."""
    xml = _log(config)
    if xml is not None and line:
        xml.add_global_property("safety", line)


def _log(config: pytest.Config) -> LogXML | None:
    return config.stash.get(xml_key, None)
