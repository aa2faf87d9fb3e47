"""MEND's step from fixed networks is that of the authors' code and of EasyEdit, to a relative 1e-4 in float32.

A folder `mend[-<variant>...]-<model>/` holds pairs `inputs[.<reference>].safetensors` and
`expected[.<reference>].safetensors`: a network as in the authors' archives, and for each tag (`edit0`, `batch`, ...)
token ids, mask and labels, then the change of each weight and the edited model's logits on the probes. Every tag starts
from the unedited model. What a reference's file leaves out is in the primary one. Both references add the step, so
`sign` is 1.

The references differ in the labels only. The authors' run along the whole row and are what `editors` makes of an edit.
EasyEdit's are the target alone, to be matched with the last positions of rows padded on the left; a BOS token and
padding count as targets there. That is wrong, and nothing makes such labels here; read as the labels of the last
positions they still test the same arithmetic on left-padded rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from editors import create
from editors.mend import Mend
from editors.models.gradients import IGNORED, Batch
from meta.golden.cases import CASES, MODELS, TOLERANCE, Case, Tape, edit_of, load_model, probes_of, relative

NETWORK = ("mend.", "gtn.", "edit_lrs")


@dataclass(frozen=True)
class Tagged:
    """One batch of one reference's file."""

    case: Case
    reference: str
    tag: str

    def __str__(self) -> str:
        return f"{self.case.name}{self.reference}-{self.tag}"

    def file(self, stem: str, ending: str) -> Path:
        """A file of the reference, or the primary one where it has none of its own."""
        folder = self.case.expected.parent
        own = folder / f"{stem}{self.reference}.{ending}"
        return own if own.exists() else folder / f"{stem}.{ending}"

    @property
    def hparams(self) -> dict[str, Any]:
        """The hyperparameters that `editors` has, by the authors' names."""
        given: dict[str, Any] = json.loads(self.file("hparams", "json").read_text(encoding="utf-8"))
        return {name: value for name, value in given.items() if name in Mend.Hyperparameters.model_fields}

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Network and token ids."""
        return load_file(self.case.expected.parent / "inputs.safetensors") | load_file(
            self.file("inputs", "safetensors")
        )

    @property
    def batch(self) -> Batch:
        """The tag's rows; labels shorter than them belong to the last positions."""
        ids, mask, labels = (self.inputs[f"{self.tag}.{name}"] for name in ("input_ids", "attention_mask", "labels"))
        rest = torch.full((len(ids), ids.shape[1] - labels.shape[1]), IGNORED)
        return Batch(ids, mask, torch.cat([rest, labels], 1))

    @property
    def expected(self) -> dict[str, Tensor]:
        """Tensors of the tag, by name."""
        return _of_tag(self.case.expected.parent / f"expected{self.reference}.safetensors", self.tag)

    def editor(self, tape: Tape) -> Mend:
        """An editor with the reference's network on the unedited model."""
        model, tokenizer = load_model(self.case.model)
        editor = create("mend", model, tokenizer, record=tape, sign=1, **self.hparams)
        assert isinstance(editor, Mend)
        editor.load_prepared({k: v for k, v in self.inputs.items() if k.startswith(NETWORK)})
        editor.prepare()
        return editor


def _of_tag(file: Path, tag: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{tag}."): v for k, v in load_file(file).items() if k.startswith(f"{tag}.")}


@cache
def _tagged() -> list[Tagged]:
    found = []
    for case in (case for case in CASES if case.method == "mend"):
        for file in sorted(case.expected.parent.glob("expected*.safetensors")):
            tags = sorted({key.partition(".")[0] for key in load_file(file)})
            found += [Tagged(case, file.stem.removeprefix("expected"), tag) for tag in tags]
    return found


def _errors(tagged: Tagged, editor: Mend, tape: Tape, base: dict[str, Tensor]) -> dict[str, float]:
    """Relative error of each expected tensor; infinite for one that was not produced."""
    now = dict(editor.model.named_parameters())
    changes = {
        f"delta.{name}": now[name].detach() - base[name] for name in (matrix.parameter for matrix in editor.matrices)
    }
    got = tape.joined() | changes | probes_of(editor.model, editor.tokenizer)
    return {key: relative(got[key], value) if key in got else float("inf") for key, value in tagged.expected.items()}


def _base(editor: Mend) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in editor.model.named_parameters()}


@pytest.mark.parametrize("tagged", _tagged(), ids=str)
def test_a_step_equals_the_reference(tagged: Tagged) -> None:
    """From the reference's token ids come its weight changes and its logits."""
    tape = Tape()
    editor = tagged.editor(tape)
    base = _base(editor)
    editor._step(tagged.batch)
    found = _errors(tagged, editor, tape, base)
    wrong = {key: error for key, error in found.items() if not error <= TOLERANCE}
    assert found
    assert not wrong


@pytest.mark.parametrize("tagged", [each for each in _tagged() if not each.reference], ids=str)
def test_an_edit_equals_the_reference(tagged: Tagged) -> None:
    """The requests themselves, tokenized here, give the same: one edit by its number, a batch from the first on."""
    requests = json.loads((MODELS / "requests.json").read_text(encoding="utf-8"))
    count = len(tagged.batch.ids)
    first = int(tagged.tag.removeprefix("edit")) if tagged.tag.startswith("edit") else 0
    tape = Tape()
    editor = tagged.editor(tape)
    edits = [edit_of(request) for request in requests[first : first + count]]
    pairs = [(edit.text, edit.target_new) for edit in edits]
    ours, theirs = Batch.of(editor.tokenizer, pairs, torch.device("cpu")), tagged.batch
    if not (torch.equal(ours.ids * ours.mask, theirs.ids * theirs.mask) and torch.equal(ours.labels, theirs.labels)):
        pytest.skip("the reference's token ids are not those of the requests: the test above is what they allow")
    base = _base(editor)
    editor.apply_many(edits)
    wrong = {key: error for key, error in _errors(tagged, editor, tape, base).items() if not error <= TOLERANCE}
    assert not wrong
