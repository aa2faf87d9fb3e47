"""The gate without pytest's command line: for notebooks, other runners, and a method's own tests.

    from editgate import check_editor
    for result in check_editor("my_pkg.my_module:MyEditor", edit_counts="1,5"):
        print(result)

    from editgate import parametrize_with_checks        # in a test file of one's own

    @parametrize_with_checks("my_pkg.my_module:MyEditor")
    def test_my_editor(check):
        check()

The rules come first, then every benchmark and quality at every N, as in `tests/test_*.py` and by the same code.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from editgate.errors import ConfigError, EvaluationError, IntegrityError
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure import integrity
from editgate.measure.edit_quality import KINDS
from editgate.measure.session import EvaluationSession
from editgate.options import options
from editgate.options.settings import Settings
from editgate.verdict import judging
from editgate.verdict.judging import Judged, QualityVerdict
from editgate.verdict.thresholds import KnownFailure
from editgate.verdict.verdict import Verdict
from editors import EditorError

Status = Literal[
    "pass", "regression", "inconclusive", "rule broken", "not evaluated", "skipped", "known limit", "limit lifted"
]
HELD = frozenset({"pass", "skipped", "known limit"})
NUMBERS = ("value", "low", "high", "floor", "before", "after", "chance", "items")


@dataclass(frozen=True)
class Result:
    """What a check came to.

    Attributes:
        name: such as `undo_gives_back_the_base` or `mmlu-n10`.
        outcome: what became of it; "known limit" is a failure on record, "limit lifted" one that did not come.
        reason: the whole message, for a person; empty if there is nothing to say.
        numbers: retention or share (`value`), its band, floor, scores before and after; empty for rules.
    """

    name: str
    outcome: Status
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether a gate would let it pass."""
        return self.outcome in HELD

    def __str__(self) -> str:
        """One line."""
        value = f" {self.numbers['value']:.2f}" if "value" in self.numbers else ""
        first = f": {self.reason.splitlines()[0]}" if self.reason else ""
        return f"{self.outcome:13} {self.name}{value}{first}"


@dataclass(frozen=True)
class Check:
    """One check, not yet made.

    Attributes:
        name: as in `Result`.
        make: makes it.
    """

    name: str
    make: Callable[[], Result]

    def result(self) -> Result:
        """Make it; what the method or the evaluation raises is told in the result."""
        try:
            return self.make()
        except (EvaluationError, EditorError) as error:
            return Result(self.name, "not evaluated", f"{type(error).__name__}: {error}")

    def __call__(self) -> None:
        """Make it and raise unless it held.

        Raises:
            AssertionError: the message is the whole report.
        """
        found = self.result()
        if found.outcome == "skipped":
            pytest.skip(found.reason)
        if not found.held:
            raise AssertionError(f"{found.outcome}: {found.reason}")


def check_editor(
    editor: str | type | Callable[..., Any], *, callback: Callable[[Result], None] = lambda _: None, **given: object
) -> Iterator[Result]:
    """Yield what each check of the gate came to.

    Args:
        editor: a built-in name, `package.module:Name`, or the class or function itself.
        callback: told of each result as it comes, for a progress bar or a log.
        **given: the options of `pytest --help`'s group editgate, with underscores: `model`, `edits`, `edit_counts`,
            `limit`, `thresholds`, `store`, `profile`, …; `editor_arg` as a list of `key=value`.

    Raises:
        ConfigError: an option is wrong, before any model is loaded.
    """
    for check in checks_of(editor, **given):
        found = check.result()
        callback(found)
        yield found


def parametrize_with_checks(editor: str | type | Callable[..., Any], **given: object) -> pytest.MarkDecorator:
    """Return a decorator that runs a test once for each check, as its argument `check`; arguments as `check_editor`.

    Raises:
        ConfigError: an option is wrong.
    """
    return pytest.mark.parametrize(
        "check", [pytest.param(check, id=check.name) for check in checks_of(editor, **given)]
    )


def checks_of(editor: str | type | Callable[..., Any], **given: object) -> list[Check]:
    """Return the checks of the gate in their order, none of them made yet.

    Raises:
        ConfigError: an option is wrong, before any model is loaded.
    """
    target = editor if isinstance(editor, str) else f"{editor.__module__}:{editor.__qualname__}"
    chosen = _settings(target, given)
    session = EvaluationSession(chosen, lambda _: None)
    (spec,) = (spec for spec in chosen.editors if spec.name in chosen.chosen_editors)
    return [
        check
        for source in chosen.models
        if source.name in chosen.chosen_models
        for check in _of_model(session, spec, source)
    ]


def _settings(target: str, given: Mapping[str, object]) -> Settings:
    known = {name.removeprefix("--").replace("-", "_"): each.get("default") for name, each in options.OPTIONS.items()}
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(f"check_editor has no option {unknown[0]!r}. Allowed: {', '.join(sorted(known))}.")
    return options.read(Namespace(**known | dict(given) | {"editor": [target]}), Path.cwd())


def _of_model(session: EvaluationSession, spec: EditorSpec, source: ModelSource) -> Iterator[Check]:
    for rule in integrity.rules_of(spec):
        yield Check(rule, partial(_rule, session, spec, source, rule))
    for count in session.settings.counts:
        for name in (*session.settings.asked_of(source), *KINDS):
            yield Check(f"{name}-n{count}", partial(_judged, session, spec, source, name, count))


def _rule(session: EvaluationSession, spec: EditorSpec, source: ModelSource, rule: str) -> Result:
    try:
        session.check(session.trajectory(spec, source), rule)
    except IntegrityError as error:
        return Result(rule, "rule broken", f"{type(error).__name__}: {error}")
    return Result(rule, "pass")


def _judged(session: EvaluationSession, spec: EditorSpec, source: ModelSource, name: str, count: int) -> Result:
    run = session.trajectory(spec, source)
    session.check_all(run)
    again = f'check_editor("{spec.target}", model="{source.name}", edit_counts="{count}")'
    found: Judged[QualityVerdict] | Judged[Verdict] | None
    if name in KINDS:
        found = judging.judged_quality(session, run, count, name, again)
    else:
        found = judging.judged_benchmark(session, run, count, name, again)
    if found is None:
        return Result(f"{name}-n{count}", "skipped", f"none of the edits has the prompts that {name} is measured on")
    limit = session.settings.known_failure(spec, source, name, count)
    status, reason = _outcome(found, limit)
    numbers = {name: float(value) for name in NUMBERS if (value := getattr(found.cell, name)) is not None}
    return Result(f"{name}-n{count}", status, reason, numbers)


def _outcome(found: Judged[Any], limit: KnownFailure | None) -> tuple[Status, str]:
    """What the test would be in pytest: known limits are expected failures, strict where they hold in any order."""
    if found.outcome is None:
        lifted = limit is not None and limit.always
        return ("limit lifted", f"{limit.reason} ({limit.file})") if limit and lifted else ("pass", "")
    if limit is not None:
        return "known limit", limit.reason
    return cast("Status", found.cell.outcome), found.message
