"""A family without a row is found by looking and proved by numbers, or refused with what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from editors import UnsupportedModel, create
from editors.models.architecture import Architecture
from editors.models.architectures import ARCHITECTURES
from editors.models.detect_architecture import detect_architecture
from meta.support import tiny_models as tiny

PROBED = {"falcon": "transformer.h.1.mlp.dense_4h_to_h", "starcoder2": "model.layers.1.mlp.c_proj"}


@pytest.mark.parametrize("family", sorted(set(ARCHITECTURES) - {"opt"}))
def test_detection_finds_the_tables_rows(family: str) -> None:
    """Of every family in the table but OPT, whose MLP is no module, a look at the tree gives the row itself."""
    row = ARCHITECTURES[family]
    assert detect_architecture(tiny.model(family), family) == replace(row, up=row.up)


@pytest.mark.parametrize("family", PROBED)
def test_unknown_families_can_be_edited(family: str) -> None:
    """ROME writes the down-projection that probing found, and undo is bit-exact."""
    model = tiny.model(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    editor = create(
        "rome", model, tiny.tokenizer(), covariances=tiny.moments(model), contexts=[["{}"]], **tiny.settings("rome")
    )
    editor.apply(tiny.EDITS[0])
    assert [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])] == [
        f"{PROBED[family]}.weight"
    ]
    editor.undo()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_late_norm_is_seen() -> None:
    """OLMo 2 normalizes what its MLP writes; probing sees it in the numbers and ROME's search is refused."""
    with pytest.raises(UnsupportedModel, match="olmo2 normalizes what its MLP writes"):
        Architecture(tiny.model("olmo2", extra={"pad_token_id": 0})).writer(0)


EXPERTS = {"mixtral": "mistral", "qwen2_moe": "qwen2", "qwen3_moe": "qwen3", "gpt_oss": "gpt_neox"}


@pytest.mark.parametrize("family", EXPERTS)
def test_mixtures_of_experts_are_refused_by_name(family: str) -> None:
    """A mixture of experts is refused with the nearest supported families."""
    with pytest.raises(UnsupportedModel, match=f"{family} is a mixture of experts.*nearest in name: {EXPERTS[family]}"):
        Architecture(tiny.model(family))


NOT_UNDERSTOOD = {
    "bloom": "final norm of transformer more than one candidate; closest module paths: ln_f, word_embeddings",
    "mamba": "attention out-projection nothing fits; closest module paths: mixer.in_proj",
    "cohere": "lm_head on model.norm .* does not give the model's logits",
}


@pytest.mark.parametrize("family", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_named(family: str) -> None:
    """Two candidates, none, or numbers that do not agree: each is refused with the paths that were looked at."""
    with pytest.raises(UnsupportedModel, match=f"{family} is not known, and .*{NOT_UNDERSTOOD[family]}"):
        Architecture(tiny.model(family, extra={"pad_token_id": 0}))
