"""Single edits from the unedited miniature: the methods work, so that what they cost is worth asking.

Under `--profile=nightly` only: the gate holds every method's edits to a floor in each run anyway, along a trajectory.
"""

from __future__ import annotations

import pytest

import editors
from editgate.cache.store import Store
from editgate.inputs import edit_lists, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure import edit_quality
from editgate.measure.trajectory import Trajectory
from editgate.options import profiles
from editors import Editor

COUNT = 50
SHOULD = {"efficacy": 0.90, "paraphrase": 0.0, "locality": 0.0}
FLOORS = {
    "memit": {"efficacy": 0.95, "paraphrase": 0.70, "locality": 0.80},
    "rome": {"efficacy": 0.95, "paraphrase": 0.70, "locality": 0.80},
    "kn": {"efficacy": 0.0, "paraphrase": 0.0, "locality": 0.0},  # it does not edit reliably; what it reaches is told
}


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return models.load(models.find(profiles.MODEL), device="cpu", dtype="float32")


# Without the editor's name in its id: `pytest -k memit` is the gate, and this takes longer than its share of the time.
@pytest.mark.parametrize("name", editors.names(), ids=lambda name: f"method-{editors.names().index(name)}")
def test_single_edits_take(name: str, base: LoadedModel, request: pytest.FixtureRequest) -> None:
    """By free generation with natural stop, efficacy, paraphrase and locality reach the method's floors."""
    if request.config.option.profile != "nightly":
        pytest.skip(f"{name}'s {COUNT} single edits are asked under --profile=nightly")
    edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])[:COUNT]
    store = Store(request.config.option.store or request.config.rootpath / ".editgate")
    run = Trajectory(EditorSpec(name, name), base, edits, [COUNT], store)
    rows = [_single(run.editor, edit, run) for edit in edits]
    shares = {kind: edit_quality.share(kind, rows) or 0.0 for kind in edit_quality.KINDS}
    print(f"\n{name}: " + ", ".join(f"{kind} {share:.2f}" for kind, share in shares.items()))
    floors = FLOORS.get(name, SHOULD)
    assert all(shares[kind] >= floors[kind] for kind in edit_quality.KINDS), (name, shares)


def _single(editor: Editor, edit: editors.Edit, run: Trajectory) -> edit_quality.EditQuality:
    editor.apply(edit)
    (row,) = edit_quality.measure(editor.model, run.base.tokenizer, [edit], run._base_answers)
    editor.undo()
    return row
