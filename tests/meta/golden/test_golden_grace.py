"""GRACE gives the numbers of the authors' code: keys, values, radii, losses and logits after each of a row of edits.

A folder `grace-<replacement>-<val_init>-<model>/` holds `expected.safetensors` (`edit<i>.keys`, `.values`,
`.epsilons`, `.losses`, `.probe_last_logits`), `inputs.safetensors` (`edit<i>.input_ids`, `.labels`, and for random
starts `.value_init`), `hparams.json` and `meta.json`, whose `sequence` lists prompts and answers. The probes are the
texts of `models/probes.json` and the prompts of the sequence from `edit4` on, each asked with its last token as the
position. `expected.easyedit.safetensors`, where there is one, is not a case: EasyEdit keeps its labels in the
reverse order of its keys, and so compares an edit with another entry's answer.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

import editors.grace
from editors import Edit, Editor
from editors.core.resources import EditorResources
from editors.grace import GraceHyperparameters
from editors.grace.codebook import MASKED
from editors.models.tokens import encode, target_ids
from meta.golden.cases import CASES, MODELS, TOLERANCE, Case, Tape, load_model, relative
from meta.golden.published_grace import PublishedGrace

FOLDERS = [case for case in CASES if case.folder.startswith("grace-")]
FIRST_PROBED = 4  # edits from this one on have their prompts among the probes
SEED = 1000  # the references drew the start of edit i after torch.manual_seed(1000 + i)


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.name)
def test_grace_equals_the_authors_code(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The codebook, losses and probes after each edit are the reference's, to a relative 1e-4 in float32."""
    wanted, meta = load_file(case.expected), _json(case.expected.with_name("meta.json"))
    inputs = load_file(case.expected.with_name("inputs.safetensors"))
    starts = _starts(inputs)
    monkeypatch.setattr(editors.grace, "cold_start", lambda _seed, number, _values: starts[number][0])
    model, tokenizer = load_model(case.model)
    tape = Tape()
    hparams, resources = GraceHyperparameters(**_hyperparameters(case.hparams)), EditorResources(record=tape)
    editor = PublishedGrace(model, tokenizer, hyperparameters=hparams, resources=resources)
    wrong: dict[str, float] = {}
    for number, (prompt, target) in enumerate(meta["sequence"]):
        assert _ids(tokenizer, prompt, target) == [
            inputs[f"edit{number}.{name}"][0].tolist() for name in ("input_ids", "labels")
        ]
        tape.entries.clear()
        editor.apply(Edit(prompt, prompt.split()[0], target))
        got = tape.joined() | {"probe_last_logits": _probed(editor, [text for text, _ in meta["sequence"]])}
        expected = {key: value for key, value in wanted.items() if key.startswith(f"edit{number}.")}
        found = {key: relative(got[key.partition(".")[2]], value) for key, value in expected.items()}
        assert found
        wrong |= {key: error for key, error in found.items() if not error <= TOLERANCE}
    assert not wrong, f"{len(wrong)} of {len(wanted)} tensors differ; relative errors: {wrong}"


def _json(path: Path) -> Any:  # noqa: ANN401 - JSON is anything
    return json.loads(path.read_text(encoding="utf-8"))


def _hyperparameters(given: dict[str, Any]) -> dict[str, Any]:
    """The folder's, with the matrix named as ours is."""
    (path,) = given["inner_params"]
    parts = re.fullmatch(r".*?\.\w+[\[.](?P<layer>\d+)\]?\.(?P<matrix>[\w.]+)\.weight", path)
    assert parts, path
    same = {name: value for name, value in given.items() if name in GraceHyperparameters.model_fields}
    return {**same, "layer": int(parts["layer"]), "matrix": parts["matrix"]}


def _starts(inputs: dict[str, Tensor]) -> dict[int, Tensor]:
    """Random starts [1, d_out] by edit.

    The recorder kept the first one by reference, and so wrote down what the training had made of it: a start is
    never outside [0, 1). It is drawn again by the seed that gives all others.
    """
    given = {int(key[4:-11]): value for key, value in inputs.items() if key.endswith(".value_init")}
    true = {number: value for number, value in given.items() if bool(((value >= 0) & (value < 1)).all())}
    drawn = {
        number: torch.rand(value.shape, generator=torch.Generator().manual_seed(SEED + number))
        for number, value in given.items()
    }
    if given.keys() != true.keys() and not all(torch.equal(value, drawn[number]) for number, value in true.items()):
        pytest.skip("the start of an edit was not recorded, and the others were not drawn by the known seeds")
    return drawn | true


def _ids(tokenizer: PreTrainedTokenizerBase, prompt: str, target: str) -> list[list[int]]:
    """Token ids of prompt and answer, and the labels: the same with the prompt masked."""
    before, after = encode(tokenizer, prompt), target_ids(tokenizer, prompt, target)
    return [before + after, [MASKED] * len(before) + after]


def _probed(editor: Editor, prompts: list[str]) -> Tensor:
    """Logits [probes, V] of the last tokens."""
    texts = [*_json(MODELS / "probes.json"), *prompts[FIRST_PROBED:]]
    rows = [editor.tokenizer(text, return_tensors="pt").input_ids for text in texts]
    return torch.stack([editor.model(row).logits[0, -1] for row in rows])
