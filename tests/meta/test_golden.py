"""The editors give the numbers of the authors' implementations, step by step.

Each folder below `EDITGATE_GOLDEN` (default: `golden/` beside this file) holds what a reference computed on a
tiny model: `<method>[-<variant>...]-<model>/expected.safetensors` with `hparams.json`, or a pair
`expected.<variant>.<reference>.safetensors`, `meta.<variant>.<reference>.json` with hyperparameters and
request inside. `models/` holds the models, requests, contexts, second moments and probes. Nothing here knows
a case: another folder of the same layout is tested the same way. The vectors shipped are the Llama ones (3 MB
hold one model).

A case is skipped, with the reason, if its method does not exist yet, or if the reference read another token
than the one its hyperparameters name. That is a known fault of the references: the official code tokenises
prefix and subject apart, so with a BOS token it reads one token too far right; EasyEdit counts the space
before the subject as a token and reads one too far for `subject_first`; both read padding for `last`. The
editors read the token that is named.
"""

from __future__ import annotations

import pytest
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from editors import Editor, create
from editors.parts.locate import LocateEditor
from editors.parts.registry import built_in
from tests.meta.golden_cases import (
    CASES,
    MODELS,
    ROOT,
    TOLERANCE,
    Case,
    Step,
    Tape,
    contexts_of,
    edit_of,
    errors,
    load_model,
    misread,
)

LOCATE = [case for case in CASES if case.method and issubclass(built_in(case.method), LocateEditor)]


def test_there_is_a_case_of_each_method() -> None:
    """The folder holds vectors of ROME and MEMIT, so that the tests below are not empty."""
    assert {"rome", "memit"} <= {case.method for case in CASES}, f"no golden vectors below {ROOT}"


@pytest.mark.parametrize("case", LOCATE, ids=lambda case: case.name)
def test_editor_equals_reference(case: Case) -> None:
    """All intermediates and weights after each edit are the reference's, to a relative 1e-4 in float32."""
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


def _run(case: Case, steps: list[Step], expected: dict[str, Tensor]) -> dict[str, float]:
    """Errors above the tolerance in one trajectory from the unedited model."""
    model, tokenizer = load_model(case.model)
    tape = Tape()
    editor = _editor(case, model, tokenizer, tape)
    base = {name: value.detach().clone() for name, value in model.named_parameters()}
    wrong: dict[str, float] = {}
    for prefix, requests in steps:
        tape.entries.clear()
        editor.apply_many([edit_of(request) for request in requests])
        wanted = {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}
        found = errors(editor, base, wanted, tape)
        wrong |= {prefix + key: error for key, error in found.items() if not error <= TOLERANCE}
    return wrong


def _editor(case: Case, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tape: Tape) -> Editor:
    method = case.method or ""
    fields = built_in(method).Hyperparameters.model_fields
    hyperparameters = {name: value for name, value in case.hparams.items() if name in fields}
    covariances = load_file(MODELS / f"stats-{case.model}.safetensors")
    contexts = contexts_of(method)
    return create(method, model, tokenizer, contexts=contexts, covariances=covariances, record=tape, **hyperparameters)
