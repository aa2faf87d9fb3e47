"""The modules of one model: its architecture's row in the table, or a detected one, resolved and checked."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from editors.core.errors import HyperparameterError, UnsupportedModel
from editors.models.architectures import ARCHITECTURES, ArchitectureSpec
from editors.models.detect_architecture import detect_architecture, output_head, reject_mixture_of_experts
from editors.models.projection import Matrix

__all__ = ["ARCHITECTURES", "Architecture", "ArchitectureSpec", "States", "first_tensor"]

States = Tensor | tuple[Tensor, ...]  # what a module may return


class Architecture:
    """An `ArchitectureSpec` resolved against one model's modules; detected if the family is not in the table.

    `head(norm(states))` are the model's own logits of the states that leave the last block.

    Raises:
        UnsupportedModel: The model is a mixture of experts, a path of its row does not exist in it, or its modules
            cannot be identified; the message names the nearest families or module paths.
    """

    def __init__(self, model: nn.Module) -> None:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        reject_mixture_of_experts(model, kind)
        self.family = ARCHITECTURES[kind] if kind in ARCHITECTURES else detect_architecture(model, kind)
        self._model = model
        self._kind = kind
        if kind == "opt":
            self._reject_post_norm()
        self.trunk = self._find(self.family.trunk)
        self.norm = self._find(self.family.norm)
        self.head = output_head(model, self._find(self.family.head))
        blocks = self._find(self.family.blocks)
        assert isinstance(blocks, nn.ModuleList)
        self.blocks: list[nn.Module] = list(blocks)

    def _reject_post_norm(self) -> None:
        """OPT-350m alone normalizes after adding_hook, and projects its states before the head."""
        config: Any = self._model.config
        if not config.do_layer_norm_before or config.word_embed_proj_dim != config.hidden_size:
            raise UnsupportedModel(
                "this OPT (350m) normalizes after each addition and projects before its head, so that nothing written "
                "into its hidden states stays there as it is; the other sizes of OPT are supported"
            )

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
        """The projection into the MLP whose output enters the activation function (the gate, in Llama).

        Raises:
            UnsupportedModel: Gate and up-projection are one matrix.
        """
        if not self.family.up:
            raise UnsupportedModel(f"{self._kind} fuses gate and up-projection: no matrix gives a neuron's value alone")
        return self._matrix(layer, self.family.up)

    def mlp(self, layer: int) -> nn.Module:
        """The whole MLP of a block, from hidden states [B, length, d] to what it adds to them.

        Raises:
            UnsupportedModel: The block has no such module.
        """
        if not self.family.mlp:
            raise UnsupportedModel(
                f"{self._kind} has no module that is its MLP and nothing else, only {self.family.up} and "
                f"{self.family.down}; methods that run or train the MLP as a whole (KN, MEND) cannot be used, those "
                "that write one matrix can"
            )
        return self._find(f"{self.family.blocks}.{layer}.{self.family.mlp}")

    def writer(self, layer: int) -> nn.Module:
        """The module whose output the block adds to the hidden states as it is: the down-projection.

        Raises:
            UnsupportedModel: The block normalizes that output first.
        """
        if not self.family.adds_mlp_output_directly:
            raise UnsupportedModel(
                f"{self._kind} normalizes what its MLP writes before adding_hook it, so that a vector searched in the "
                "hidden states is not what its down-projection must give: ROME, R-ROME, MEMIT, AlphaEdit and KN "
                "cannot be used; FT-L, MEND, PMET, GRACE, SERAC and IKE can"
            )
        return self.down(layer).module

    def check_batch_dimension(self, method: str) -> None:
        """Raise unless the model's MLP gets hidden states with a batch dimension.

        Raises:
            UnsupportedModel: Its MLP gets the tokens of all rows in one sequence.
        """
        if not self.family.mlp_keeps_batch_dim:
            raise UnsupportedModel(
                f"{self._kind} hands its MLP the tokens of all rows one after another; {method} must know the rows"
            )

    def _matrix(self, layer: int, part: str) -> Matrix:
        path = f"{self.family.blocks}.{layer}.{part}"
        return Matrix(path, self._find(path))

    def check_layers(self, name: str, layers: tuple[int, ...]) -> None:
        """Check layer indices.

        Raises:
            HyperparameterError: A layer is not in 0 .. depth - 1.
        """
        for layer in layers:
            if not 0 <= layer < self.depth:
                raise HyperparameterError(
                    f"{name} contains {layer}; this model has layers 0 to {self.depth - 1} ({self._kind})"
                )


def first_tensor(output: States) -> Tensor:
    """The hidden states of a module that returns a tensor, or (GPT-J) a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output
