"""Every rule of integrity can fail for every kind of editor, and none fails for an honest one.

The rules are asked directly, on a tiny model; `test_controls.py` asks the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editgate import errors
from editgate.cache.digest import digest_tensors
from editgate.controls import wrappers
from editgate.errors import BaselineModified, EditHadNoEffect, IntegrityError
from editgate.estimate.work import EDITS_A_RULE
from editgate.inference.backend import Model
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure import integrity
from editgate.measure.integrity.compared import digest_of
from editgate.measure.integrity.spoken import spoken
from editgate.measure.integrity.trajectory_rules import RULES
from editgate.measure.items import Evaluation, Item
from editgate.measure.trajectory import Trajectory
from editors import Edit, Editor, kind_of
from meta.support.skips_known import KNOWN
from meta.support.tiny_runs import trajectory

WRITES_WEIGHTS = {
    "NoOp": {"edits_change_the_model": ("EditHadNoEffect", "none of 32 tensors differs from the base")},
    "Broken": {"edits_stay_finite": ("NonFiniteModel", "NaN or infinite weights in 1 tensors")},
    "changes_base": {"only_declared_tensors_change": ("BaselineModified", "another object than the one handed over")},
    "KeepsLast": {"edits_accumulate": ("EditsDoNotAccumulate", "Only the last edit is kept")},
    "KeepsLastOfBatch": {"a_batch_holds_all_its_edits": ("EditsDoNotAccumulate", "A batch must apply all its edits")},
    "Leaks": {"trajectories_do_not_leak": ("StateLeaked", "after another trajectory ran")},
    "ForgetsWhenSaved": {
        "state_survives_saving": ("StateNotRestored", "something that matters is not in the state"),
        "undo_gives_back_the_base": ("StateNotRestored", "such as a hook or a replaced forward"),
        integrity.ZERO_EDITS: ("BaselineNotReproduced", "with zero edits 1 of 1 items differ"),
    },
    "FlipsPadding": {"the_tokenizer_stays_as_it_is": ("BaselineModified", "padding_side 'left' instead of 'right'")},
}
WRAPS = {  # control: the rules that it breaks, with the error and a part of the sentence
    "NoOpWrapper": {"edits_change_the_model": ("EditHadNoEffect", "bit by bit as the unedited model does")},
    "BrokenWrapper": {"edits_stay_finite": ("NonFiniteModel", "NaN or infinite after two edits")},
    "RemembersLast": {"edits_accumulate": ("EditsDoNotAccumulate", "Only the last edit is kept")},
    "RemembersLastOfBatch": {
        "a_batch_holds_all_its_edits": ("EditsDoNotAccumulate", "A batch must apply all its edits")
    },
    "AnswersFromGlobal": {
        "trajectories_do_not_leak": ("StateLeaked", "once another editor, on another copy of the base, has edited"),
    },
    "SkipsRepeats": {
        "state_survives_saving": ("StateNotRestored", "something that matters is not in the state"),
        "trajectories_do_not_leak": ("StateLeaked", "after another trajectory ran"),
        "undo_gives_back_the_base": ("StateNotRestored", "gives another model than a new editor does"),
    },
    "Undecided": {"trajectories_do_not_leak": ("NotDeterministic", "asked twice the same, the edited model")},
    "PatchesItsClass": {
        "only_declared_tensors_change": ("BaselineModified", "changed what the unedited model tiny says at"),
        integrity.ZERO_EDITS: ("BaselineNotReproduced", "with zero edits 1 of 1 items differ"),
    },
    "AddsToken": {"the_tokenizer_stays_as_it_is": ("BaselineModified", "has 1 more tokens, first 'Velidor'")},
}
CAUGHT = WRITES_WEIGHTS | WRAPS
OWN_RULES = (*RULES, integrity.ZERO_EDITS)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trajectory]:
    """A trajectory of the honest wrapper; the places that controls share are as new."""
    honest = trajectory(tmp_path, "editgate.controls:Memory")
    kind = type(honest.base.model)
    monkeypatch.setattr(kind, "forward", kind.forward)  # put back if a control replaces it
    _clear()
    yield honest
    _clear()


def _clear() -> None:
    for shared in (wrappers.SHARED, wrappers.KNOWN, wrappers.PATCHED):
        shared.clear()


def of(run: Trajectory, control: str) -> Trajectory:
    """The same of another control."""
    return replace(run, spec=EditorSpec(control.lower(), f"editgate.controls:{control}"))


def in_batches(run: Trajectory) -> Trajectory:
    """The same in batches of three."""
    return replace(run, spec=replace(run.spec, batch_size=3))


def evaluate(run: Trajectory, model: Model) -> Evaluation:
    """An evaluation of one item, which tells any two models apart."""
    said = digest_tensors(spoken(model, run.base, run.edits[:1]))
    return Evaluation("toxigen", "acc", 0.5, (Item("task", "document", "prompt", 1.0, said, "", "question"),))


def broken(run: Trajectory, rule: str) -> IntegrityError | None:
    """What the rule raises."""
    try:
        if rule == integrity.ZERO_EDITS:
            before = evaluate(run, run.base.model)
            integrity.zero_edits_reproduce_the_baseline(run, lambda: before, lambda model: evaluate(run, model))
        else:
            RULES[rule](run)
    except IntegrityError as error:
        return error
    return None


@pytest.mark.parametrize(("control", "rule"), [(name, rule) for name, rules in CAUGHT.items() for rule in rules])
def test_a_control_is_caught_for_its_own_reason(run: Trajectory, control: str, rule: str) -> None:
    """What the control does wrong breaks this rule, and the sentence says what was seen."""
    kind, sentence = CAUGHT[control][rule]
    found = broken(of(run, control), rule)
    assert type(found) is getattr(errors, kind)
    assert sentence in str(found)


@pytest.mark.parametrize("rule", OWN_RULES)
def test_an_honest_wrapper_keeps_every_rule(run: Trajectory, rule: str) -> None:
    """No rule is broken by a wrapper that only remembers."""
    assert broken(run, rule) is None


@pytest.mark.parametrize(
    ("control", "rule"),
    [(name, rule) for name, rules in CAUGHT.items() for rule in rules if rule != "a_batch_holds_all_its_edits"],
)
def test_a_control_is_caught_in_batches_too(run: Trajectory, control: str, rule: str) -> None:
    """In batches every rule applies two edits at once, and what breaks it is seen all the same."""
    assert broken(in_batches(of(run, control)), rule) is not None


@pytest.mark.parametrize("rule", OWN_RULES)
def test_an_honest_wrapper_keeps_every_rule_in_batches(run: Trajectory, rule: str) -> None:
    """Nor is a rule broken by batches: a wrapper that only remembers keeps them all, with as few edits as one."""
    assert broken(in_batches(run), rule) is None
    assert broken(replace(in_batches(run), edits=run.edits[:1], counts=(1,)), rule) is None


@pytest.mark.parametrize("rule", OWN_RULES)
@pytest.mark.parametrize(("kind", "controls"), [("weights", WRITES_WEIGHTS), ("wrapper", WRAPS)])
def test_no_rule_is_a_wrong_green(kind: str, controls: dict[str, dict[str, object]], rule: str) -> None:
    """Each rule is broken by some control of each kind."""
    assert all(kind_of(f"editgate.controls:{name}") == kind for name in controls)
    assert any(rule in rules for rules in controls.values())


def test_a_global_is_found_after_all_other_rules_ran(run: Trajectory) -> None:
    """Once a shared table holds every edit of the run, it no longer grows; the leak is seen all the same."""
    leaking = of(run, "AnswersFromGlobal")
    for rule in RULES:
        if rule != "trajectories_do_not_leak":
            broken(leaking, rule)
    assert "another copy of the base" in str(broken(leaking, "trajectories_do_not_leak"))


@pytest.mark.parametrize("control", ["KeepsLast", "RemembersLast"])
def test_a_lost_edit_is_seen_in_what_other_rules_made(run: Trajectory, control: str) -> None:
    """The rule on accumulating applies nothing that another rule has applied, and finds the same."""
    losing = of(run, control)
    for rule in set(integrity.rules_of(losing.spec)) - {"edits_accumulate", integrity.ZERO_EDITS}:
        broken(losing, rule)
    made = dict(losing.made)
    assert "Only the last edit is kept" in str(broken(losing, "edits_accumulate"))
    assert losing.made == made | {"[]": losing.made["[]"]}


def test_a_digest_tells_what_differs_from_the_base(tmp_path: Path) -> None:
    """One number more in one tensor, or a tensor that is gone, is another model; a copy of the base is the same."""
    run = trajectory(tmp_path, "ftl", layers=[1], norm_constraint=1e-3)
    same, more, less = (run.fresh_editor() for _ in range(3))
    changed = next(iter(more.model.parameters()))
    changed.data = changed.data.clone()
    changed.data[0, 0] += 1
    module = next(module for module in less.model.modules() if "weight" in module._parameters)
    del module._parameters["weight"]
    assert digest_of(same, run) == digest_of(run.fresh_editor(), run)
    assert len({digest_of(editor, run) for editor in (same, more, less)}) == 3


@pytest.mark.parametrize(
    ("method", "settings", "more"),
    [("ftl", {"layers": [1], "norm_constraint": 1e-3}, 1), ("editgate.controls:Memory", {}, -2)],
)
def test_the_rules_apply_about_as_many_edits_as_the_estimate_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, settings: dict[str, object], more: int
) -> None:
    """All rules apply one edit more than a run is told before it begins; those of a foreign method two less."""
    applied: list[Edit] = []
    apply = Editor._apply

    def counted(editor: Editor, edits: Sequence[Edit]) -> None:
        applied.extend(edits)
        apply(editor, edits)

    monkeypatch.setattr(Editor, "_apply", counted)
    run = trajectory(tmp_path, method, **settings)
    rules = integrity.rules_of(run.spec)
    assert [broken(run, rule) for rule in rules] == [None] * len(rules)
    assert len(applied) == EDITS_A_RULE[run.spec.built_in] * len(rules) + more


@pytest.mark.parametrize("rule", OWN_RULES)
def test_one_edit_is_enough_for_every_rule(run: Trajectory, rule: str) -> None:
    """A file of a single edit can be judged: rules that need a second edit make one up."""
    assert broken(replace(run, edits=run.edits[:1], counts=(1,)), rule) is None
    assert broken(replace(of(run, "Vandal"), edits=run.edits[:1], counts=(1,)), rule) is None


def test_two_edits_of_one_prompt_are_no_loss(run: Trajectory) -> None:
    """A memory that is told twice what a prompt means may keep the second alone: another edit is asked instead."""
    again = replace(run.edits[0], target_new="Dorvik")
    assert broken(replace(run, edits=(run.edits[0], again, run.edits[1])), "edits_accumulate") is None


@pytest.mark.parametrize("known", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("rule", RULES)
def test_an_edit_that_the_model_knows_already_breaks_no_rule(run: Trajectory, rule: str, known: tuple[int]) -> None:
    """A method that takes no step for it has neither done nothing nor lost anything: another answer is asked for."""
    edits = [replace(edit, target_new=KNOWN) if n in known else edit for n, edit in enumerate(run.edits)]
    skips = replace(run, spec=EditorSpec("skips", "meta.support.skips_known:SkipsKnown"), edits=edits)
    assert broken(skips, rule) is None


def test_a_padding_token_may_be_named_where_there_is_none(run: Trajectory) -> None:
    """Naming one is what nearly every method does to a tokenizer without; renaming one is not allowed."""
    rule = RULES["the_tokenizer_stays_as_it_is"]
    run.base.tokenizer.pad_token = "<s>"  # noqa: S105 - no password
    with pytest.raises(BaselineModified, match="special_tokens_map"):
        rule(run)
    run.base.tokenizer.pad_token = None
    run.base.tokenizer.save_pretrained(run.base.source.location)
    run.base.tokenizer.pad_token = "<s>"  # noqa: S105 - no password
    rule(run)


def test_padding_a_batch_leaves_the_tokenizer_as_it_is(run: Trajectory) -> None:
    """What a fast tokenizer keeps of its last call is no change of it."""
    run.base.tokenizer(["a river", "a"], padding=True, truncation=True, max_length=4)
    RULES["the_tokenizer_stays_as_it_is"](run)


def test_a_hook_that_answers_is_an_effect(run: Trajectory) -> None:
    """A method that changes no tensor but what the model says has not done nothing."""
    assert broken(of(run, "ForgetsWhenSaved"), "edits_change_the_model") is None
    assert isinstance(broken(of(run, "NoOp"), "edits_change_the_model"), EditHadNoEffect)


def test_a_device_that_does_not_repeat_itself_is_told(run: Trajectory) -> None:
    """Where the unedited model itself wavers, no rule blames the method for it, and the one on leaks says why."""
    run.base.model.register_forward_hook(_wavering())
    assert broken(run, "only_declared_tensors_change") is None
    assert "the unedited model gives different logits on this device" in str(broken(run, "trajectories_do_not_leak"))


def _wavering() -> Callable[..., Any]:
    generator = torch.Generator().manual_seed(0)

    def hook(_module: object, _args: object, said: Any) -> Any:  # noqa: ANN401 - of the model's type
        said.logits = said.logits + 1e-6 * torch.randn(1, generator=generator)
        return said

    return hook
