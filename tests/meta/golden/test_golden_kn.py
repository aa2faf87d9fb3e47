"""KN gives the numbers of the ports to decoders: attributions, neurons, shifted value vectors, logits after them.

A folder `kn-<model>/` holds `expected.safetensors`, `hparams.json` and `meta.json`, and may hold a second
reference's under `*.<reference>.*`. Requests are in the meta file; `model_type` in the hyperparameters says what
a reference does with an answer's later tokens; where the meta file names `edited_neurons`, the reference shifted
these only. Whether the answers begin with a BOS token is read from their ids there (`gt_ids`, `target_ids`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from editors import Edit
from editors.core.resources import EditorResources
from editors.kn import Kn, KnHyperparameters
from meta.golden.cases import CASES, TOLERANCE, Tape, load_model, probes_of, relative
from meta.golden.published_kn import PublishedKn

GROWING = ("gpt", "llama", "qwen")  # the names for which the ports append the model's own choices to the prompt
FILES = [
    pytest.param(case.model, expected, id=f"{case.name}-{expected.stem}")
    for case in CASES
    if case.folder.startswith("kn-")
    for expected in sorted(case.expected.parent.glob("expected*.safetensors"))
]


@pytest.mark.parametrize(("model", "expected"), FILES)
def test_kn_equals_the_ports(model: str, expected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores, neurons, changes and logits are the reference's, to a relative 1e-4 in float32, neurons exactly."""
    hparams, meta = (_beside(expected, part) for part in ("hparams", "meta"))
    wanted = load_file(expected)
    wrong: dict[str, float] = {}
    for number, request in enumerate(meta["cases"]):
        prefix = f"case{number}."
        got = _computed(model, hparams, request, monkeypatch)
        for key in (key for key in wanted if key.startswith(prefix)):
            found = got.get(key.removeprefix(prefix))
            error = float("inf") if found is None else relative(found, wanted[key])
            if not error <= (TOLERANCE if wanted[key].is_floating_point() else 0):
                wrong[key] = error
    assert wanted
    assert not wrong, f"{len(wrong)} of {len(wanted)} tensors differ; relative errors: {wrong}"


def _beside(expected: Path, part: str) -> dict[str, Any]:
    text = expected.with_name(f"{part}{expected.stem.removeprefix('expected')}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _computed(
    name: str, hparams: dict[str, Any], request: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    """What an edit of a fresh model records, changes and leads to, under the names of the expected tensors."""
    model, tokenizer = load_model(name)
    tape = Tape()
    settings = {key: value for key, value in hparams.items() if key in KnHyperparameters.model_fields}
    resources = EditorResources(contexts=[["{}"]], record=tape)
    editor = PublishedKn(model, tokenizer, hyperparameters=KnHyperparameters(**settings), resources=resources)
    editor.after_choices = hparams["model_type"] in GROWING
    editor.leading_space = request["ground_truth"].startswith(" ")
    editor.target_bos = tokenizer.bos_token_id in (request["gt_ids"][0], request["target_ids"][0])
    subject = request["prompt"].rpartition(" ")[2]
    edit = Edit(request["prompt"], subject, request["target"], request["ground_truth"])
    answers = [editor.answer_ids(edit, answer) for answer in (edit.target_true, edit.target_new)]
    assert answers == [request["gt_ids"], request["target_ids"]]
    editor.neurons(edit)
    shifted = [(layer, index) for layer, index in request.get("edited_neurons", [])]
    if shifted:
        monkeypatch.setattr(editor, "neurons", lambda _edit: shifted)
        base = [editor.architecture.down(layer).weight.detach().clone() for layer in range(editor.architecture.depth)]
        editor.apply(edit)
        changes = _changes(editor, base, shifted)
        return tape.joined() | changes | probes_of(model, tokenizer)
    return tape.joined()


def _changes(editor: Kn, base: list[Tensor], shifted: list[tuple[int, int]]) -> dict[str, Tensor]:
    """Change of the shifted value vectors, [neurons, d] a layer; all others must have stayed."""
    found = {}
    for layer, before in enumerate(base):
        matrix = editor.architecture.down(layer)
        change = matrix.stored(matrix.weight - before).T
        rows = [index for at, index in shifted if at == layer]
        others = torch.ones(len(change), dtype=torch.bool)
        others[rows] = False
        assert not change[others].any()
        if rows:
            found[f"weight_delta_rows.layer{layer}"] = change[rows]
            found[f"weight_delta.layer{layer}"] = change
    return found
