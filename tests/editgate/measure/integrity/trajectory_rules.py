"""The rules that an editor must keep before any number of it means anything: seconds, on two edits and fresh copies.

Each has been broken by published code. A rule is a function that raises an IntegrityError.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file, save_file
from torch import Tensor

from editgate.cache.digest import digest_tensors
from editgate.errors import (
    BaselineModified,
    EditHadNoEffect,
    EditsDoNotAccumulate,
    NotDeterministic,
    StateLeaked,
    StateNotRestored,
)
from editgate.measure import weight_changes
from editgate.measure.integrity import TRAJECTORY_RULES
from editgate.measure.trajectory import Trajectory
from editors import Edit, Editor
from editors.core.weights import same_bits
from editors.external.adapter import REQUESTED
from editors.external.calls import seeded
from editors.memory.memory_model import MemoryModel


def edits_change_the_model(run: Trajectory) -> None:
    """Applying an edit changes something; a memory answers the very prompt that was edited.

    Raises:
        EditHadNoEffect: nothing differs from the base, or the memory is not consulted.
    """
    editor = run.fresh_editor()
    editor.apply(run.edits[0])
    if not _differs(editor, run):
        raise EditHadNoEffect(
            f"{run.name}: after the edit {_said(run.edits[0])} none of {_size(run)} tensors differs from the base. "
            "apply() may have restored the weights, or edited a copy that `editor.model` does not show; a function "
            "must return the model that it edited, not the base."
        )
    if isinstance(editor.model, MemoryModel) and editor.model.routes([tuple(_tokens(run)[0].tolist())]) == [None]:
        raise EditHadNoEffect(
            f"{run.name}: after the edit {_said(run.edits[0])} the memory does not answer the edited prompt itself: "
            "zero hits. Its radius or threshold is too small for this model."
        )


def edits_stay_finite(run: Trajectory) -> None:
    """After two edits weights and logits are finite.

    Raises:
        NonFiniteModel: names the tensors.
    """
    editor = _after(run, 0, 1)
    weight_changes.assert_finite(editor.model)
    message = f"{run.name}: logits on {run.edits[0].text!r} are NaN or infinite after two edits"
    weight_changes.assert_finite_logits(editor.model, _tokens(run), message)


def only_declared_tensors_change(run: Trajectory) -> None:
    """What differs from the base is what the editor's state holds, and nothing else.

    Raises:
        BaselineModified: a tensor changed that the state does not hold, or the unedited model itself changed.
    """
    editor, handed = run.fresh_editor_and_model()
    editor.apply(run.edits[0])
    if editor.model is not handed and weight_changes.changed_parameters(
        dict(run.base.model.named_parameters()), handed
    ):
        raise BaselineModified(
            f"{run.name}: the edited model is another object than the one handed over, and that one changed too. "
            "Edit the model in place, or leave it alone and return a copy."
        )
    held = {name.removeprefix("weight:") for name in editor.state()}
    strays = sorted(set(_differs(editor, run)) - held)
    if strays:
        raise BaselineModified(
            f"{run.name}: {strays[0]} (and {len(strays) - 1} more) changed, but state() holds only "
            f"{', '.join(sorted(held)) or 'nothing'}. Undo and checkpoints would lose that change."
        )
    if digest_tensors(dict(run.base.model.named_parameters())) != run.base.digest:
        raise BaselineModified(
            f"{run.name}: editing a copy changed the unedited model {run.base.source.name}. "
            "The editor reaches tensors that are not its own; it must write to the model it was given."
        )


def edits_accumulate(run: Trajectory) -> None:
    """After two edits the model is neither that of the first nor that of the second alone.

    Raises:
        EditsDoNotAccumulate: the second edit replaced the first, or left no trace.
    """
    both, first, last = (_digest(_after(run, *which)) for which in ((0, 1), (0,), (1,)))
    if both == last and last != first:
        raise EditsDoNotAccumulate(
            f"{run.name}: after two edits the model equals the base with the second edit alone; the first "
            f"({_said(run.edits[0])}) is gone. Only the last edit is kept."
        )
    if both == first and last != first:
        raise EditsDoNotAccumulate(
            f"{run.name}: the second edit ({_said(run.edits[1])}) left no trace after the first."
        )


def undo_gives_back_the_base(run: Trajectory) -> None:
    """Undo restores every tensor bit by bit, in the model that was handed over too.

    Raises:
        StateNotRestored: names the tensors that still differ.
    """
    editor, handed = run.fresh_editor_and_model()
    editor.apply(run.edits[0])
    editor.undo()
    base = dict(run.base.model.named_parameters())
    left = weight_changes.changed_parameters(base, handed) or _differs(editor, run)
    if left:
        raise StateNotRestored(
            f"{run.name}: after undo() {left[0]} (and {len(left) - 1} more) still differs from the base."
        )


def state_survives_saving(run: Trajectory) -> None:
    """A state written to safetensors and read into a fresh editor gives the same model, and goes on the same way.

    How it goes on is asked of foreign methods only; of the built-in ones the suite's own tests ask it.

    Raises:
        StateNotRestored: it does not.
    """
    editor = _after(run, 0)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        save_file({name: value.contiguous().clone() for name, value in editor.state().items()}, file)
        before = _digest(editor)
        without = "" if run.spec.built_in else _digest(_go_on(editor, run, 1))  # before another editor is made
        fresh = run.fresh_editor()
        fresh.restore(load_file(file))
    if _digest(fresh) != before:
        raise StateNotRestored(
            f"{run.name}: state() saved and restored in a fresh editor does not give the same model; "
            "something that matters is not in the state."
        )
    if without and _digest(_go_on(fresh, run, 1)) != without:
        raise StateNotRestored(
            f"{run.name}: after the first edit was saved and restored, the second ({_said(run.edits[1])}) gives other "
            "weights than without that. The object remembers something besides the model's tensors: set "
            "kind = 'wrapper' on the class, and its edits will be applied again instead."
        )


def trajectories_do_not_leak(run: Trajectory) -> None:
    """An edit gives the same bits before and after another trajectory ran in the same process.

    Raises:
        NotDeterministic: it does not, but would if the global random generators were seeded.
        StateLeaked: it does not: module globals, class attributes, or a generator of its own without a seed.
    """
    before = _digest(_after(run, 1))
    _after(run, 0)
    if _digest(_after(run, 1)) == before:
        return
    if _seeded_digest(run) == _seeded_digest(run):
        raise NotDeterministic(
            f"{run.name}: two runs of the edit {_said(run.edits[1])} with the same seed give different weights. "
            "Set the seed from `seed`: take an argument of that name and give it to every generator that is drawn from."
        )
    raise StateLeaked(
        f"{run.name}: the edit {_said(run.edits[1])} gives different weights after another trajectory ran. "
        "The method keeps something outside its instance (a module global, a class attribute), or draws "
        "random numbers without the seed."
    )


RULES: dict[str, Callable[[Trajectory], None]] = {name: globals()[name] for name in TRAJECTORY_RULES}


def _after(run: Trajectory, *which: int) -> Editor:
    return _go_on(run.fresh_editor(), run, *which)


def _go_on(editor: Editor, run: Trajectory, *which: int) -> Editor:
    for number in which:
        editor.apply(run.edits[number])
    return editor


def _seeded_digest(run: Trajectory) -> str:
    with seeded(run.seed):
        return _digest(_after(run, 1))


def _digest(editor: Editor) -> str:
    return digest_tensors(_tensors(editor.model) | _memory(editor))


def _memory(editor: Editor) -> dict[str, Tensor]:
    """What the editor carries besides weights; which edits were asked for says nothing where the weights speak."""
    silent = () if isinstance(editor.model, MemoryModel) else (REQUESTED,)
    return {name: value for name, value in editor.state().items() if not name.startswith(("weight:", *silent))}


def _tensors(model: object) -> dict[str, Tensor]:
    return dict(weight_changes.tensors(model))


def _differs(editor: Editor, run: Trajectory) -> list[str]:
    """Return what differs from the base: parameters of the model, and what a wrapper keeps besides."""
    now, base = _tensors(editor.model), _tensors(run.base.model)
    changed = [n for n in base if n not in now or not same_bits(base[n], now[n])]
    added = [name for name in editor.state() if name.startswith("weight:") and name.removeprefix("weight:") not in base]
    return changed + added + list(_memory(editor))


def _tokens(run: Trajectory) -> Tensor:
    ids: Tensor = run.base.tokenizer(run.edits[0].text, return_tensors="pt").input_ids
    return ids.to(run.base.model.device)


def _size(run: Trajectory) -> int:
    return len(_tensors(run.base.model))


def _said(edit: Edit) -> str:
    return f"{edit.text!r} -> {edit.target_new!r}"
