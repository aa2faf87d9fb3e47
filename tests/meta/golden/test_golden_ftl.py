"""FT-L gives the numbers of the published code: weights, biases and logits after each of several edits.

A folder `ft<variant>-<model>/` is one of these if its hyperparameters have a `norm_constraint`. The authors' code,
whose files name no `objective_optimization`, knows `prompt_last` only. Parameters are picked there by a part of their
name, `rewrite_module_tmp`: without "weight" in it, it picks the bias too. EasyEdit, which names itself by `alg_name`,
counts BOS as a token of the answer in `prompt_last`.
"""

from __future__ import annotations

from typing import Any

import pytest
from safetensors.torch import load_file

from editors import Edit, Editor
from editors.ftl import Ftl, FtlHyperparameters
from editors.models.tokens import Row
from meta.golden.cases import CASES, TOLERANCE, Case, Tape, edit_of, errors, load_model

FT = [case for case in CASES if case.folder.startswith("ft") and "norm_constraint" in case.hparams]


class EasyEditFtl(Ftl):
    """FT-L that counts BOS as the answer's first token."""

    def _row(self, edit: Edit) -> tuple[Row, list[int]]:
        row, target = super()._row(edit)
        first = [row.ids[0]] if row.ids[0] == self.tokenizer.bos_token_id else []
        return row, target if self.hyperparameters.objective_optimization == "target_new" else first + target


@pytest.mark.parametrize("case", FT, ids=lambda case: case.name)
def test_ftl_equals_the_published_code(case: Case) -> None:
    """Every expected weight, its change, and the logits are the reference's, to a relative 1e-4 in float32."""
    expected = load_file(case.expected)
    wrong: dict[str, float] = {}
    for run in case.runs():
        editor = _editor(case)
        base = {name: value.detach().clone() for name, value in editor.model.named_parameters()}
        for prefix, requests in run:
            editor.apply_many([edit_of(request) for request in requests])
            wanted = {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}
            found = errors(editor, base, wanted, Tape())
            wrong |= {prefix + key: error for key, error in found.items() if not error <= TOLERANCE}
    assert expected
    assert not wrong, f"{len(wrong)} of {len(expected)} tensors differ; relative errors: {wrong}"


@pytest.mark.parametrize("case", FT, ids=lambda case: case.name)
def test_only_what_the_reference_trains_is_trained(case: Case) -> None:
    """After an edit the parameters that the reference changed have changed, and no others."""
    changed = {key.partition(".weight.")[2] for key in load_file(case.expected) if ".weight." in key}
    editor = _editor(case)
    editor.apply(edit_of(next(request for run in case.runs() for _, requests in run for request in requests)))
    assert {name.removeprefix("weight:") for name in editor.state()} == changed


def _editor(case: Case) -> Editor:
    model, tokenizer = load_model(case.model)
    kind = EasyEditFtl if "alg_name" in case.hparams else Ftl
    return kind(model, tokenizer, hyperparameters=FtlHyperparameters(**_hyperparameters(case)))


def _hyperparameters(case: Case) -> dict[str, Any]:
    given = {"objective_optimization": "prompt_last"} | case.hparams
    picked = case.hparams["rewrite_module_tmp"]
    found = {name: value for name, value in given.items() if name in FtlHyperparameters.model_fields}
    return found | {"bias": "weight" not in picked}
