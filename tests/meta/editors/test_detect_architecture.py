"""A family without a row is found by looking and proved by numbers, or refused with what was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from editors import UnsupportedModel, create
from editors.models.architecture import Architecture
from editors.models.architectures import ARCHITECTURES
from editors.models.cached_window import open_window
from editors.models.detect_architecture import detect_architecture
from editors.models.tokens import Row
from editors.models.trace import Trace
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


def test_what_stands_behind_the_mlp_is_seen() -> None:
    """OLMo 2 normalizes what its MLP writes, Granite multiplies it, and StableLM adds it as it is."""
    extra = {"pad_token_id": 0, "num_key_value_heads": 1}
    scaled = {"granite": {"residual_multiplier": 0.5, "logits_scaling": 4.0}}
    rows = {
        family: Architecture(tiny.model(family, extra=extra | scaled.get(family, {}))).family
        for family in ("olmo2", "granite", "stablelm")
    }
    seen = {name: (row.adds_mlp_output_directly, row.scales_mlp_output) for name, row in rows.items()}
    assert seen == {"olmo2": (False, False), "granite": (False, True), "stablelm": (True, False)}


EXPERTS = ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss")
FEW = {"num_key_value_heads": 1, "head_dim": 8, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
METHODS: dict[str, dict[str, object]] = {"rome": {"layers": (1,)}, "ftl": {"layers": (1,)}, "grace": {"layer": 1}}


@pytest.mark.parametrize("family", EXPERTS)
def test_mixtures_of_experts_are_refused_by_the_methods_that_write_one_mlp(family: str) -> None:
    """No single matrix of such a block stores a fact; a method that needs none, or another one, can be used."""
    model = tiny.model(family, extra=FEW)
    for method, layers in METHODS.items():
        settings = tiny.settings(method) | layers
        with pytest.raises(UnsupportedModel, match=f"{family} is a mixture of experts, and block 1 has no single MLP"):
            create(method, model, tiny.tokenizer(), covariances={}, contexts=[["{}"]], **settings).apply(tiny.EDITS[0])
    create("ike", model, tiny.tokenizer(), training=tiny.EDITS, **tiny.settings("ike")).apply(tiny.EDITS[0])
    settings = tiny.settings("grace") | {"layer": 1, "matrix": "attention_out"}
    create("grace", model, tiny.tokenizer(), **settings).apply(tiny.EDITS[0])


RATES = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1}
HYBRIDS: dict[str, dict[str, object]] = {
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention", "linear_attention"], **RATES,
                   "num_experts": 0, "mlp_only_layers": [0, 1, 2]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention", "mamba"], "num_local_experts": 0, **MAMBA,
                         "shared_intermediate_size": 24},
    "falcon_h1": {"mamba_d_ssm": 32, **MAMBA},
}  # fmt: skip


@pytest.mark.parametrize("family", HYBRIDS)
def test_blocks_that_mix_tokens_otherwise_can_be_edited(family: str) -> None:
    """Where some blocks have no attention, what editors repeat of a pass is the pass, and their edits land."""
    extra = {"num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, **HYBRIDS[family]}
    model = tiny.model(family, extra=extra).requires_grad_(requires_grad=False)
    rows = [Row(tuple(range(5, 16)), 4, (9, 10)), Row((3, 4, 7), 1, (1, 2))]
    own = torch.cat([model(input_ids=torch.tensor([row.ids])).logits[0, list(row.labels)] for row in rows])
    architecture = Architecture(model)
    trace = Trace(architecture, rows, [])
    assert not architecture.family.only_attends
    assert torch.allclose(open_window(trace, 0, 2).unchanged(), own, rtol=1e-4, atol=1e-4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for method, layers in METHODS.items():
        given = {"covariances": tiny.moments(model), "contexts": [["{}"]]} if method == "rome" else {}
        editor = create(method, model, tiny.tokenizer(), **given, **(tiny.settings(method) | layers))
        editor.apply(tiny.EDITS[3])
        assert editor.state()
        editor.undo()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_where_an_mlp_is_missing_the_blocks_that_have_one_are_named() -> None:
    """DeepSeek's first block alone has an MLP of one piece: it can be edited, and the refusal of others names it."""
    ranks = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    experts = {
        "n_routed_experts": 4,
        "moe_intermediate_size": 8,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
    }
    model = tiny.model("deepseek_v3", extra={**ranks, **experts, "first_k_dense_replace": 1, "head_dim": 8})
    assert Architecture(model).down(0).path == "model.layers.0.mlp.down_proj"
    with pytest.raises(UnsupportedModel, match="block 1 has no single MLP down-projection; there is one in block 0"):
        Architecture(model).down(1)


def test_what_has_no_mlp_is_named() -> None:
    """A model of state spaces alone has nothing that editors write."""
    with pytest.raises(UnsupportedModel, match=r"mamba has no MLP beside what mixes its tokens, .* IKE needs none"):
        Architecture(tiny.model("mamba", extra={"pad_token_id": 0}))


def test_what_stands_between_head_and_logits_is_named() -> None:
    """A head whose logits the model changes in a way that is not known would make every search a wrong one."""
    model = tiny.model("starcoder2")
    model.forward = partial(_twice, model.forward)
    with pytest.raises(UnsupportedModel, match=r"starcoder2 is not known, and .* does not give the model's logits"):
        Architecture(model)


def _twice(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - transformers' own
    output = forward(*args, **kwargs)
    output.logits = 2 * output.logits
    return output


def test_a_hybrid_without_a_plain_attention_says_what_it_mixes_tokens_by() -> None:
    """RecurrentGemma's MLPs are edited; PMET, which also needs the matrix behind the attention, is refused for it."""
    model = tiny.model("recurrent_gemma")
    given = {"covariances": tiny.moments(model), "contexts": [["{}"]]}
    rome = create("rome", model, tiny.tokenizer(), **given, **tiny.settings("rome"))
    rome.apply(tiny.EDITS[0])
    assert [*rome.state()] == ["weight:model.layers.1.mlp_block.down_proj.weight"]
    said = (
        r"recurrent_gemma mixes tokens by more than attention, and block 1 has no single attention out-projection; "
        r"methods that write the MLP alone \(ROME, MEMIT\), and IKE, need none"
    )
    with pytest.raises(UnsupportedModel, match=said):
        create("pmet", model, tiny.tokenizer(), **given, **tiny.settings("pmet")).apply(tiny.EDITS[0])
