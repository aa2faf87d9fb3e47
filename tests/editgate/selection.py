"""Between pytest and the machine room: which tests there are, which are chosen, and what of each is noted."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar, cast

import pytest

from editgate.inputs import models
from editgate.inputs.benchmarks import ALL, CHAT
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.edit_quality import Kind
from editgate.measure.model_under_test import Run
from editgate.measure.session import EvaluationSession
from editgate.options import profiles
from editgate.options.settings import Settings
from editgate.report.run_report import Subject
from editgate.verdict import cells, edit_budget, judging
from editgate.verdict.edit_budget import Orders
from editgate.verdict.judging import Judged, QualityVerdict
from editgate.verdict.outcome import note
from editgate.verdict.verdict import Verdict

T = TypeVar("T")
REPEATED = (
    "--profile",
    "--model",
    "--documents",
    "--covariance-text",
    "--editor",
    "--editor-arg",
    "--thresholds",
    "--edited",
    "--edits",
    "--edit-counts",
    "--edit-order",
    "--limit",
    "--device",
    "--dtype",
    "--inconclusive",
)  # decide a verdict, or what a test makes of it


def runs(chosen: Settings, name: str = "") -> Iterator[tuple[EditorSpec, ModelSource, str]]:
    """Yield every editor with every chosen model, and the trajectory's name.

    If a test of this name is about none of those models, the others: no test is left without parameters, and
    `is_chosen` leaves these out.
    """
    about = [model for model in chosen.models if suits(name, model)]
    for model in [model for model in about if model.name in chosen.chosen_models] or about:
        for editor in chosen.editors:
            yield editor, model, f"{editor.name}-{model.name}"


def recorded(chosen: Settings) -> Iterator[tuple[EditorSpec, ModelSource, str]]:
    """Yield what curves are on record of, and the trajectory's name, whatever is chosen: none of them is unused."""
    for model in chosen.models:
        for editor in chosen.editors:
            if model.name == profiles.MODEL and editor.built_in and not editor.settings:
                yield editor, model, f"{editor.name}-{model.name}"


def left_out(config: pytest.Config, chosen: Settings) -> set[str]:
    """Return the names in `tests/` that are not even collected.

    Whoever names an editor, brings one or brings a model asks about that and not about this suite; a path that is
    given on the command line is collected all the same.
    """
    names = {"test_budget.py"} if chosen.budget is None else set()
    asked = {config.option.keyword.strip(), config.option.markexpr.strip()} & {spec.name for spec in chosen.editors}
    if (asked or chosen.chosen_editors) and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        names.add("meta")
    return names


def suits(name: str, model: ModelSource) -> bool:
    """Return whether a test of this name is about this model: refusals are about chat models only."""
    return model.chat or name not in CHAT


def is_chosen(item: pytest.Item, chosen: Settings, keyword: str) -> bool:
    """Return whether `--model`, `--editor` and `-k` leave this test in; tests without such parameters always stay.

    `-k` with exactly an editor's name means that editor, not each whose name contains it: `-k rome` is not R-ROME.
    """
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if "budget_of" in parameters and not chosen.budget:
        return False  # its file was named on the command line
    if _asks_for_else(item, parameters, chosen):
        return False
    named = {spec.name for spec in chosen.editors} & {keyword.strip()}
    return all(_is_among(value, chosen, chosen.chosen_editors or named) for value in parameters.values())


def _asks_for_else(item: pytest.Item, parameters: Mapping[str, object], chosen: Settings) -> bool:
    """Whether the run is about something that this test has no part in."""
    if chosen.chosen_editors and "meta" in item.path.parts:
        return True  # whoever brings a method or a model asks about that, not about this suite
    # The Ns that a budget rests on are judged on its way; all others would only take time.
    return bool(chosen.budget) and not {"budget_of", "rule"} & set(parameters)


def _is_among(value: object, chosen: Settings, editors: Collection[str]) -> bool:
    """Whether a test's parameter is about a chosen model and, where any are named, a chosen editor."""
    members = value if isinstance(value, tuple) else tuple(vars(value).values()) if hasattr(value, "edits") else ()
    for member in members:
        if isinstance(member, ModelSource) and member.name not in chosen.chosen_models:
            return False
        if isinstance(member, EditorSpec) and editors and member.name not in editors:
            return False
    return True


