"""The editors give the numbers of the authors' implementations, step by step.

Each folder below `EDITGATE_GOLDEN` (default: `golden/` beside this file) holds what a reference computed on a
tiny model: `<method>[-<variant>...]-<model>/expected.safetensors` with `hparams.json`, or a pair
`expected.<variant>.<reference>.safetensors`, `meta.<variant>.<reference>.json` with hyperparameters and
request inside. `models/` holds the models, requests, contexts, second moments and probes. Nothing here knows
a case: another folder of the same layout is tested the same way. The vectors shipped are the Llama ones (3 MB
hold one model).

A case is skipped, with the reason, if its method does not exist yet, or if the reference read another token
than the one its hyperparameters name. That is a known fault of the references: the official code tokenizes
prefix and subject apart, so with a BOS token it reads one token too far right; EasyEdit counts the space
before the subject as a token and reads one too far for `subject_first`; both read padding for `last`. The
editors read the token that is named.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from editors import Edit, create
from editors.core.registry import built_in
from editors.locate.base import LocateEditor
from editors.models.projection import Matrix
from editors.pmet import Pmet
from meta.golden.cases import (
    CASES,
    MODELS,
    ROOT,
    TOLERANCE,
    Case,
    Step,
    Tape,
    adapted,
    contexts_of,
    edit_of,
    errors,
    load_model,
    misread,
    projections_of,
    relative,
)


class EasyEditPmet(Pmet):
    """PMET whose answer follows the prompt directly, as in EasyEdit unless "gpt" occurs in the name of the model."""

    def target(self, edit: Edit) -> list[int]:
        """See `Pmet.target`."""
        ids: list[int] = self.tokenizer(edit.target_new, add_special_tokens=False)["input_ids"]
        return ids


LOCATE = [case for case in CASES if case.method and issubclass(built_in(case.method), LocateEditor)]


def test_there_is_a_case_of_each_method() -> None:
    """The folder holds vectors of ROME and MEMIT, so that the tests below are not empty."""
    assert {"rome", "memit"} <= {case.method for case in CASES}, f"no golden vectors below {ROOT}"


@pytest.fixture
def _shape_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores updates as the references do: transposed if the shape asks for it, so never where it is square.

    The editors go by the layer's type. The difference shows where PMET writes GPT-2's attention out-projection, a
    square Conv1D: there the references add the update's transpose by mistake.
    """
    stored = Matrix.stored

    def by_shape(self: Matrix, update: Tensor) -> Tensor:
        return update if update.shape[0] == update.shape[1] else stored(self, update)

    monkeypatch.setattr(Matrix, "stored", by_shape)


@pytest.mark.usefixtures("_shape_decides")
@pytest.mark.parametrize("case", LOCATE, ids=lambda case: case.name)
def test_editor_equals_reference(case: Case) -> None:
    """All intermediates and weights after each edit are the reference's, to a relative 1e-4 in float32 or `ROUNDED`."""
    if case.method is None:
        pytest.skip(f"no editor begins the name {case.folder!r}")
    reason = misread(case, AutoTokenizer.from_pretrained(MODELS / case.model))
    if reason:
        pytest.skip(reason)
    expected = load_file(case.expected)
    wrong: dict[str, float] = {}
    for run in case.runs():
        wrong |= _run(case, run, expected)
    assert not wrong, f"{len(wrong)} of {len(expected)} tensors differ; relative errors: {wrong}"


@pytest.mark.parametrize("case", [case for case in LOCATE if projections_of(case)], ids=lambda case: case.name)
def test_projections_equal_the_references(case: Case) -> None:
    """AlphaEdit's P, made of the second moments and the threshold, are those that the reference was given.

    The references decompose C in float32, which turns P by eps |C| / gap; one direction more or less in P would be
    an error of 1 / sqrt(rank).
    """
    editor = _editor(case, *load_model(case.model), Tape())
    moments, threshold = load_file(MODELS / f"stats-{case.model}.safetensors"), case.hparams["nullspace_threshold"]
    made = editor.prepared()
    for matrix, wanted in zip(editor.matrices, projections_of(case), strict=True):
        spectrum = torch.linalg.eigvalsh(moments[matrix.path].double())
        gap = float(spectrum[spectrum >= threshold][0] - spectrum[spectrum < threshold][-1])
        turned = torch.finfo(torch.float32).eps * float(spectrum[-1]) / gap
        error = relative(made[f"projection:{matrix.path}"], wanted)
        assert error <= max(TOLERANCE, min(turned, 0.5 / float(wanted.trace()) ** 0.5))


def _run(case: Case, steps: list[Step], expected: dict[str, Tensor]) -> dict[str, float]:
    """Errors above the tolerance in one trajectory from the unedited model."""
    model, tokenizer = load_model(case.model)
    tape = Tape()
    editor = _editor(case, model, tokenizer, tape)
    if projections := projections_of(case):
        paths = [matrix.path for matrix in editor.matrices]
        editor.load_prepared({f"projection:{path}": each for path, each in zip(paths, projections, strict=True)})
    base = {name: value.detach().clone() for name, value in model.named_parameters()}
    wrong: dict[str, float] = {}
    for prefix, requests in steps:
        tape.entries.clear()
        editor.apply_many([edit_of(request) for request in requests])
        wanted = {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}
        found = errors(editor, base, wanted, tape)
        wrong |= {prefix + key: error for key, error in found.items() if not error <= case.tolerance(prefix)}
    return wrong


def _editor(case: Case, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tape: Tape) -> LocateEditor:
    method = case.method or ""
    fields = built_in(method).Hyperparameters.model_fields
    hyperparameters = {name: value for name, value in case.hparams.items() if name in fields}
    covariances = load_file(MODELS / f"stats-{case.model}.safetensors")
    contexts = contexts_of(method)
    given = {"contexts": contexts, "covariances": covariances, "record": tape}
    spaced = case.reference == "official" or "gpt" in case.hparams.get("model_name", case.model).lower()
    spec = method if spaced or method != "pmet" else f"{__name__}:{EasyEditPmet.__name__}"
    editor = create(spec, model, tokenizer, **given, **hyperparameters, **adapted(case))
    assert isinstance(editor, LocateEditor)
    return editor
