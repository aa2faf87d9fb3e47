"""What editgate uses of pytest's private parts, all as in 9.2. Without them reports say the same with less polish.

- `_pytest._code.code.Traceback`: an empty one takes our own frames out of a report. Without it they are shown.
- `ExceptionChainRepr.reprcrash`: where the short summary reads its message. Without it the summary has no message.
- `_pytest.junitxml.xml_key`, `LogXML.node_reporter` and `LogXML.add_global_property`: the file of `--junitxml`.
  Without them it is pytest's own file, unchanged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from editgate.compat import require
from editgate.errors import IncompatibleLibrary

JUNIT = "_pytest.junitxml"


@contextmanager
def warnings_shown(config: pytest.Config) -> Iterator[None]:
    """Inside, a warning is shown and is no error, whatever the ini file says; `-W` on the command line counts."""
    if config.option.pythonwarnings:
        yield
        return
    with warnings.catch_warnings(action="default"):
        yield


def drop_traceback(error: pytest.ExceptionInfo[BaseException]) -> None:
    """Take all frames out of what a report shows of this error, but not out of what it shows of its causes."""
    try:
        empty = require("_pytest._code.code.Traceback", "leave its own frames out of a report")
    except IncompatibleLibrary:
        return
    error.traceback = empty([])


def crash_of(error: pytest.ExceptionInfo[BaseException]) -> Any:  # noqa: ANN401 - a private type
    """Return where and with which message the error was raised, for `restore_crash`; None if pytest does not say."""
    return getattr(error.getrepr(style="native"), "reprcrash", None)


def restore_crash(report: pytest.TestReport, crash: Any) -> None:  # noqa: ANN401 - as above
    """Give a report without frames the message that the short summary shows."""
    shown = report.longrepr
    if crash is not None and getattr(shown, "reprcrash", crash) is None:
        shown.reprcrash = crash  # type: ignore[union-attr]


def junit_errors(config: pytest.Config, report: pytest.TestReport) -> list[Element]:
    """Return the `<error>` elements that `--junitxml` will write for this report; none without that option."""
    log = _junit(config)
    nodes = getattr(log.node_reporter(report), "nodes", []) if hasattr(log, "node_reporter") else []
    return [node for node in nodes if node.tag == "error"]


def junit_message(text: str) -> str:
    """Return a text fit for an attribute of `--junitxml`: shortened and escaped as pytest does it."""
    try:
        shorten, escape = (require(f"{JUNIT}.{name}", "write JUnit") for name in ("shorten_message", "bin_xml_escape"))
    except IncompatibleLibrary:
        return text.partition("\n")[0]
    return str(escape(shorten(text)))


def add_junit_property(config: pytest.Config, name: str, value: str) -> None:
    """Make `value` a property of the whole suite in `--junitxml`'s file; call it before pytest writes the file."""
    log = _junit(config)
    if hasattr(log, "add_global_property"):
        log.add_global_property(name, value)


def _junit(config: pytest.Config) -> Any:  # noqa: ANN401 - a private type
    try:
        key = require(f"{JUNIT}.xml_key", "find the file of --junitxml")
    except IncompatibleLibrary:
        return None
    return config.stash.get(key, None)
