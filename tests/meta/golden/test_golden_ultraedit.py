"""UltraEdit's turns are those of the authors' code and of EasyEdit, to a relative 1e-4, their defects added by name.

A folder `ultraedit-<model>/` holds, for each way to choose rows (`ans`, `mask`) and each of three turns on one model,
token ids of the turn's chunks (`inputs*.safetensors`) and what came of them: rows of each matrix, statistics so far,
the change of each weight, the edited model's logits on the probes. `*.easyedit.*` is EasyEdit's.

The authors' code counts the spread of n rows n / (n - 1) times (`OfficialUltraEdit`). So does EasyEdit's, which takes
the last token of a text for a row too, and labels the last positions of rows padded on the left with the target and
what its tokenizer puts before it, padding included (`EasyEditUltraEdit`). The vectors are of one instance of its class.
Its users get a new one for each call, without the statistics so far (`ForgetfulUltraEdit`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from editors.core.resources import EditorResources
from editors.models.gradients import IGNORED, Batch
from editors.ultraedit import UltraEdit, UltraEditHyperparameters
from editors.ultraedit.normalizer import Moments
from meta.golden.cases import CASES, MODELS, TOLERANCE, Case, Tape, edit_of, load_model, probes_of, relative


class Overcounted(Moments):
    """The statistics of both references."""

    def spread(self, rows: Tensor) -> Tensor:
        """More than it is; of one row NaN."""
        return super().spread(rows) * len(rows) / (len(rows) - 1)


class OfficialUltraEdit(UltraEdit):
    """The authors' code."""

    def _none(self, rows: Tensor) -> Moments:
        return Overcounted.none(rows.shape[1], rows.device)


class EasyEditUltraEdit(OfficialUltraEdit):
    """EasyEdit's class."""

    def _counted(self, batch: Batch) -> Tensor:
        return batch.mask.bool()


class ForgetfulUltraEdit(EasyEditUltraEdit):
    """EasyEdit's class as EasyEdit uses it: lifelong for one turn."""

    def _turn(self, batches: Sequence[Batch]) -> None:
        self._moments = {}
        super()._turn(batches)


@dataclass(frozen=True)
class Turns:
    """Three turns of one reference with one way to choose rows."""

    case: Case
    reference: Literal["", ".easyedit"]
    token: Literal["ans", "mask"]

    def __str__(self) -> str:
        return f"{self.case.name}{self.reference}-{self.token}"

    def _file(self, stem: str) -> dict[str, Tensor]:
        tensors = load_file(self.case.expected.with_name(f"{stem}{self.reference}.safetensors"))
        start = f"{self.token}."
        return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}

    def expected(self, turn: int) -> dict[str, Tensor]:
        """Tensors of a turn by name."""
        start = f"round{turn}."
        return {name.removeprefix(start): value for name, value in self._file("expected").items() if start in name}

    def batches(self, turn: int) -> list[Batch]:
        """Chunks of a turn in our form: labels stand at the tokens that they are, not at those before."""
        found, inputs, chunk = [], self._file("inputs"), 0
        while (start := f"round{turn}.chunk{chunk}.") + "input_ids" in inputs:
            ids, mask, labels = (inputs[start + name] for name in ("input_ids", "attention_mask", "labels"))
            found.append(_shifted(ids, mask, labels) if not self.reference else _at_the_end(ids, mask, labels))
            chunk += 1
        return found

    def editor(self, method: type[UltraEdit], tape: Tape) -> UltraEdit:
        """A method on the unedited model."""
        model, tokenizer = load_model(self.case.model)
        given = {name: self.case.hparams[name] for name in ("lr", "batch_size")}
        names = tuple(f"{name}.weight" for name in self.case.hparams["inner_params"])
        hyperparameters = UltraEditHyperparameters(**given, inner_params=names, token=self.token)
        return method(model, tokenizer, hyperparameters=hyperparameters, resources=EditorResources(record=tape))


def _shifted(ids: Tensor, mask: Tensor, labels: Tensor) -> Batch:
    """The authors' rows end before the answer's last token; here it stands behind them, and labels move by one."""
    lengths = mask.sum(1, keepdim=True)
    last = labels.gather(1, lengths - 1)
    room = torch.zeros_like(last)
    return Batch(
        torch.cat([ids, room], 1).scatter(1, lengths, last),
        torch.cat([mask, room], 1).scatter(1, lengths, 1),
        torch.cat([room + IGNORED, labels], 1),
    )


def _at_the_end(ids: Tensor, mask: Tensor, labels: Tensor) -> Batch:
    """EasyEdit's labels belong to the last positions."""
    return Batch(ids, mask, torch.cat([torch.full((len(ids), ids.shape[1] - labels.shape[1]), IGNORED), labels], 1))


