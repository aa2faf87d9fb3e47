"""WISE gives the numbers of EasyEdit, its authors' code: losses, side memories, merged shards, answers.

A folder `wise-<merge|retrieve>-<model>/` holds `expected.safetensors` (`edit<i>.new_weight`, `.memory_weight<j>`,
`.layer_weight`, `.probe_last_logits`), `inputs.safetensors` (`edit<i>.input_ids`, `.attention_mask`, `.labels`, the
last row a prompt that must not change, and `.weight_mask`), `hparams.json` and `meta.json`, whose `edits` list losses,
rounded to three digits, and thresholds.

The published code averages activations over padding too, divides an answer's loss by one token too many, and takes the
mean of an edit's activations in all contexts for their least. `PublishedWise` does so, and reads the rows as they are
in the folder: padded on the left. At a rate of 1 training multiplies rounding errors, and float32 is far from float64
after 16 steps. So each edit begins where the reference's last one ended, where the folder says it.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from editors import Edit
from editors.core.resources import EditorResources
from editors.models import trace
from editors.models.tokens import Row, encode, target_ids
from editors.wise import Wise, WiseHyperparameters
from editors.wise.loss import EditLoss
from editors.wise.side_memory import SideMemory
from meta.golden.cases import CASES, MODELS, TOLERANCE, Case, Tape, load_model, relative

FOLDERS = [case for case in CASES if case.folder.startswith("wise-")]
NONE = 1e9  # the reference's threshold before the first edit of a shard
ROUNDING = 6e-4  # of the losses in meta.json, and a float32's own


class PublishedLoss(EditLoss):
    """The loss with two slips of the published code."""

    def counted(self, mask: Tensor) -> Tensor:
        """Padding counts too."""
        return torch.ones_like(mask)

    def answer(self, weight: Tensor) -> Tensor:
        """The sum over n tokens is divided by n + 1."""
        count = self._target.shape[1]
        return super().answer(weight) * count / (count + 1)


class PublishedWise(Wise):
    """WISE on the rows and masks of a folder."""

    Loss: ClassVar[type[EditLoss]] = PublishedLoss
    inputs: dict[str, Tensor]

    def _rows(self, edit: Edit) -> tuple[list[Row], list[int], Row]:
        number = self._side_memory.count
        ids, labels = (self.inputs[f"edit{number}.{name}"] for name in ("input_ids", "labels"))
        target = target_ids(self.tokenizer, edit.text, edit.target_new)
        places = tuple(range(ids.shape[1] - len(target) - 1, ids.shape[1] - 1))
        rows = [Row(tuple(row), 0, places) for row in ids.tolist()]
        for row, label in zip(rows[:-1], labels.tolist(), strict=False):
            assert list(row.ids[-len(target) :]) == target == [token for token in label if token != -100]
        real = [token for token, kept in zip(rows[0].ids, self.padding[0].tolist(), strict=True) if kept]
        assert real == encode(self.tokenizer, edit.text) + target
        return rows[:-1], target, Row(rows[-1].ids, 0)

    @property
    def padding(self) -> Tensor:
        """The mask of the rows of the edit at hand."""
        return self.inputs[f"edit{self._side_memory.count}.attention_mask"]

    def _activation_of(self, inside: Tensor) -> float:
        return float(inside.mean())

    def _mask(self, shard: int) -> Tensor:  # noqa: ARG002 - the folder has one for each edit
        drawn = self.inputs[f"edit{self._side_memory.count}.weight_mask"]
        return drawn.reshape(self._matrix.weight.shape)


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.name)
def test_wise_equals_the_published_code(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side memory, shards, merged matrix, thresholds, losses and answers to the probes are EasyEdit's, to 1e-4."""
    wanted = load_file(case.expected)
    meta = json.loads(case.expected.with_name("meta.json").read_text(encoding="utf-8"))
    editor, tape = _editor(case)
    monkeypatch.setattr(trace, "pad", lambda rows, _device: (torch.tensor([row.ids for row in rows]), editor.padding))
    wrong: dict[str, float] = {}
    for number, told in enumerate(meta["edits"]):
        request = json.loads((MODELS / "requests.json").read_text(encoding="utf-8"))[number]
        begun = wanted.get(f"edit{number - 1}.new_weight", editor._side_memory.side)
        editor._side_memory = replace(editor._side_memory, side=begun)
        tape.entries.clear()
        editor.apply(Edit(request["prompt"], request["subject"], request["target_new"]))
        found = _found(editor, wanted, f"edit{number}.") | _numbers(editor._side_memory, tape, told)
        assert len(found) > 2
        wrong |= {f"edit{number}.{name}": error for name, error in found.items() if not error <= TOLERANCE}
    assert not wrong, f"relative errors: {wrong}"


def _editor(case: Case) -> tuple[PublishedWise, Tape]:
    """An editor on the case's model, whose attention is the reference's, and what it records."""
    model, tokenizer = load_model(case.model, attention="eager")  # asked for later it could be refused with a warning
    fields = WiseHyperparameters.model_fields
    given: dict[str, Any] = {name: value for name, value in case.hparams.items() if name in fields}
    (path,) = case.hparams["inner_params"]
    layer = int(path.partition("[")[2].partition("]")[0])
    tape = Tape()
    resources = EditorResources(contexts=[["{}"]], training=[Edit("{} is", "It", "so")], record=tape)
    editor = PublishedWise(
        model, tokenizer, hyperparameters=WiseHyperparameters(**given, layer=layer), resources=resources
    )
    editor.inputs = load_file(case.expected.with_name("inputs.safetensors"))
    return editor, tape


def _found(editor: PublishedWise, wanted: dict[str, Tensor], start: str) -> dict[str, float]:
    """Relative errors of the tensors of one edit: of matrices also of what the edits changed in them."""
    memory = editor._side_memory
    merged = editor._base if editor.hyperparameters.retrieve else memory.merged  # what stands in the model itself
    have = {"new_weight": memory.side, "layer_weight": merged}
    have |= {f"memory_weight{index}": shard for index, shard in enumerate(memory.shards)}
    errors = {}
    for key, value in wanted.items():
        name = key.removeprefix(start)
        if name == key:
            continue
        got = _probed(editor) if name == "probe_last_logits" else have[name]
        if got is None or name == "probe_last_logits":
            errors[name] = math.inf if got is None else relative(got, value)
        else:
            errors[name] = relative(got - editor._base, value - editor._base)
    return errors


def _numbers(memory: SideMemory, tape: Tape, told: dict[str, Any]) -> dict[str, float]:
    """Relative errors of the thresholds, and of the losses beyond their rounding."""
    least = [told["min_act"]] if told["min_act"] < NONE else [math.inf]
    wanted, got = [*least, *told["memory_min_act"]], [memory.threshold, *memory.thresholds]
    assert len(wanted) == len(got)
    errors = [abs(value - other) / other for value, other in zip(got, wanted, strict=True) if other < math.inf]
    losses = torch.tensor([total for total, _, _ in told["losses"]])
    off = (tape.joined()["losses"] - losses).abs().max() - ROUNDING
    return {"thresholds": max(errors, default=0.0), "losses": max(0.0, float(off))}


def _probed(editor: PublishedWise) -> Tensor:
    """Logits [probes, V] of the last tokens of the probes, each asked alone."""
    texts = json.loads((MODELS / "probes.json").read_text(encoding="utf-8"))
    rows = [editor.tokenizer(text, return_tensors="pt").input_ids for text in texts]
    return torch.stack([editor.model(row).logits[0, -1] for row in rows])
