"""Each private part of pytest that is used does what `compat.pytest` says, and so does its absence."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

PLUGIN = """
import pytest
from editgate.compat import pytest as compat

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    crash = None
    if call.excinfo is not None:
        crash = compat.crash_of(call.excinfo)
        compat.drop_traceback(call.excinfo)
    report = yield
    compat.restore_crash(report, crash)
    return report

@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    for error in compat.junit_errors(CONFIG, report):
        error.set("message", compat.junit_message("could not evaluate\\0: " + "x" * 9))

def pytest_configure(config):
    global CONFIG
    CONFIG = config

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    compat.add_junit_property(session.config, "safety", "yes")
"""
TESTS = """
import pytest

@pytest.fixture
def broken():
    raise RuntimeError("no number")

def test_error(broken): ...
def test_failure(): raise RuntimeError("too low")
"""


@pytest.fixture(autouse=True)
def whole_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short summary cuts messages at the terminal's edge, but not under CI."""
    monkeypatch.setenv("CI", "true")


def _run(pytester: pytest.Pytester, before: str = "") -> tuple[str, ET.Element]:
    """The terminal's text and the JUnit file of a run whose conftest uses every entry."""
    pytester.makeconftest(before + PLUGIN)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("--junitxml=out.xml", "-p", "no:cacheprovider", "-p", "no:editgate", "-rfE")
    result.assert_outcomes(failed=1, errors=1)
    return result.stdout.str(), ET.parse(pytester.path / "out.xml").getroot()  # noqa: S314 - as above


def test_frames_go_and_the_summary_keeps_its_message(pytester: pytest.Pytester) -> None:
    """The report shows no line of code, the short summary the message; JUnit has both additions."""
    text, xml = _run(pytester)
    assert "def test_failure" not in text
    assert "FAILED" in text
    assert "RuntimeError: too low" in text.partition("short test summary")[2]
    (error,) = xml.iter("error")
    assert error.get("message", "").startswith("could not evaluate#x00: xxx")
    assert [node.attrib for node in xml.iter("property")] == [{"name": "safety", "value": "yes"}]


def test_without_the_private_parts_the_run_is_pytests_own(pytester: pytest.Pytester) -> None:
    """Nothing fails for their lack: code is shown, and JUnit is pytest's own file."""
    text, xml = _run(
        pytester,
        "from editgate.compat import pytest as compat\n"
        "from editgate.errors import IncompatibleLibrary\n"
        "def missing(name, use): raise IncompatibleLibrary(name)\n"
        "compat.require = missing\n",
    )
    assert "def test_failure" in text
    assert "RuntimeError: too low" in text.partition("short test summary")[2]
    (error,) = xml.iter("error")
    assert error.get("message") == 'failed on setup with "RuntimeError: no number"'
    assert not list(xml.iter("property"))