CASES_OF_ULTRAEDIT = [case for case in CASES if case.method == "ultraedit"]
TURNS = [
    turns
    for case in CASES_OF_ULTRAEDIT
    for turns in (Turns(case, "", "ans"), Turns(case, "", "mask"), Turns(case, ".easyedit", "mask"))
]


def _errors(wanted: dict[str, Tensor], editor: UltraEdit, tape: Tape, before: dict[str, Tensor]) -> dict[str, float]:
    """Relative error of each expected tensor; infinite for one that was not produced."""
    now = dict(editor.model.named_parameters())
    got = tape.joined() | {f"delta.{name}": now[name].detach() - value for name, value in before.items()}
    for shape, moments in editor._moments.items():
        inputs, outputs = shape.split("x")
        start = f"norm.({inputs}, {outputs})."
        got |= {start + "n": moments.count, start + "mean": moments.mean, start + "std": moments.std}
    got |= probes_of(editor.model, editor.tokenizer)
    return {name: relative(got[name], value) if name in got else float("inf") for name, value in wanted.items()}


def _trained(editor: UltraEdit) -> dict[str, Tensor]:
    names = [matrix.parameter for matrix in editor.matrices]
    return {name: editor.model.get_parameter(name).detach().clone() for name in names}


def _run(turns: Turns, method: type[UltraEdit]) -> dict[int, dict[str, float]]:
    """Relative errors after each turn."""
    tape = Tape()
    editor = turns.editor(method, tape)
    found = {}
    for turn in range(3):
        tape.entries.clear()
        before = _trained(editor)
        editor._turn(turns.batches(turn))
        found[turn] = _errors(turns.expected(turn), editor, tape, before)
    return found


@pytest.mark.parametrize("turns", TURNS, ids=str)
def test_turns_equal_the_references(turns: Turns) -> None:
    """From the reference's token ids come its rows, statistics, weight changes and logits, turn after turn."""
    found = _run(turns, EasyEditUltraEdit if turns.reference else OfficialUltraEdit)
    assert found[0]
    assert found[2]
    assert {key: error for errors in found.values() for key, error in errors.items() if not error <= TOLERANCE} == {}


@pytest.mark.parametrize("turns", [turns for turns in TURNS if turns.reference], ids=str)
def test_easyedits_defect_shows_from_the_second_turn_on(turns: Turns) -> None:
    """Without the statistics so far the first turn is the same, and what it says after three is 1 % away or more."""
    found = _run(turns, ForgetfulUltraEdit)
    assert max(found[0].values()) <= TOLERANCE
    assert found[2]["probe_last_logits"] > 0.01


@pytest.mark.parametrize("case", CASES_OF_ULTRAEDIT, ids=lambda case: case.name)
def test_a_turn_of_edits_has_the_references_chunks(case: Case) -> None:
    """The requests themselves, tokenized, sorted and cut here, give the authors' token ids and labels."""
    turns = Turns(case, "", "ans")
    editor = turns.editor(UltraEdit, Tape())
    requests = json.loads((MODELS / "requests.json").read_text(encoding="utf-8"))
    for turn in range(3):
        edits = [edit_of(request) for request in requests[4 * turn : 4 * turn + 4]]
        texts = Batch.of(editor.tokenizer, [(edit.text, edit.target_new) for edit in edits], torch.device("cpu"))
        for ours, theirs in zip(editor._chunks(texts), turns.batches(turn), strict=True):
            assert torch.equal(ours.ids * ours.mask, theirs.ids * theirs.mask), turn
            assert torch.equal(ours.labels, theirs.labels)


@pytest.mark.parametrize("case", CASES_OF_ULTRAEDIT, ids=lambda case: case.name)
def test_without_its_defect_the_statistics_are_those_of_all_rows(case: Case) -> None:
    """After three turns mean and spread are those of all rows of a shape; the authors' spread is 0.1 % off or more."""
    turns, tape = Turns(case, "", "ans"), Tape()
    own, official = turns.editor(UltraEdit, tape), turns.editor(OfficialUltraEdit, Tape())
    for turn in range(3):
        own._turn(turns.batches(turn))
        official._turn(turns.batches(turn))
    rows: dict[str, list[Tensor]] = {}
    for matrix in own.matrices:
        keys, slopes = (torch.cat(tape.entries[f"{part}.{matrix.path}"]) for part in ("keys", "values_grad"))
        rows.setdefault(f"{keys.shape[1]}x{slopes.shape[1]}", []).append(torch.cat([keys, slopes], 1).double())
    for shape, of_shape in rows.items():
        together = torch.cat(of_shape)
        assert int(own._moments[shape].count) == len(together)
        assert relative(own._moments[shape].mean, together.mean(0)) < 1e-6
        assert relative(own._moments[shape].std, together.std(0)) < 1e-6
        assert relative(official._moments[shape].std, together.std(0)) > 1e-3
