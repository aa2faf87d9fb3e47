"""EasyEdit's EMMET adds its slack to a single edit too; with that, and nothing else, the numbers are EasyEdit's.

The authors add it for a batch only, and so does `editors.emmet`: `test_golden.py` holds it to theirs. A folder
`emmet-<model>/` has EasyEdit's tensors, where they differ, in `expected.easyedit.safetensors`.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from editors.core.resources import EditorResources
from editors.emmet import Emmet, EmmetHyperparameters
from meta.golden.cases import CASES, MODELS, TOLERANCE, Case, Tape, contexts_of, edit_of, errors, load_model

EASYEDIT = [
    replace(case, expected=file, hparams=json.loads((file.parent / "hparams.easyedit.json").read_text("utf-8")))
    for case in CASES
    if case.method == "emmet" and (file := case.expected.with_name("expected.easyedit.safetensors")).exists()
]


class EasyEditEmmet(Emmet):
    """EMMET as EasyEdit has it: no equality is met exactly, not even a single one."""

    def _slack(self, count: int) -> float:
        return super()._slack(max(count, 2))


def test_there_is_a_case() -> None:
    """The folder holds EasyEdit's vectors of EMMET."""
    assert EASYEDIT


@pytest.mark.parametrize("case", EASYEDIT, ids=lambda case: case.name)
def test_with_slack_for_one_edit_it_is_easyedits(case: Case) -> None:
    """Every tensor of EasyEdit's single edits, one after another, to a relative 1e-4; without the slack most differ."""
    assert _wrong(EasyEditEmmet, case) == {}
    assert len(_wrong(Emmet, case)) > len(load_file(case.expected)) / 2


def _wrong(method: type[Emmet], case: Case) -> dict[str, float]:
    """Relative errors above the tolerance along the case's single edits."""
    model, tokenizer = load_model(case.model)
    tape = Tape()
    covariances = load_file(MODELS / f"stats-{case.model}.safetensors")
    values = {name: value for name, value in case.hparams.items() if name in EmmetHyperparameters.model_fields}
    editor = method(
        model,
        tokenizer,
        hyperparameters=EmmetHyperparameters(**values),
        resources=EditorResources(contexts=contexts_of("emmet"), covariances=covariances, record=tape),
    )
    base = {name: value.detach().clone() for name, value in model.named_parameters()}
    expected = load_file(case.expected)
    wrong: dict[str, float] = {}
    (run,) = case.runs()
    for prefix, requests in run:
        tape.entries.clear()
        editor.apply_many([edit_of(request) for request in requests])
        wanted = {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}
        found = errors(editor, base, wanted, tape)
        wrong |= {prefix + key: error for key, error in found.items() if not error <= TOLERANCE}
    return wrong
