"""Single edits from the unedited miniature: the methods work, so that what they cost is worth asking.

Under `--profile=nightly` only: the gate holds every method's edits to a floor in each run anyway, along a trajectory.
"""

from __future__ import annotations

import pytest

import editors
from editors import Editor
from tests.harness import editsets, models, profiles, quality
from tests.harness.editor_specs import EditorSpec
from tests.harness.models import LoadedModel
from tests.harness.store import Store
from tests.harness.trajectory import Trajectory

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
    edits = editsets.read(editsets.SHIPPED["counterfact"])[:COUNT]
    store = Store(request.config.option.store or request.config.rootpath / ".editgate")
    run = Trajectory(EditorSpec(name, name), base, edits, [COUNT], store)
    rows = [_single(run.editor, edit, run) for edit in edits]
    shares = {kind: quality.share(kind, rows) or 0.0 for kind in quality.KINDS}
    print(f"\n{name}: " + ", ".join(f"{kind} {share:.2f}" for kind, share in shares.items()))
    floors = FLOORS.get(name, SHOULD)
    assert all(shares[kind] >= floors[kind] for kind in quality.KINDS), (name, shares)


def _single(editor: Editor, edit: editors.Edit, run: Trajectory) -> quality.EditQuality:
    editor.apply(edit)
    (row,) = quality.measure(editor.model, run.base.tokenizer, [edit], run._base_answers)
    editor.undo()
    return row
