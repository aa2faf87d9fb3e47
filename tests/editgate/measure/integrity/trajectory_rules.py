"""The rules that an editor must keep before any number of it means anything: seconds, on two edits and fresh copies.

In a run of batches each of the two is a batch of two edits: enough for the code that a batch takes, and still seconds.
Each has been broken by published code. A rule is a function that raises an IntegrityError. Every rule can fail for
every kind of editor: where there are no tensors to compare, it compares what the model says (`spoken`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file, save_file

from editgate.cache.digest import digest_tensors
from editgate.errors import (
    BaselineModified,
    EditHadNoEffect,
    EditsDoNotAccumulate,
    NonFiniteModel,
    NotDeterministic,
    StateLeaked,
    StateNotRestored,
)
from editgate.measure import weight_changes
from editgate.measure.integrity.compared import differing_tensors, digest_of, made, note, said_by
from editgate.measure.integrity.shared_tokenizer import the_tokenizer_stays_as_it_is
from editgate.measure.integrity.spoken import Spoken, differing, is_opaque, spoken_unedited
from editgate.measure.integrity.steps import Step, contrary, edits_of, go_on, said_of, two_steps
from editgate.measure.trajectory import Trajectory
from editors import Editor
from editors.core import placement
from editors.external.calls import generator_states, seeded
from editors.memory.memory_model import MemoryModel


def edits_change_the_model(run: Trajectory) -> None:
    """Applying an edit changes something; a memory answers the very prompt that was edited.

    An edit that the model already knows may change nothing: then the same question with another answer must.

    Raises:
        EditHadNoEffect: nothing differs from the base, or the memory is not consulted.
    """
    first, second = two_steps(run)
    editor = go_on(run.fresh_editor(), first)
    if not is_opaque(editor) and not differing_tensors(editor, run):
        first = contrary(first, second)
        editor = go_on(run.fresh_editor(), first)
    moved = [] if run.spec.built_in else _moved(run, editor)
    if is_opaque(editor):
        if not any(prompt.endswith(edit.text) for prompt in moved for edit in first):
            raise EditHadNoEffect(
                f"{run.name}: after the edit {said_of(first)} the wrapper answers the edited prompt bit by bit as the "
                "unedited model does. Its memory is empty, is not consulted, or its radius or threshold is too small."
            )
        return
    if not differing_tensors(editor, run) and not moved:
        raise EditHadNoEffect(
            f"{run.name}: after the edit {said_of(first)} none of {_size(run)} tensors differs from the base. "
            "apply() may have restored the weights, or edited a copy that `editor.model` does not show; a function "
            "must return the model that it edited, not the base."
        )
    if isinstance(editor.model, MemoryModel) and None in editor.model.routes(_tokens(run, first)):
        raise EditHadNoEffect(
            f"{run.name}: after the edit {said_of(first)} the memory does not answer the edited prompt itself: "
            "zero hits. Its radius or threshold is too small for this model."
        )


def edits_stay_finite(run: Trajectory) -> None:
    """After two edits weights and logits are finite.

    Raises:
        NonFiniteModel: names the tensors.
    """
    steps = two_steps(run)
    editor = go_on(run.fresh_editor(), *steps)
    weight_changes.assert_finite(editor.model)
    broken = [prompt for prompt, said in said_by(run, editor.model).items() if not bool(said.isfinite().all())]
    if broken:
        raise NonFiniteModel(f"{run.name}: logits on {broken[0]!r} are NaN or infinite after two edits.")
    note(run, editor, *steps)


def only_declared_tensors_change(run: Trajectory) -> None:
    """What differs from the base is what the editor's state holds, and nothing else; the base says what it said.

    Raises:
        BaselineModified: a tensor changed that the state does not hold, or the unedited model itself changed.
    """
    before = said_by(run, run.base.model)
    editor, handed = run.fresh_editor_and_model()
    go_on(editor, two_steps(run)[0])
    if editor.model is not handed and weight_changes.changed_parameters(placement.values(run.base.model), handed):
        raise BaselineModified(
            f"{run.name}: the edited model is another object than the one handed over, and that one changed too. "
            "Edit the model in place, or leave it alone and return a copy."
        )
    held = {name.removeprefix("weight:") for name in editor.state()}
    strays = sorted(set(differing_tensors(editor, run)) - held)
    if strays:
        raise BaselineModified(
            f"{run.name}: {strays[0]} (and {len(strays) - 1} more) changed, but state() holds only "
            f"{', '.join(sorted(held)) or 'nothing'}. Undo and checkpoints would lose that change."
        )
    if digest_tensors(placement.values(run.base.model)) != run.base.identity["model"]:
        raise BaselineModified(
            f"{run.name}: editing a copy changed the unedited model {run.base.source.name}. "
            "The editor reaches tensors that are not its own; it must write to the model it was given."
        )
    now = said_by(run, run.base.model)
    moved = differing(before, now)
    if moved and not differing(now, said_by(run, run.base.model)):  # a device that does not repeat itself says nothing
        raise BaselineModified(
            f"{run.name}: editing a copy changed what the unedited model {run.base.source.name} says at {moved[0]!r}, "
            "though none of its tensors. The editor patches a class or function that all models share; it must patch "
            "the one object that it was given."
        )


def trajectories_do_not_leak(run: Trajectory) -> None:
    """An edit gives the same bits before and after another editor edits in the same process, and while it does.

    The other editor contradicts the edit, so that it shows who answers from a place that both share.

    Raises:
        NotDeterministic: it does not, but would if the global random generators were seeded; or the same model gives
            two answers to one prompt.
        StateLeaked: it does not: module globals, class attributes, or a generator of its own without a seed.
    """
    first, edit = two_steps(run)
    here = go_on(run.fresh_editor(), edit)
    before, said = note(run, here, edit), said_by(run, here.model)
    _check_steady(run, said, here.model)
    go_on(run.fresh_editor(), contrary(edit, first))
    moved = [] if run.spec.built_in else differing(said, said_by(run, here.model))
    if moved:
        raise StateLeaked(
            f"{run.name}: after the edit {said_of(edit)} the model says something else at {moved[0]!r} once another "
            "editor, on another copy of the base, has edited. It answers from something that both share (a module "
            "global, a class attribute); keep it on the instance."
        )
    del here
    generators = generator_states()
    if digest_of(go_on(run.fresh_editor(), edit), run) == before:
        return
    if generator_states() != generators and _seeded_digest(run, edit) == _seeded_digest(run, edit):
        raise NotDeterministic(
            f"{run.name}: two runs of the edit {said_of(edit)} with the same seed give different weights. "
            "Set the seed from `seed`: take an argument of that name and give it to every generator that is drawn from."
        )
    raise StateLeaked(
        f"{run.name}: the edit {said_of(edit)} gives different weights after another trajectory ran. "
        "The method keeps something outside its instance (a module global, a class attribute), or draws "
        "random numbers without the seed."
    )


def undo_gives_back_the_base(run: Trajectory) -> None:
    """Undo restores every tensor bit by bit, in the model that was handed over too.

    Somebody else's editor must then say what the base says, and go on as a new one does.

    Raises:
        StateNotRestored: names the tensors that still differ, or the prompts.
    """
    first, second = two_steps(run)
    editor, handed = run.fresh_editor_and_model()
    go_on(editor, first).undo()
    base = placement.values(run.base.model)
    left = weight_changes.changed_parameters(base, handed) or differing_tensors(editor, run)
    if left:
        raise StateNotRestored(
            f"{run.name}: after undo() {left[0]} (and {len(left) - 1} more) still differs from the base."
        )
    if run.spec.built_in:
        return
    if moved := _moved(run, editor):
        raise StateNotRestored(
            f"{run.name}: after undo() the model says something else than the base at {moved[0]!r}. Something besides "
            "its tensors is left of the edit, such as a hook or a replaced forward: set kind = 'wrapper' on the class "
            "or function, and it gets a copy that is thrown away instead."
        )
    again = digest_of(go_on(editor, second), run)
    if again != digest_of(go_on(run.fresh_editor(), second), run):
        raise StateNotRestored(
            f"{run.name}: after undo() the edit {said_of(second)} gives another model than a new editor does. "
            "Something of the edit before is left outside the object: a module global or a class attribute."
        )


def state_survives_saving(run: Trajectory) -> None:
    """A state written to safetensors and read into a fresh editor gives the same model, and goes on the same way.

    How it goes on is asked of foreign methods only; of the built-in ones the suite's own tests ask it.

    Raises:
        StateNotRestored: it does not.
    """
    first, second = two_steps(run)
    editor = go_on(run.fresh_editor(), first)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        save_file({name: value.contiguous().clone() for name, value in editor.state().items()}, file)
        before = note(run, editor, first)
        without = "" if run.spec.built_in else digest_of(go_on(editor, second), run)  # before another editor is made
        fresh = run.fresh_editor()
        fresh.restore(load_file(file))
    if digest_of(fresh, run) != before:
        raise StateNotRestored(
            f"{run.name}: state() saved and restored in a fresh editor does not give the same model; "
            "something that matters is not in the state."
        )
    if without and digest_of(go_on(fresh, second), run) != without:
        raise StateNotRestored(
            f"{run.name}: after the first edit was saved and restored, the second ({said_of(second)}) gives other "
            "weights than without that. The object remembers something besides the model's tensors: set "
            "kind = 'wrapper' on the class, and its edits will be applied again instead."
        )


def edits_accumulate(run: Trajectory) -> None:
    """After two edits the model is neither that of the first nor that of the second alone.

    Raises:
        EditsDoNotAccumulate: the second edit replaced the first, or left no trace.
    """
    first, second = two_steps(run)
    (first, alone), (second, last) = _effective(run, first, second)
    both = made(run, first, second)
    if both == last and last != alone:
        raise EditsDoNotAccumulate(
            f"{run.name}: after two edits the model equals the base with the second edit alone; the first "
            f"({said_of(first)}) is gone. Only the last edit is kept."
        )
    if both == alone and last != alone:
        raise EditsDoNotAccumulate(f"{run.name}: the second edit ({said_of(second)}) left no trace after the first.")


def a_batch_holds_all_its_edits(run: Trajectory) -> None:
    """After a batch of two edits the model is neither that of the first nor that of the second alone.

    Raises:
        EditsDoNotAccumulate: one of them left no trace.
    """
    first, second = edits_of(run)[:2]
    (one, of_one), (other, of_other) = _effective(run, (first,), (second,))
    both = made(run, (*one, *other))
    if of_one != of_other and both in {of_one, of_other}:
        lost, kept = (one, other) if both == of_other else (other, one)
        raise EditsDoNotAccumulate(
            f"{run.name}: after a batch of two edits the model equals the base with one of them alone "
            f"({said_of(kept)}); the other ({said_of(lost)}) is gone. A batch must apply all its edits."
        )


RULES: dict[str, Callable[[Trajectory], None]] = {
    rule.__name__: rule
    for rule in (
        edits_change_the_model,
        edits_stay_finite,
        only_declared_tensors_change,
        trajectories_do_not_leak,
        undo_gives_back_the_base,
        state_survives_saving,
        edits_accumulate,
        a_batch_holds_all_its_edits,
        the_tokenizer_stays_as_it_is,
    )
}


def _effective(run: Trajectory, first: Step, second: Step) -> list[tuple[Step, str]]:
    """The two steps, each with the digest of the model that it alone gives.

    Where that is the unedited model's, perhaps it knows the answers already: then the contrary is asked for.
    """
    if made(run, first) == made(run):
        first = contrary(first, second)
    if made(run, second) == made(run):
        second = contrary(second, first)
    return [(first, made(run, first)), (second, made(run, second))]


def _check_steady(run: Trajectory, said: Spoken, model: object) -> None:
    """Pass if a foreign model says the same again; nothing that it says could be compared otherwise.

    Raises:
        NotDeterministic: it does not; says so too where the device does not repeat itself.
    """
    if run.spec.built_in or not differing(said, said_by(run, model)):
        return
    base = said_by(run, run.base.model)
    if differing(base, said_by(run, run.base.model)):
        raise NotDeterministic(
            f"{run.name}: asked twice the same, the unedited model gives different logits on this device, so that the "
            "rules cannot be checked by what a model says. Set torch.use_deterministic_algorithms, or --device=cpu."
        )
    raise NotDeterministic(
        f"{run.name}: asked twice the same, the edited model gives different logits. Its forward pass draws random "
        "numbers, or counts its calls: switch dropout and sampling off."
    )


def _seeded_digest(run: Trajectory, step: Step) -> str:
    with seeded(run.seed):
        return digest_of(go_on(run.fresh_editor(), step), run)


def _moved(run: Trajectory, editor: Editor) -> list[str]:
    """The prompts at which the editor's model says something else than the base."""
    return differing(spoken_unedited(run.base, editor, edits_of(run)), said_by(run, editor.model))


def _tokens(run: Trajectory, step: Step) -> list[tuple[int, ...]]:
    return [tuple(run.base.tokenizer(edit.text).input_ids) for edit in step]


def _size(run: Trajectory) -> int:
    return sum(1 for _ in weight_changes.tensors(run.base.model))
