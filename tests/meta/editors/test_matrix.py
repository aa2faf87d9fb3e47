"""Every method that changes weights works on every architecture of the family."""

from __future__ import annotations

from pathlib import Path

import pytest

import editors
from editgate.cache.digest import digest_tensors
from editgate.cache.store import Store
from editgate.inputs import edit_lists, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import miniatures
from editgate.measure import edit_quality
from editgate.measure.trajectory import Trajectory
from editgate.miniature.recipes import FAMILY
from editgate.options.profiles import MODEL

COUNT = 3
METHODS = [name for name in editors.names() if editors.kind_of(name) == "weights"]
# One each, of several sizes the middle one; llama-mini has its gate, and fifty edits in test_single_edits.
MODELS = ("gpt2-mini", "mistral-mini", "pythia-mini-m")
CASES = [(model, method) for model in MODELS for method in METHODS]
SHORTER = {"mend": {"max_iters": 100}}  # enough for a network that edits most facts
DERIVED = {"rrome", "pmet", "alphaedit", "emmet", "encore", "simie"}  # by ROME's and MEMIT's parts
NEEDED = {"kn": 0}  # of the edits; it does not edit reliably anywhere, but what it changes must go away again


# Ids without a method's name: `pytest -k memit` is the gate.
@pytest.mark.parametrize(("model", "method"), CASES, ids=[f"method-{place}" for place in range(len(CASES))])
def test_one_edit_takes_and_is_undone(model: str, method: str, store: Path, request: pytest.FixtureRequest) -> None:
    """Two of three single edits take, each changes weights, and undoing one leaves not a bit of it."""
    if method in {*SHORTER, *DERIVED} and request.config.option.profile != "nightly":
        pytest.skip(f"{method} on {model} is asked under --profile=nightly")
    base = models.load(models.find(model), device="cpu", dtype="float32")
    edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])[:COUNT]
    run = Trajectory(EditorSpec(method, method, SHORTER.get(method, {})), base, edits, [COUNT], Store(store))
    before = digest_tensors(dict(run.editor.model.named_parameters()))
    took = []
    for edit in edits:
        run.editor.apply(edit)
        assert digest_tensors(dict(run.editor.model.named_parameters())) != before
        (found,) = edit_quality.measure(run.editor.model, base.tokenizer, [edit], run._base_answers)
        took.append(found.efficacy)
        run.editor.undo()
        assert digest_tensors(dict(run.editor.model.named_parameters())) == before
    assert sum(took) >= NEEDED.get(method, 2), (model, method, took)


def test_no_architecture_of_the_family_is_left_out() -> None:
    """The models of the matrix and llama-mini are of all architectures that are shipped."""
    assert {FAMILY[name].architecture for name in miniatures()} == {
        FAMILY[name].architecture for name in (*MODELS, MODEL)
    }
