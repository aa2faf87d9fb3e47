"""What the rules compare edited models by: a digest of each, and what differs from the base.

Several rules compare the same few models: those that the first step, the second or both make of the unedited one. The
digest of each is kept with the trajectory, so that no rule applies for it what another has applied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor

from editgate.cache.digest import digest_tensors
from editgate.measure import weight_changes
from editgate.measure.integrity.spoken import Spoken, spoken
from editgate.measure.integrity.steps import Step, edits_of, go_on
from editgate.measure.trajectory import Trajectory
from editors import Editor
from editors.core.weights import same_bits
from editors.external.adapter import REQUESTED


def made(run: Trajectory, *steps: Step) -> str:
    """Return the digest of the model that these steps make of the unedited one; several rules ask for the same."""
    if _steps_key(steps) not in run.made:
        note(run, go_on(run.fresh_editor(), *steps), *steps)
    return run.made[_steps_key(steps)]


def note(run: Trajectory, editor: Editor, *steps: Step) -> str:
    """Keep for `made` what a new editor made of the unedited model with these steps; return its digest."""
    run.made[_steps_key(steps)] = digest = digest_of(editor, run)
    return digest


def digest_of(editor: Editor, run: Trajectory) -> str:
    """Return a digest of an edited model: of its tensors, of the memory beside them, of what a foreign one says.

    A tensor with the base's bits is left out: to compare is cheaper than to digest, and free where an editor's copy
    shares the base's memory.
    """
    said = {} if run.spec.built_in else said_by(run, editor.model)
    now, base = _tensors(editor.model), _tensors(run.base.model)
    changed = {name: value for name, value in now.items() if name not in base or not same_bits(base[name], value)}
    gone = {f"gone:{name}": torch.empty(0) for name in base.keys() - now.keys()}
    return digest_tensors(changed | gone | _memory(editor) | {f"said:{name}": at for name, at in said.items()})


def said_by(run: Trajectory, model: object) -> Spoken:
    """Return what a model says at the prompts of the rules' edits, and at unrelated ones."""
    return spoken(model, run.base, edits_of(run))


def differing_tensors(editor: Editor, run: Trajectory) -> list[str]:
    """Return what differs from the base: parameters of the model, and what a wrapper keeps besides."""
    now, base = _tensors(editor.model), _tensors(run.base.model)
    changed = [n for n in base if n not in now or not same_bits(base[n], now[n])]
    added = [name for name in editor.state() if name.startswith("weight:") and name.removeprefix("weight:") not in base]
    return changed + added + list(_memory(editor))


def _memory(editor: Editor) -> dict[str, Tensor]:
    """What an editor carries besides weights; which edits were asked for does not say what became of them."""
    return {name: value for name, value in editor.state().items() if not name.startswith(("weight:", REQUESTED))}


def _tensors(model: object) -> dict[str, Tensor]:
    return dict(weight_changes.tensors(model))


def _steps_key(steps: Sequence[Step]) -> str:
    return json.dumps([[edit.to_dict() for edit in step] for step in steps])
