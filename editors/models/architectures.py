"""Table of architectures: the module paths of each model family (checked with transformers 5.23 and 5.24)."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ArchitectureSpec:
    """Dotted paths: from the model (trunk, blocks, norm, head), from a block (mlp, down, up, attention).

    Attributes:
        mlp: Empty if the projections are modules of the block itself.
        down: Empty if all MLPs are mixtures of experts. Where blocks differ, some may lack it.
        up: Empty where gate and up-projection are fused into one matrix.
        attention, attention_out: Empty where no matrix, or more than one, writes what attention found.
        adds_mlp_output_directly: Whether the down-projection's output is added to the hidden states as it is.
        scales_mlp_output: Whether it is multiplied by one constant before, and not normalized.
        only_attends: Whether attention alone mixes tokens, so that keys and values are all that a pass must keep.
        mlp_keeps_batch_dim: Whether the MLP gets hidden states [B, length, d]; else [B length, d].
    """

    trunk: str
    blocks: str
    norm: str
    head: str
    mlp: str
    down: str
    up: str
    attention: str
    attention_out: str
    adds_mlp_output_directly: bool = True
    scales_mlp_output: bool = False
    mlp_keeps_batch_dim: bool = True
    only_attends: bool = True


_LLAMA = ArchitectureSpec(
    trunk="model",
    blocks="model.layers",
    norm="model.norm",
    head="lm_head",
    mlp="mlp",
    down="mlp.down_proj",
    up="mlp.gate_proj",
    attention="self_attn",
    attention_out="self_attn.o_proj",
)
_GPT2 = ArchitectureSpec(
    trunk="transformer",
    blocks="transformer.h",
    norm="transformer.ln_f",
    head="lm_head",
    mlp="mlp",
    down="mlp.c_proj",
    up="mlp.c_fc",
    attention="attn",
    attention_out="attn.c_proj",
)
_SANDWICH = replace(_LLAMA, adds_mlp_output_directly=False)  # a norm before the MLP and another one after it

ARCHITECTURES: dict[str, ArchitectureSpec] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _SANDWICH,
    "gemma3_text": _SANDWICH,
    "phi3": replace(_LLAMA, up=""),
    "phi": replace(_LLAMA, norm="model.final_layernorm", down="mlp.fc2", up="mlp.fc1", attention_out="self_attn.dense"),
    "gpt2": _GPT2,
    "gptj": replace(_GPT2, down="mlp.fc_out", up="mlp.fc_in", attention_out="attn.out_proj"),
    "gpt_neox": ArchitectureSpec(
        trunk="gpt_neox",
        blocks="gpt_neox.layers",
        norm="gpt_neox.final_layer_norm",
        head="lm_head",
        mlp="mlp",
        down="mlp.dense_4h_to_h",
        up="mlp.dense_h_to_4h",
        attention="attention",
        attention_out="attention.dense",
    ),
    "opt": ArchitectureSpec(
        trunk="model.decoder",
        blocks="model.decoder.layers",
        norm="model.decoder.final_layer_norm",
        head="lm_head",
        mlp="",
        down="fc2",
        up="fc1",
        attention="self_attn",
        attention_out="self_attn.out_proj",
        mlp_keeps_batch_dim=False,
    ),
}
