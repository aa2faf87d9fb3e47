"""The gate without pytest's command line: for notebooks, other runners, and a method's own tests.

    from editgate import check_editor
    for result in check_editor("my_pkg.my_module:MyEditor", edit_counts="1,5"):
        print(result)

    from editgate import parametrize_with_checks        # in a test file of one's own

    @parametrize_with_checks("my_pkg.my_module:MyEditor")
    def test_my_editor(check):
        check()

The rules come first, then every benchmark and quality at every N, as in `editgate.gate` and by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from editgate.cases import Case
from editgate.errors import ConfigError, EvaluationError
from editgate.measure import integrity
from editgate.measure.session import EvaluationSession
from editgate.options import settings
from editgate.options.options import Options
from editgate.verdict.cell import checks_at, evaluate_cell
from editgate.verdict.outcome import Cell, Outcome
from editors import EditorError

PASSING = frozenset({Outcome.PASS, Outcome.SKIPPED, Outcome.KNOWN_FAILURE})
NUMBERS = ("value", "low", "high", "floor", "before", "after", "chance", "items")


@dataclass(frozen=True)
class Result:
    """What a check came to.

    Attributes:
        name: such as `undo_gives_back_the_base` or `mmlu-n10`.
        outcome: "pass", "regression", ...; a known failure is one on record, an unexpected pass one that did not come.
        reason: the whole message, for a person; empty if there is nothing to say.
        numbers: retention or share (`value`), its band, floor, scores before and after; empty for rules.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether a gate would let it pass."""
        return self.outcome in PASSING

    def __str__(self) -> str:
        """One line."""
        value = f" {self.numbers['value']:.2f}" if "value" in self.numbers else ""
        first = f": {self.reason.splitlines()[0]}" if self.reason else ""
        return f"{self.outcome:15} {self.name}{value}{first}"


@dataclass(frozen=True)
class Check:
    """One check, not yet made."""

    session: EvaluationSession
    case: Case

    @property
    def name(self) -> str:
        """As in `Result`."""
        return f"{self.case.check}-n{self.case.edits}" if self.case.edits else self.case.check

    def result(self) -> Result:
        """Make it; what the method or the evaluation raises is in the result."""
        call = f'check_editor("{self.case.editor.target}", model="{self.case.model.name}"'
        call += "" if self.case.editor.batch_size == 1 else f", batch_size={self.case.editor.batch_size}"
        command = f'{call}, edit_counts="{self.case.edits}")' if self.case.edits else f"{call})"
        try:
            cell = evaluate_cell(self.session, self.case, command=command)
        except (EvaluationError, EditorError) as error:
            return Result(self.name, Outcome.NOT_EVALUATED, f"{type(error).__name__}: {error}")
        outcome, reason = self._as_in_pytest(cell)
        numbers = {name: float(value) for name in NUMBERS if (value := getattr(cell, name)) is not None}
        return Result(self.name, outcome, reason, {} if self.case.area == "integrity" else numbers)

    def _as_in_pytest(self, cell: Cell) -> tuple[Outcome, str]:
        """Known failures are expected, and if strict their absence is news; an inconclusive cell may be let through."""
        case = self.case
        known = self.session.settings.known_failure(case.editor, case.model, case.check, case.edits)
        if known is None or cell.outcome is Outcome.SKIPPED:
            return (cell.outcome if cell.fails or cell.outcome is Outcome.SKIPPED else Outcome.PASS), cell.reason
        if cell.fails:
            return Outcome.KNOWN_FAILURE, known.reason
        return (Outcome.UNEXPECTED_PASS, f"{known.reason} ({known.file})") if known.always else (Outcome.PASS, "")

    def __call__(self) -> None:
        """Make it and raise unless it passed.

        Raises:
            AssertionError: the message is the whole report.
        """
        found = self.result()
        if found.outcome is Outcome.SKIPPED:
            pytest.skip(found.reason)
        if not found.passed:
            raise AssertionError(f"{found.outcome}: {found.reason}")


def check_editor(
    editor: str | type | Callable[..., Any], *, callback: Callable[[Result], None] = lambda _: None, **options: object
) -> Iterator[Result]:
    """Yield what each check of the gate came to.

    Args:
        editor: a built-in name, `package.module:Name`, or the class or function itself.
        callback: called with each result as it comes, for a progress bar or a log.
        **options: the options of `pytest --help`'s group editgate, with underscores: `model`, `edits`, `edit_counts`,
            `limit`, `thresholds`, `store`, `profile`, …; `editor_arg` as a list of `key=value`.

    Raises:
        ConfigError: an option is wrong, before any model is loaded.
    """
    for check in checks_of(editor, **options):
        found = check.result()
        callback(found)
        yield found


def parametrize_with_checks(editor: str | type | Callable[..., Any], **options: object) -> pytest.MarkDecorator:
    """Return a decorator that runs a test once for each check, as its argument `check`; arguments as `check_editor`.

    Raises:
        ConfigError: an option is wrong.
    """
    checks = [pytest.param(check, id=check.name) for check in checks_of(editor, **options)]
    return pytest.mark.parametrize("check", checks)


def checks_of(editor: str | type | Callable[..., Any], **options: object) -> list[Check]:
    """Return the checks of the gate in their order, none of them made yet.

    Raises:
        ConfigError: an option is wrong, before any model is loaded.
    """
    target = editor if isinstance(editor, str) else f"{editor.__module__}:{editor.__qualname__}"
    if "editor" in options:
        raise ConfigError("the editor is the first argument; leave out 'editor'.")
    if elsewhere := sorted({"ray", "ray_worker", "shard"} & options.keys()):
        raise ConfigError(
            f"{elsewhere[0]}: checks from Python are made and judged in this process. "
            f"Allowed: pytest --{elsewhere[0].replace('_', '-')}."
        )
    chosen = settings.read(Options.of({**options, "editor": (target,)}), Path.cwd() / ".editgate")
    session = EvaluationSession(chosen, lambda _: None)
    (spec,) = (spec for spec in chosen.editors if spec.name in chosen.chosen_editors)
    cases = [
        Case(spec, model, "", benchmarks=chosen.benchmarks)
        for model in chosen.models
        if model.name in chosen.chosen_models
    ]
    rules = integrity.rules_of(spec)
    return [
        Check(session, check)
        for case in cases
        for check in (*(Case(case.editor, case.model, rule) for rule in rules), *checks_at(session, case))
    ]
