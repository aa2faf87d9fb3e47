"""MEND's training computes the loss that it says it does, lowers it, and survives being killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from transformers import PreTrainedModel

from editors import Edit, MissingTraining, create
from editors.core import training
from editors.core.weights import same_bits
from editors.mend import Mend
from editors.mend.dataset import MendDataset
from editors.mend.training import LossWeights, MetaLoss
from meta.support import tiny_models as tiny

SHAPES = st.fixed_dictionaries(
    {
        "family": st.sampled_from(["llama", "gpt2"]),
        "width": st.sampled_from([8, 16]),
        "depth": st.integers(1, 3),
        "tied": st.booleans(),
        "seed": st.integers(0, 999),
    }
)
TRAINING = [
    Edit("The capital of {} is", "Velidor", "Amber Bay", "Port Winslow", ("Velidor has its seat in",)),
    Edit(
        "{} was born in", "Marta Velen", "Dorvik", "", ("The home of Marta Velen is",), (("Yusuf was born in", "Bay"),)
    ),
    Edit(
        "The mother tongue of {} is",
        "Yusuf Adair",
        "Swedish",
        "Greek",
        (),
        (("The tongue of Marta is", "Greek"), ("We saw", "Bay"), ("I saw the", "gate"), ("The river runs to", "sea")),
    ),
]


def _mend(model: PreTrainedModel, *, scratch: Path | None = None, seed: int = 0, **changes: Any) -> Mend:  # noqa: ANN401
    given: dict[str, Any] = {"training": changes.pop("training", TRAINING), "scratch": scratch, "seed": seed}
    editor = create("mend", model, tiny.tokenizer(), **given, **tiny.settings("mend", **changes))
    assert isinstance(editor, Mend)
    return editor


def _loss_by_hand(
    model: PreTrainedModel, editor: Mend, dataset: MendDataset, loss_weights: LossWeights, view: int
) -> float:
    """The training's loss with each edit really written, one text at a time, without any cache."""
    total = 0.0
    for edit, outer, loc in zip(dataset.edits, dataset.outer, dataset.loc, strict=True):
        asked, near = outer[view // len(loc) % len(outer)], loc[view % len(loc)]
        ids = [torch.tensor([query.row.ids]) for query in (asked, near)]
        before = model(input_ids=ids[1]).logits[0, list(near.row.labels)].log_softmax(-1)
        kept = {matrix.parameter: matrix.weight.detach().clone() for matrix in editor.matrices}
        editor.apply(edit)
        sizes = [
            (model.get_parameter(name) - value).square().sum() / value.square().sum() for name, value in kept.items()
        ]
        said = model(input_ids=ids[0]).logits[0, list(asked.row.labels)]
        after = model(input_ids=ids[1]).logits[0, list(near.row.labels)].log_softmax(-1)
        editor.undo()
        total += loss_weights.size * float(torch.stack(sizes).sum())
        total += loss_weights.edit * float(cross_entropy(said, torch.tensor(asked.answer)))
        total += loss_weights.loc * float(kl_div(after, before, log_target=True, reduction="none").sum(-1).mean())
    return total / len(dataset.edits)


@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, sign=st.sampled_from([-1, 1]))
def test_the_training_loss_is_that_of_edited_models(*, shape: dict[str, Any], sign: int) -> None:
    """Groups, kept states and unformed updates give the loss that edits written one by one give."""
    model = tiny.model(**shape, dtype=torch.float64)
    editor = _mend(model, training=TRAINING, sign=sign)
    editor.prepare()
    assert editor._network is not None
    dataset, loss_weights = MendDataset.of(tiny.tokenizer(), TRAINING), LossWeights(0.7, 1.3, 0.2, sign)
    loss = MetaLoss(
        model=model,
        tokenizer=tiny.tokenizer(),
        matrices=editor.matrices,
        lowest=editor._lowest,
        network=editor._network,
        dataset=dataset,
        loss_weights=loss_weights,
        group=len(TRAINING),
        neighbors=1,
        seed=0,
    )
    generator = torch.Generator().manual_seed(0)
    view = int(torch.randint(1 << 16, (), generator=generator)) % loss._views
    found = float(loss(0, generator.manual_seed(0)))
    with torch.no_grad():
        assert found == pytest.approx(_loss_by_hand(model, editor, dataset, loss_weights, view), rel=1e-5, abs=1e-7)


def test_training_lowers_its_loss() -> None:
    """After 40 steps the loss on the training edits is lower than the fresh network's, and each layer has left 0."""
    losses = []
    for steps in (0, 40):
        model = tiny.model()
        editor = _mend(model, training=TRAINING, max_iters=steps)
        editor.prepare()
        dataset = MendDataset.of(tiny.tokenizer(), TRAINING)
        losses.append(_loss_by_hand(model, editor, dataset, LossWeights(0.1, 1.0, 0.0, -1), 0))
    assert losses[1] < losses[0] - 0.05
    assert all(value.any() for name, value in editor.prepared().items() if name.endswith((".u", ".v")))


def test_a_killed_training_resumes_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between checkpoints and started again, the training gives the network of an uninterrupted one."""
    given: dict[str, Any] = {"training": TRAINING, "max_iters": 7, "accumulate_bs": 2, "cooldown": 0.5}
    whole = _mend(tiny.model(), **given).prepared()
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    call = MetaLoss.__call__

    def killed(self: MetaLoss, step: int, generator: torch.Generator) -> Tensor:
        if step == 5:
            raise KeyboardInterrupt
        return call(self, step, generator)

    monkeypatch.setattr(MetaLoss, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        _mend(tiny.model(), **given, scratch=tmp_path).prepare()
    monkeypatch.setattr(MetaLoss, "__call__", call)
    resumed = _mend(tiny.model(), **given, scratch=tmp_path).prepared()
    assert all(same_bits(value, resumed[name]) for name, value in whole.items())
    assert any(
        not same_bits(value, whole[name]) for name, value in _mend(tiny.model(), **given, seed=1).prepared().items()
    )


def test_training_without_material_is_refused() -> None:
    """No edits, or a single one that names nothing to leave alone, raise MissingTraining."""
    with pytest.raises(MissingTraining, match="several subjects"):
        _mend(tiny.model(), training=TRAINING[:1]).prepare()
    with pytest.raises(MissingTraining, match="pass training"):
        _mend(tiny.model(), training=()).prepare()
