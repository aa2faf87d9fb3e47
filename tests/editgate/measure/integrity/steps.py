"""The two steps that the rules apply: an edit each, or in a run of batches a batch of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from editgate.measure.trajectory import Trajectory
from editors import Edit, Editor

MADE_UP = ("Minor", "Major", "Senior")  # after a subject, for somebody whom no model knows

Step = Sequence[Edit]  # what is applied at once: one edit, or in a run of batches two


def two_steps(run: Trajectory) -> tuple[Step, Step]:
    """The first edits and the next that ask something else; made up where a file has no others."""
    found: dict[str, Edit] = {}
    for edit in run.edits:
        found.setdefault(edit.text, edit)
        if len(found) == 2 * run.spec.rule_size:
            break
    four = [*found.values(), *(_made_up(run.edits[0], name) for name in MADE_UP)][: 2 * run.spec.rule_size]
    return four[: run.spec.rule_size], four[run.spec.rule_size :]


def _made_up(edit: Edit, name: str) -> Edit:
    """The same question about somebody else."""
    bare = replace(edit, rephrases=(), neighbors=())
    if edit.subject is None:
        return replace(bare, prompt=f"{name}: {edit.prompt}")
    return replace(bare, subject=f"{edit.subject} {name}")


def contrary(step: Step, other: Step) -> Step:
    """The same questions with other answers."""
    return [_with_another_answer(edit, other[at]) for at, edit in enumerate(step)]


def _with_another_answer(edit: Edit, other: Edit) -> Edit:
    answers = (other.target_new, other.target_true, edit.target_true, edit.about)
    return replace(edit, target_new=next(answer for answer in answers if answer and answer != edit.target_new))


def go_on(editor: Editor, *steps: Step) -> Editor:
    """Apply the steps, and return the editor."""
    for step in steps:
        if len(step) == 1:
            editor.apply(step[0])
        else:
            editor.apply_many(step)
    return editor


def edits_of(run: Trajectory) -> list[Edit]:
    """Return the edits of both steps, the first step's first."""
    return [edit for step in two_steps(run) for edit in step]


def said_of(step: Step) -> str:
    """Return the first edit of a step in words, and how many others it has."""
    more = f" and {len(step) - 1} more in its batch" if len(step) > 1 else ""
    return f"{step[0].text!r} -> {step[0].target_new!r}{more}"
