"""What the references gave for a whole batch comes out of the harness's own trajectory as well."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import editors
from editgate.cache.digest import digest_tensors, digest_text
from editgate.cache.store import Store
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import SHIPPED, ModelSource
from editgate.inputs.unedited_model import LoadedModel, UneditedModel
from editgate.measure.trajectory import Trajectory
from editors import Editor
from editors.core.registry import built_in
from editors.core.typing import PreTrainedModel
from meta.golden.cases import CASES, MODELS, TOLERANCE, Case, Tape, contexts_of, edit_of, errors, load_model

BATCHES = [case for case in CASES if case.method and "-batch" in case.folder]


@dataclass(frozen=True)
class GoldenSpec(EditorSpec):
    """A method with the reference's contexts and covariances, whose intermediate tensors are recorded."""

    case: Case | None = None
    tape: Tape | None = None

    def create(self, model: PreTrainedModel, base: UneditedModel, **_resources: Any) -> Editor:  # noqa: ANN401 - not used
        """Return the editor, pinned to what the reference was given."""
        assert self.case is not None
        covariances = load_file(MODELS / f"stats-{self.case.model}.safetensors")
        given = {"contexts": contexts_of(self.name), "covariances": covariances, "record": self.tape}
        return editors.create(self.name, model, base.tokenizer, **given, **self.settings)


def _trajectory(case: Case, folder: Path) -> tuple[Trajectory, dict[str, Any]]:
    model, tokenizer = load_model(case.model)
    ((_, requests),) = next(steps for steps in case.runs() if steps[0][0] == "batch.")
    method, size = case.method or "", len(requests)
    fields = built_in(method).Hyperparameters.model_fields
    chosen = {name: value for name, value in case.hparams.items() if name in fields}
    spec = GoldenSpec(method, method, chosen, size, case=case, tape=Tape())
    source = ModelSource("golden", str(MODELS / case.model), SHIPPED, list, tuple, miniature=False)
    digest = digest_tensors(dict(model.named_parameters()))
    base = LoadedModel(source, model, tokenizer, digest, digest_text(case.model))
    edits = [edit_of(request) for request in requests]
    return Trajectory(spec, base, edits, (size,), Store(folder)), {"tape": spec.tape}


def test_there_is_a_batch() -> None:
    """The folder holds a batch of MEMIT, so that the test below is not empty."""
    assert "memit" in {case.method for case in BATCHES}


@pytest.mark.parametrize("case", BATCHES, ids=lambda case: case.name)
def test_a_trajectory_in_batches_equals_the_reference(case: Case, tmp_path: Path) -> None:
    """Checkpoint, probes and all intermediates after one whole batch are the reference's, to a relative 1e-4."""
    run, recorded = _trajectory(case, tmp_path)
    editor = run.editor_at(len(run.edits))
    wanted = {
        key.removeprefix("batch."): value for key, value in load_file(case.expected).items() if key.startswith("batch.")
    }
    found = errors(editor, dict(run.base.model.named_parameters()), wanted, recorded["tape"])
    assert wanted
    assert {key: error for key, error in found.items() if not error <= TOLERANCE} == {}
