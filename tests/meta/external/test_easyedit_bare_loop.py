"""The adapter edits as EasyEdit's own functions do, called one request after another; where EasyEdit is installed."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editgate.cache.store import Store
from editgate.inputs import models
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure import covariances
from editgate.miniature.recipes import WEIGHTS
from editors import Edit, create
from editors.external.calls import seeded
from editors.external.easyedit import hyperparameters, package, second_moments
from editors.models.architecture import Architecture

FOLDER = Path(__file__).parent / "hparams"
EDITS = WEIGHTS.parent / "edits" / "counterfact.json"
PADDED_RIGHT = ("EMMET", "ROME")


def _edits() -> list[Edit]:
    rows = [row["requested_rewrite"] for row in json.loads(EDITS.read_text(encoding="utf-8"))[200:203]]
    texts = [(row["target_new"]["str"], row["target_true"]["str"]) for row in rows]
    return [Edit(row["prompt"], row["subject"], new, true) for row, (new, true) in zip(rows, texts, strict=True)]


@pytest.mark.skipif(find_spec("easyeditor") is None, reason="EasyEdit is not installed: docs/easyedit.md")
@pytest.mark.parametrize("method", ["EMMET", "FT", "LoRA", "ROME"])
def test_three_edits_are_those_of_a_bare_loop(method: str, tmp_path: Path) -> None:
    """Every tensor of the edited model is the same to the bit, those that LoRA adds included."""
    base = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    architecture, file = Architecture(base.model), str(FOLDER / f"{method}.yaml")
    matrices, store = [architecture.down(0)], Store(tmp_path / "store")
    moments = covariances.covariances_of(architecture, matrices, base, store, lambda _: None)
    editor = create(f"easyedit:{method}", copy.deepcopy(base.model), base.tokenizer, hparams=file, covariances=moments)
    for edit in _edits():
        editor.apply(edit)
    found = getattr(editor.model, "exposed", editor.model).state_dict()
    wanted = _in_a_bare_loop(method, file, base, moments, tmp_path)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def _in_a_bare_loop(
    method: str, file: str, base: LoadedModel, moments: Mapping[str, Tensor], folder: Path
) -> dict[str, Tensor]:
    apply, record = package.fresh(method), hyperparameters.load(method, file)
    model, own = copy.deepcopy(base.model).requires_grad_(requires_grad=True), copy.deepcopy(base.tokenizer)
    vars(record).update(device="cpu", stats_dir=str(folder), lm_head_module="model.embed_tokens")
    second_moments.write(method, record, model, moments)
    own.pad_token_id = own.eos_token_id
    own.padding_side = "right" if method in PADDED_RIGHT else "left"
    edited = model
    for edit in _edits():
        request = {"prompt": edit.text, "subject": edit.subject, "target_new": edit.target_new}
        with seeded(0):
            edited, _ = apply(model, own, [request], record, keep_original_weight=False)
    state: dict[str, Tensor] = edited.state_dict()
    return state
