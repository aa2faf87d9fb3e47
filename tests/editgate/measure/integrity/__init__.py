"""Which rules a trajectory or a changed model must keep, and what a broken one costs.

The rules are in `trajectory_rules` and `checkpoint_rules`; `FAILS_ALONE` names those that fail their own test only. A
breach of any other makes every number of that editor meaningless: an error of all its tests.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from editgate import errors
from editgate.errors import BaselineNotReproduced, EditgateError, IntegrityError
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure.external_checkpoint import ExternalCheckpointSpec
from editgate.measure.integrity import checkpoint_rules, trajectory_rules
from editgate.measure.items import Evaluation, pair
from editgate.measure.trajectory import Trajectory

Evaluate = Callable[[nn.Module], Evaluation]
Baseline = Callable[[], Evaluation]


def zero_edits_reproduce_the_baseline(run: Trajectory, baseline: Baseline, evaluate: Evaluate) -> None:
    """With no edit, the same path gives the baseline, item by item.

    Of somebody else's method nothing runs before the first edit: there one edit is applied and undone.

    Raises:
        BaselineNotReproduced: how many items differ, and one of them.
    """
    wanted, editor = baseline(), run.fresh_editor()
    if not run.spec.built_in:
        editor.apply(run.edits[0])
        editor.undo()
    pairs = pair(wanted, evaluate(editor.model))
    differing = [(before, after) for before, after in pairs if before != after]
    if differing:
        before, after = differing[0]
        raise BaselineNotReproduced(
            f"{run.name}: with zero edits {len(differing)} of {len(pairs)} items differ from the baseline, first "
            f"{before.question!r}: {before.answer!r} became {after.answer!r}."
        )


ZERO_EDITS = zero_edits_reproduce_the_baseline.__name__
FAILS_ALONE = frozenset(  # a no-op breaks no number: efficacy says what it is worth
    {trajectory_rules.edits_change_the_model.__name__, checkpoint_rules.the_model_differs_from_its_base.__name__}
)


def rules_of(spec: EditorSpec) -> tuple[str, ...]:
    """Return the names of the rules that this editor, or this changed model, must keep."""
    if isinstance(spec, ExternalCheckpointSpec):
        return tuple(checkpoint_rules.RULES)
    return (*trajectory_rules.RULES, ZERO_EDITS)


def outcome(check: Callable[[], None]) -> list[str]:
    """Run a rule; return nothing if it holds, else the error's class and message, fit for the store.

    An exception that is not ours (the method's own) is reported as it is: it is the author's to read.
    """
    try:
        check()
    except IntegrityError as error:
        return [type(error).__name__, str(error)]
    return []


def check_outcome(found: list[str]) -> None:
    """Pass if this is what `outcome` returns.

    Raises:
        ValueError: it is not.
    """
    if found != [] and not (isinstance(found, list) and len(found) == 2 and hasattr(errors, str(found[0]))):
        raise ValueError("it is no outcome of a rule")


def raise_if_broken(found: list[str]) -> None:
    """Raise the stored error again.

    Raises:
        IntegrityError: the rule is broken.
    """
    if found:
        kind: type[EditgateError] = getattr(errors, found[0])
        raise kind(found[1])
