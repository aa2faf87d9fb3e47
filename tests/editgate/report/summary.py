"""The plugin that collects what tests noted, writes the report, and prints the last screen.

On xdist's controller it gets the reports of all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest

from editgate import inert
from editgate.compat.pytest import warnings_shown
from editgate.errors import ConfigError
from editgate.options.profiles import PROFILES
from editgate.report import junit
from editgate.report.collector import Collector
from editgate.report.compare import changes
from editgate.report.conclusion import COMPLETE, Conclusion, conclude, ended_of
from editgate.report.run_report import RunReport, Subject, read_report
from editgate.report.safety import safety_line
from editgate.report.terminal.pytest_sections import fold_failures, shorten_summary_line
from editgate.report.terminal.screen import LastScreen
from editgate.report.writer import build_report, check_writable, clear, write
from editgate.verdict.outcome import FINDING_PROPERTY, forget_flips


class Summary:
    """Collects cells from reports, and says what they come to.

    Args:
        subject: returns what the run is about; called only for a report, because it reads the weights' files.
        folder: where the report goes; None: nowhere.
        earlier: the `report.json` to compare with; None: none.

    Raises:
        ConfigError: the folder cannot be written, or the earlier report cannot be read.
    """

    def __init__(self, subject: Callable[[], Subject], folder: Path | None = None, earlier: Path | None = None) -> None:
        self.subject, self.folder = subject, folder
        self.collector = Collector()
        self.earlier: RunReport | None = None
        self.written = ""  # where the report is, or why it is not
        self.changes: list[str] = []
        self.findings: list[str] = []
        self.interruption = ""
        self.ended = COMPLETE
        self.session: pytest.Session | None = None
        if earlier:
            try:
                self.earlier = read_report(earlier)
            except ConfigError as error:
                raise ConfigError(f"--compare {error}") from None
        if folder:
            check_writable(folder)

    @pytest.hookimpl(tryfirst=True)  # before JUnit's plugin, which would write every property into its file
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the test's result, before what pytest will show of it is shortened."""
        self.collector.add(report)
        shorten_summary_line(report)
        forget_flips(report)
        if report.when == "call":
            self.findings += [str(text) for name, text in report.user_properties if name == FINDING_PROPERTY]

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember why the run ended early."""
        self.interruption = f"interrupted ({excinfo.typename})"

    def pytest_internalerror(self, excrepr: object) -> None:
        """Remember why the run ended early."""
        self.interruption = f"internal error ({str(excrepr).strip().splitlines()[-1]})"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, however the run ended."""
        self.session = session
        stopped = self.interruption or str(session.shouldstop or session.shouldfail or "")
        self.ended = ended_of(stopped, len(self.collector.finished), session.testscollected)
        if self.collector.cells:
            junit.add_conclusion(session.config, self._conclusion(session.config), safety_line(self.collector.cells))
        if session.config.getoption("collectonly") or not (self.folder or self.earlier):
            return
        report = build_report(
            self.subject(),
            self.collector,
            session.testscollected,
            stopped,
            allowed_by=allowed_by(session.config),
            exit_code=int(session.exitstatus),
        )
        self.changes = changes(self.earlier, report) if self.earlier else []
        if self.folder is None:
            return
        added = {"changes": tuple(self.changes), "findings": tuple(self.findings)}
        try:
            self.written = f"report: {write(report.model_copy(update=added), self.folder)}"
        except OSError as error:
            self.written = f"report: NOT written to {self.folder}: {error.strerror or error}"
            if session.exitstatus == pytest.ExitCode.OK:  # whoever asks for a report must not miss that there is none
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            with suppress(ConfigError):
                clear(self.folder)  # nor find half of one

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        """Print the last screen after everything that pytest and other plugins say."""
        config = terminalreporter.config
        if terminalreporter.verbosity < 1:
            fold_failures(terminalreporter.getreports("failed"))
        yield
        with warnings_shown(config):
            if self.findings:
                terminalreporter.section("what the paper found, measured here")
                terminalreporter.write_line(inert.lines("\n".join(self.findings)))
            changed = [f"what changed since {self.earlier.created}:", *self.changes] if self.earlier else []
            if self.collector.cells:
                external = any(cell.external for cell in self.collector.cells)
                terminalreporter.section("what the change cost" if external else "what the edits cost")
                lines = self._screen(terminalreporter, changed).lines()
            else:
                lines = [inert.terminal(line) for line in (*changed, self.written) if line]
            for line in lines:
                terminalreporter.write_line(line)

    def _screen(self, terminal: pytest.TerminalReporter, changed: list[str]) -> LastScreen:
        return LastScreen(
            self.collector.cells,
            self._conclusion(terminal.config),
            changed,
            self.written,
            width=terminal._tw.fullwidth,  # noqa: SLF001 - pytest has no public way to ask for it
            color=terminal.hasmarkup,
            verbose=terminal.verbosity > 0,
        )

    def _conclusion(self, config: pytest.Config) -> Conclusion:
        return conclude(
            self.collector.cells,
            other_failures=len(self.collector.problems),
            ended=self.ended,
            allowed_by=allowed_by(config),
            exit_code=None if self.session is None else int(self.session.exitstatus),
        )


def allowed_by(config: pytest.Config) -> str:
    """Return what lets undecided verdicts pass, as a reader knows it; empty if nothing does."""
    given, profile = (config.getoption(name, default=None) for name in ("inconclusive", "profile"))
    if given == "pass":
        return "--inconclusive=pass"
    allows = given is None and profile in PROFILES and PROFILES[profile].inconclusive == "pass"
    return str(profile) if allows else ""


class NotEvaluated:
    """Marks "could not evaluate" in JUnit; a plugin of its own, because it must get a report after JUnit did."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Mark the error of a fixture."""
        junit.mark_not_evaluated(self.config, report)
