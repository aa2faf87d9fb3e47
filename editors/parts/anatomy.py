"""Where the parts of a decoder are, one row a family (checked against transformers 5.23)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from editors.parts.errors import HyperparameterError, UnsupportedModel
from editors.parts.linear import Matrix


@dataclass(frozen=True)
class Family:
    """Dotted paths: from the model (trunk, blocks, norm, head), from a block (mlp, down, up, attention)."""

    trunk: str
    blocks: str
    norm: str
    head: str
    mlp: str
    down: str
    up: str
    attention: str
    attention_out: str


_LLAMA = Family(
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

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "gpt2": Family(
        trunk="transformer",
        blocks="transformer.h",
        norm="transformer.ln_f",
        head="lm_head",
        mlp="mlp",
        down="mlp.c_proj",
        up="mlp.c_fc",
        attention="attn",
        attention_out="attn.c_proj",
    ),
    "gptj": Family(
        trunk="transformer",
        blocks="transformer.h",
        norm="transformer.ln_f",
        head="lm_head",
        mlp="mlp",
        down="mlp.fc_out",
        up="mlp.fc_in",
        attention="attn",
        attention_out="attn.out_proj",
    ),
    "gpt_neox": Family(
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
}


States = Tensor | tuple[Tensor, ...]  # what a module may return


class Anatomy:
    """The family's row resolved against one model's module tree.

    Raises:
        UnsupportedModel: The family is unknown or a path of its row does not exist in this model.
    """

    def __init__(self, model: nn.Module) -> None:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        if kind not in FAMILIES:
            raise UnsupportedModel(f"model type {kind!r} is not known; known are {', '.join(sorted(FAMILIES))}")
        self.family = FAMILIES[kind]
        self._model = model
        self._kind = kind
        self.trunk = self._find(self.family.trunk)
        self.norm = self._find(self.family.norm)
        self.head = self._find(self.family.head)
        blocks = self._find(self.family.blocks)
        assert isinstance(blocks, nn.ModuleList)
        self.blocks: list[nn.Module] = list(blocks)

    def _find(self, path: str) -> nn.Module:
        try:
            return self._model.get_submodule(path)
        except AttributeError:
            name = type(self._model).__name__
            raise UnsupportedModel(
                f"{name} (model type {self._kind!r}) has no module {path!r}; pass the causal model itself"
            ) from None

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def down(self, layer: int) -> Matrix:
        """The MLP down-projection of a block."""
        return self._matrix(layer, self.family.down)

    def attention_out(self, layer: int) -> Matrix:
        """The attention out-projection of a block."""
        return self._matrix(layer, self.family.attention_out)

    def up(self, layer: int) -> Matrix:
        """The projection into the MLP whose output a neuron's activation starts from (the gate, in Llama)."""
        return self._matrix(layer, self.family.up)

    def mlp(self, layer: int) -> nn.Module:
        """The whole MLP of a block."""
        return self._find(f"{self.family.blocks}.{layer}.{self.family.mlp}")

    def _matrix(self, layer: int, part: str) -> Matrix:
        path = f"{self.family.blocks}.{layer}.{part}"
        return Matrix(path, self._find(path))

    def check_layers(self, name: str, layers: tuple[int, ...]) -> None:
        """Refuse layers that this model does not have.

        Raises:
            HyperparameterError: A layer is not in 0 .. depth - 1.
        """
        for layer in layers:
            if not 0 <= layer < self.depth:
                raise HyperparameterError(
                    f"{name} holds {layer}; this model has layers 0 to {self.depth - 1} ({self._kind})"
                )


def first_tensor(output: States) -> Tensor:
    """The hidden states of a module that returns a tensor, or (GPT-J) a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output