def header(chosen: Settings) -> list[str]:
    """Return the lines that say what this run is about."""
    names = ", ".join(f"{m.name} ({models.digest_of(m)})" for m in chosen.models if m.name in chosen.chosen_models)
    editors = sorted(chosen.chosen_editors or {spec.name for spec in chosen.editors})
    counts = ", ".join(map(str, chosen.counts)) + (f" in order {chosen.order}" if chosen.order else "")
    limit = "all items" if chosen.limit is None else f"at most {chosen.limit} items a benchmark"
    lines = [
        str(chosen.profile),
        f"editgate: model {names}, editors {', '.join(editors)}",
        f"edits: {chosen.edits_name} at N = {counts}; {limit}; {chosen.dtype} on {chosen.device}",
        f"store: {chosen.store.root}",
    ]
    if chosen.budget:
        lines.append(f"edit budget: {chosen.budget.told(chosen.counts[-1])}")
    return lines


def subject(chosen: Settings, arguments: Iterable[object]) -> Subject:
    """Return what the report says a run is about."""
    return Subject(
        model=", ".join(f"{m.name} ({models.digest_of(m)})" for m in chosen.models if m.name in chosen.chosen_models),
        editors=tuple(sorted(chosen.chosen_editors or {spec.name for spec in chosen.editors})),
        edits=chosen.edits_name + (f" in order {chosen.order}" if chosen.order else ""),
        counts=chosen.counts,
        items="all items" if chosen.limit is None else f"at most {chosen.limit} items a benchmark",
        conditions=f"{chosen.dtype} on {chosen.device}",
        command=" ".join(["pytest", *map(shlex.quote, map(str, arguments))]),
    )


def judge_benchmark(session: EvaluationSession, run: Run, count: int, name: str, node: pytest.Item) -> Judged[Verdict]:
    """Judge a benchmark after `count` edits and note it for the summary.

    Raises:
        EvaluationError: no verdict is possible.
    """
    return _noted(judging.judged_benchmark(session, run, count, name, _command(node)), session, run, node)


def judge_quality(
    session: EvaluationSession, run: Run, count: int, name: str, node: pytest.Item
) -> Judged[QualityVerdict]:
    """Judge efficacy, paraphrase or locality of `count` edits and note it for the summary.

    Raises:
        EditorError: the method cannot apply an edit.
    """
    found = judging.judged_quality(session, run, count, cast("Kind", name), _command(node))
    if found is None:
        pytest.skip(f"none of the edits has the prompts that {name} is measured on")
    return _noted(found, session, run, node)


def judge_budget(
    session: EvaluationSession, editor: EditorSpec, model: ModelSource, node: pytest.Item
) -> Judged[Orders]:
    """Find the edit budget, hold it against what is asked for and note it for the summary.

    Raises:
        EvaluationError: no verdict is possible at some N.
    """
    asked = session.settings.budget
    assert asked is not None  # without it the test is not collected
    least = f" --min-budget={asked.least}" if asked.least else ""
    found = edit_budget.judged_budget(session, editor, model, asked, f"{_command(node)} --budget={asked.orders}{least}")
    note(node, found.cell)
    return found


def place_of(item: pytest.Item) -> tuple[str, str, int, str] | None:
    """Return (trajectory, row, N, area) of a test of the gate before it runs; None for other tests."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if "rule" in parameters:
        editor, model, rule = parameters["rule"]
        return f"{editor.name}-{model.name}", rule, 0, "integrity"
    if "budget_of" in parameters:
        editor, model = parameters["budget_of"]
        return f"{editor.name}-{model.name}", edit_budget.ROW, 0, edit_budget.AREA
    if "checkpoint" not in parameters:
        return None
    at = parameters["checkpoint"]
    row = item.function.__name__.removeprefix("test_") if isinstance(item, pytest.Function) else item.name
    area = ALL[row].area if row in ALL else "quality"
    return f"{at.editor.name}-{at.model.name}", row, at.edits, area


def _noted(found: Judged[T], session: EvaluationSession, run: Run, node: pytest.Item) -> Judged[T]:
    """Tell the summary, with what is measured for `--report` alone."""
    reported = node.config.getoption("report", None)
    note(node, cells.with_perplexity(found.cell, session, run) if reported else found.cell)
    return found


def _command(node: pytest.Item) -> str:
    """Return the command that gives this verdict again."""
    given = [str(argument) for argument in node.config.invocation_params.args]
    kept = []
    for place, argument in enumerate(given):
        if argument.partition("=")[0] in REPEATED:
            kept.append(argument)
            if "=" not in argument:
                kept += given[place + 1 : place + 2]
    return " ".join(["pytest", f"'{node.nodeid}'", *kept])
