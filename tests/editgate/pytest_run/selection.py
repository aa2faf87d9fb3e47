"""Which tests of the gate there are, and which of them a run is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import editgate
from editgate.cases import CURVE, EDIT_BUDGET, BaselineCase, Case
from editgate.inputs.benchmarks import BENCHMARKS, CHAT, benchmarks_for
from editgate.inputs.models import ModelSource
from editgate.measure.integrity import rules_of
from editgate.options.profiles import MODEL
from editgate.options.settings import Settings
from editgate.verdict.outcome import ThresholdNotMet

HOME = Path(editgate.__file__).parent
GATE = HOME / "gate"
RULES = "rules"  # what a test `measures` that is about all rules of integrity
BASELINES = "baselines"
ADDED = "added benchmarks"
MANY = 10**9  # more than any N


def cases(measures: str, settings: Settings) -> Iterator[Case | BaselineCase]:
    """Yield what a test with the marker `measures(...)` is asked about: every editor, model and N there is.

    Those that a run is not about are deselected later: no test may be left without parameters, and syrupy must see
    every recorded baseline in use.
    """
    if measures == BASELINES:
        for model in settings.models:
            yield from (BaselineCase(model, name) for name in benchmarks_for(chat=model.chat))
        return
    for model in _models(measures, settings):
        for editor in settings.editors:
            if measures == RULES:
                yield from (Case(editor, model, rule) for rule in rules_of(editor))
            elif measures == CURVE:
                if editor.built_in and not editor.settings:
                    yield Case(editor, model, CURVE)
            elif measures == EDIT_BUDGET:
                yield Case(editor, model, EDIT_BUDGET, benchmarks=settings.benchmarks)
            elif measures == ADDED:
                known = settings.benchmarks
                asked = [(name, count) for count in settings.counts for name in settings.added_benchmarks]
                yield from (Case(editor, model, name, count, known) for name, count in asked)
            else:
                yield from (Case(editor, model, measures, count) for count in settings.counts)


def _models(measures: str, settings: Settings) -> list[ModelSource]:
    """The chosen models that the check suits; if it suits none of them, others, which are deselected.

    Curves are on record for the default model alone, and refusals are asked of chat models alone.
    """
    if measures == CURVE:
        return [model for model in settings.models if model.name == MODEL]
    suited = [model for model in settings.models if model.chat or measures not in CHAT]
    return [model for model in suited if model.name in settings.chosen_models] or suited


def marks(case: Case | BaselineCase, settings: Settings) -> list[pytest.MarkDecorator]:
    """Return the markers of one case: its editor's, skip where the model is at chance, xfail for a known failure."""
    if isinstance(case, BaselineCase):
        return []
    found: list[pytest.MarkDecorator] = [getattr(pytest.mark, case.editor.name)]
    if case.check in settings.added_benchmarks:  # all others' files say it
        found.append(getattr(pytest.mark, case.area))
    at_chance = settings.policy.at_chance(case.model.name, case.check)
    if at_chance is not None:
        found.append(pytest.mark.skip(reason=f"{case.model.name} is at chance on {case.check}: {at_chance}"))
    known = settings.known_failure(case.editor, case.model, case.check, case.edits)
    if known is not None:
        found.append(pytest.mark.xfail(raises=ThresholdNotMet, strict=known.always, reason=known.reason))
    return found


def case_of(item: pytest.Item) -> Case | BaselineCase | None:
    """Return what a test of the gate is about; None for other tests."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    found = parameters.get("case")
    return found if isinstance(found, Case | BaselineCase) else None


def cases_of(items: Sequence[pytest.Item]) -> list[Case]:
    """Return what these tests ask of editors."""
    return [case for item in items if isinstance(case := case_of(item), Case)]


def selects(item: pytest.Item, settings: Settings, keyword: str) -> bool:
    """Return whether `--model`, `--editor`, `--budget` and `-k` leave this test in; other tests always stay.

    `-k` with exactly an editor's name means that editor, not each whose name contains it: `-k ROME` is not R-ROME.
    """
    if settings.chosen_editors and "meta" in item.path.parts:
        return False  # whoever brings a method or a model asks about that, not about this suite
    case = case_of(item)
    if case is None:
        return True
    wanted_areas = settings.budget is None or (isinstance(case, Case) and case.area in {"budget", "integrity"})
    if case.model.name not in settings.chosen_models or not wanted_areas or not _is_chosen(case, settings):
        return False  # the Ns that a budget rests on are judged on its way; all others would only take time
    if isinstance(case, Case) and case.area == "quality" and not settings.edits[case.model.name]:
        return False  # a model that was changed elsewhere, of which no edits are listed
    if isinstance(case, BaselineCase):
        return True
    named = {editor.name for editor in settings.editors} & {keyword.strip().lower()}  # -k ignores case
    editors = settings.chosen_editors or named
    wanted = settings.budget is not None or case.area != "budget"  # its file may be named on the command line
    return wanted and (not editors or case.editor.name in editors)


def is_suited(item: pytest.Item, settings: Settings) -> bool:
    """Return whether a test's editor takes the edits of the run, as many at once as it asks for; others always do."""
    case = case_of(item)
    return not isinstance(case, Case) or settings.suits(case.editor, case.model)


def _is_chosen(case: Case | BaselineCase, settings: Settings) -> bool:
    """Return whether `--benchmarks` leaves a case in: all that are about no benchmark are."""
    name = case.benchmark if isinstance(case, BaselineCase) else case.check
    return name not in settings.benchmarks or name in settings.added_benchmarks or settings.asks(name)


def is_left_out(path: Path, config: pytest.Config, settings: Settings) -> bool:
    """Return whether a file or folder is not even collected.

    The search for edit budgets and added benchmarks were not asked for, or the paper's questions lack their options.
    """
    if path.is_relative_to(HOME) and path != HOME and not path.is_relative_to(GATE):
        return True  # no tests there, whatever a module is called
    if path == GATE / "test_budget.py":
        return settings.budget is None
    if path == GATE / "test_benchmark.py":
        return not settings.added_benchmarks
    findings = config.rootpath / "tests" / "findings"
    return path == findings and not hasattr(config.option, "family")  # they come with its path on the command line


def order_in_run(item: pytest.Item, trajectories: dict[str, int]) -> tuple[int, int, int]:
    """Return a sort key: rules first, then baselines, then one trajectory after another, N by N; other tests last."""
    case = case_of(item)
    if case is None:
        return (3, 0, 0)
    if isinstance(case, BaselineCase):
        return (1, 0, 0)
    if case.area == "integrity":
        return (0, 0, 0)
    last = case.area in {"curve", "budget"}  # they need every N of the trajectory
    return (2, trajectories.setdefault(case.trajectory, len(trajectories)), MANY if last else case.edits)


assert {RULES, BASELINES, ADDED, CURVE, EDIT_BUDGET}.isdisjoint(BENCHMARKS)
