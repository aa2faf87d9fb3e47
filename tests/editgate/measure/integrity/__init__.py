"""Which rules a trajectory or a changed model must keep, and what a broken one costs.

The rules are in `trajectory_rules` and `checkpoint_rules`, in the order of the names here: a test is collected without
importing torch. `FAILS_ALONE` names those that fail their own test only. A breach of any other makes every number of
that editor meaningless: an error of all its tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from editgate import errors
from editgate.errors import BaselineNotReproduced, EditgateError, IntegrityError
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure.external_checkpoint import ExternalCheckpointSpec
from editgate.measure.items import Evaluation, pair

if TYPE_CHECKING:
    from torch import nn

    from editgate.measure.trajectory import Trajectory

Evaluate = Callable[["nn.Module"], Evaluation]
Baseline = Callable[[], Evaluation]
TRAJECTORY_RULES = (
    "edits_change_the_model",
    "edits_stay_finite",
    "only_declared_tensors_change",
    "trajectories_do_not_leak",
    "undo_gives_back_the_base",
    "state_survives_saving",
    "edits_accumulate",
    "a_batch_holds_all_its_edits",
    "the_tokenizer_stays_as_it_is",
)
OF_BATCHES = frozenset({"a_batch_holds_all_its_edits"})  # asked in runs of batches only
CHECKPOINT_RULES = (
    "the_model_differs_from_its_base",
    "the_model_is_finite",
    "what_is_saved_is_what_is_loaded",
    "the_tokenizer_is_the_bases",
)


def zero_edits_reproduce_the_baseline(run: Trajectory, baseline: Baseline, evaluate: Evaluate) -> None:
    """With no edit, the same path gives the baseline, item by item.

    Of somebody else's method nothing runs before the first edit: there one edit is applied and undone.

    Raises:
        BaselineNotReproduced: how many items differ, and one of them.
    """
    wanted, editor = baseline(), run.fresh_editor()
    if not run.spec.built_in:
        editor.apply_many(run.edits[: run.spec.rule_size])
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
# A no-op breaks no number: efficacy says what it is worth.
FAILS_ALONE = frozenset({"edits_change_the_model", "the_model_differs_from_its_base"})
assert {*TRAJECTORY_RULES, *CHECKPOINT_RULES} >= FAILS_ALONE | OF_BATCHES


def rules_of(spec: EditorSpec) -> tuple[str, ...]:
    """Return the names of the rules that this editor, or this changed model, must keep."""
    if isinstance(spec, ExternalCheckpointSpec):
        return CHECKPOINT_RULES
    left_out = OF_BATCHES if spec.batch_size == 1 else frozenset()
    return (*(rule for rule in TRAJECTORY_RULES if rule not in left_out), ZERO_EDITS)


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
