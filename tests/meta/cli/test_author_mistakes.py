"""Each mistake of a method's author ends in a sentence that says what to fix, with their traceback and none of ours."""

from __future__ import annotations

import pytest

from meta.support.gate import run_gate

UNUSABLE = {
    "Method": "must be a class with apply(edit) or a function edit(model, tokenizer, edits).",
    "WrongApply": (
        "is called as apply(edit), but it is defined as apply(self, model: 'PreTrainedModel', edit: 'Edit') -> 'None': "
        "missing a required argument: 'edit'."
    ),
    "WrongConstructor": (
        "is called as WrongConstructor(model, tokenizer), but it is defined as "
        "WrongConstructor(model: 'PreTrainedModel') -> 'None': too many positional arguments."
    ),
    "wrong_function": (
        "is called as wrong_function(model, tokenizer, edits), but it is defined as "
        "wrong_function(model: 'PreTrainedModel', _edits: 'list[Edit]') -> 'PreTrainedModel': "
        "too many positional arguments."
    ),
    "needs_strength": "needs the hyperparameter strength, which is not given.",
}

RULES = {
    "returns_none": "edits_change_the_model",
    "returns_a_pair": "edits_change_the_model",
    "ReturnsACopy": "edits_change_the_model",
    "returns_the_base": "edits_change_the_model",
    "modifies_the_base": "only_declared_tensors_change",
    "draws_without_a_seed": "trajectories_do_not_leak",
    "Remembers": "state_survives_saving",
}
FIRST = "ForeignFailure: meta.support.broken_methods:{name}: edit 1 ('*' -> '*'): "
SENTENCES = {
    "returns_none": FIRST + "the function returned None; return the edited model, also if edited in place.",
    "returns_a_pair": FIRST + "the function returned a tuple; return the edited model and nothing else.",
    "ReturnsACopy": FIRST + "apply(edit) returned a model that is ignored; set self.model to it.",
    "returns_the_base": (
        "EditHadNoEffect: returns_the_base-llama-mini: after the edit '*' -> '*' none of * tensors differs from the "
        "base. apply() may have restored the weights, or edited a copy that `editor.model` does not show; a function "
        "must return the model that it edited, not the base."
    ),
    "modifies_the_base": (
        "BaselineModified: modifies_the_base-llama-mini: the edited model is another object than the one handed over, "
        "and that one changed too. Edit the model in place, or leave it alone and return a copy."
    ),
    "draws_without_a_seed": (
        "NotDeterministic: draws_without_a_seed-llama-mini: two runs of the edit '*' -> '*' with the same seed give "
        "different weights. Set the seed from `seed`: take an argument of that name and give it to every generator "
        "that is drawn from."
    ),
    "Remembers": (
        "StateNotRestored: remembers-llama-mini: after the first edit was saved and restored, the second ('*' -> '*') "
        "gives other weights than without that. The object remembers something besides the model's tensors: set "
        "kind = 'wrapper' on the class, and its edits will be applied again instead."
    ),
}


def run(pytester: pytest.Pytester, target: str, *options: str) -> pytest.RunResult:
    """Gate somebody else's method, from another directory."""
    return run_gate(pytester, f"--editor={target}", *options, files=("edit_quality", "integrity"))


def told(result: pytest.RunResult) -> str:
    """What a run that never began printed, on one line."""
    return " ".join(result.stderr.str().split())


@pytest.mark.parametrize("name", sorted(UNUSABLE))
def test_what_cannot_be_called_is_a_usage_error(name: str, pytester: pytest.Pytester) -> None:
    """What is no editor is refused before a model is loaded, with the signature that it should have."""
    result = run(pytester, f"meta.support.broken_methods:{name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"'meta.support.broken_methods:{name}' {UNUSABLE[name]}" in told(result)
    assert len(result.stderr.str().strip().splitlines()) <= 2


def test_a_module_that_raises_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """An exception while their module is imported is told with its text; a missing module with the way out."""
    pytester.makepyfile(theirs="raise ValueError('no weights here')")
    pytester.syspathinsert()
    wanted = "--editor 'theirs:It': 'theirs:It': importing 'theirs' raised ValueError: no weights here."
    assert wanted in told(run(pytester, "theirs:It"))
    wanted = "(No module named 'nowhere'); install its package (pip install -e DIR) or put the folder that holds it on"
    assert wanted in told(run(pytester, "nowhere:It"))


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_broken_promise_is_named(name: str, pytester: pytest.Pytester) -> None:
    """What the method does wrong fails a rule of integrity, in one sentence, without a line of ours."""
    result = run(pytester, f"meta.support.broken_methods:{name}", "--edit-counts=2", "-k", RULES[name])
    sentence = SENTENCES[name].format(name=name)
    raised = sentence.startswith("ForeignFailure")  # no rule could be checked: an error, with their traceback
    assert result.parseoutcomes()["errors" if raised else "failed"] == 1
    result.stdout.fnmatch_lines([f"E *.{sentence}" if raised else sentence])
    assert not [line for line in result.outlines if ".py:" in line and not line.startswith(("FAILED", "ERROR"))]


def test_an_exception_shows_their_code_alone(pytester: pytest.Pytester) -> None:
    """At edit 7 the message names number, text and target, and every frame is of the author's file."""
    result = run(pytester, "meta.support.broken_methods:RaisesAtSeven", "--edit-counts=7", "-k", "test_efficacy")
    assert result.parseoutcomes()["errors"] == 1
    sentence = "meta.support.broken_methods:RaisesAtSeven: edit 7 ('*' -> '*') raised KeyError: 'the seventh'"
    result.stdout.fnmatch_lines(["*KeyError: 'the seventh'", f"E *ForeignFailure: {sentence}"])
    frames = [line for line in result.outlines if ".py:" in line and not line.startswith("ERROR")]
    assert len(frames) == 2
    assert all("broken_methods.py:" in line for line in frames)


def test_what_a_method_says_does_nothing(pytester: pytest.Pytester) -> None:
    """Our sentence quotes the method's message with its escape sequence and its workflow command written out."""
    result = run(pytester, "meta.support.broken_methods:RaisesACommand", "--edit-counts=1", "-k", "test_efficacy")
    assert result.parseoutcomes()["errors"] == 1
    lines = result.outlines
    ours = lines[next(i for i, line in enumerate(lines) if "ForeignFailure" in line) :]
    assert not [line for line in ours if "\x1b[2J" in line or line.strip().startswith("::")]
    assert [line for line in ours if r"y\x1b[2J" in line]
