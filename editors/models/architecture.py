"""The modules of one model: its architecture's row in the table, or a detected one, resolved and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from editors.core.errors import HyperparameterError, UnsupportedModel
from editors.models.architectures import ARCHITECTURES, ArchitectureSpec
from editors.models.detect_architecture import detect_architecture, is_mixture_of_experts, output_head
from editors.models.projection import Matrix

__all__ = ["ARCHITECTURES", "Architecture", "ArchitectureSpec", "States", "first_tensor"]

LARGE = 1 << 28  # bytes of weights
States = Tensor | tuple[Tensor, ...]  # what a module may return


class Architecture:
    """An `ArchitectureSpec` resolved against one model's modules; detected if the family is not in the table.

    `head(norm(states))` are the model's own logits of the states that leave the last block.

    Raises:
        UnsupportedModel: A path of its row does not exist in it, or its modules cannot be identified; the message names
            the nearest families or module paths.
    """

    def __init__(self, model: nn.Module) -> None:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
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
        """OPT-350m alone normalizes after adding, and projects its states before the head."""
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
    def size(self) -> int:
        """Bytes of the model's weights, wherever they are kept."""
        return sum(parameter.nbytes for parameter in self._model.parameters())

    @property
    def is_large(self) -> bool:
        """Whether memory is saved where that takes time: beside a small model, several times its size is nothing."""
        return self.size >= LARGE

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def down(self, layer: int) -> Matrix:
        """The MLP down-projection of a block.

        Raises:
            UnsupportedModel: The block has none: its MLP is a mixture of experts, or it has no MLP.
        """
        return self._matrix(layer, self.family.down, "MLP down-projection")

    def named(self, field: str, name: str) -> tuple[Matrix, int]:
        """The matrix of a parameter and the index of its block.

        Raises:
            HyperparameterError: No block has a matrix of that name; the message has the name of the hyperparameter.
        """
        path, _, end = name.rpartition(".")
        for layer, block in enumerate(self.blocks):
            start = f"{self.family.blocks}.{layer}."
            modules = dict(block.named_modules())
            if end == "weight" and path.startswith(start) and path.removeprefix(start) in modules:
                return Matrix(path, modules[path.removeprefix(start)]), layer
        raise HyperparameterError(
            f"{field} contains {name!r}; it may contain matrices of blocks, such as {self.down(0).parameter}"
        )

    def attention_out(self, layer: int) -> Matrix:
        """The attention out-projection of a block.

        Raises:
            UnsupportedModel: The block has none.
        """
        return self._matrix(layer, self.family.attention_out, "attention out-projection")

    def up(self, layer: int) -> Matrix:
        """The projection into the MLP whose output enters the activation function (the gate, in Llama).

        Raises:
            UnsupportedModel: Gate and up-projection are one matrix.
        """
        if not self.family.up:
            raise UnsupportedModel(f"{self._kind} fuses gate and up-projection: no matrix gives a neuron's value alone")
        return self._matrix(layer, self.family.up, "matrix before the activation")

    def mlp(self, layer: int) -> nn.Module:
        """The whole MLP of a block, from hidden states [B, length, d] to what it adds to them.

        Raises:
            UnsupportedModel: The block has no such module.
        """
        self.down(layer)  # a block with experts has no MLP of one piece
        if not self.family.mlp:
            raise UnsupportedModel(
                f"{self._kind} has no module that is its MLP and nothing else, only {self.family.up} and "
                f"{self.family.down}; methods that run or train the MLP as a whole (KN, MEND) cannot be used, those "
                "that write one matrix can"
            )
        return self._find(f"{self.family.blocks}.{layer}.{self.family.mlp}")

    def check_mlp_is_added(self, method: str) -> None:
        """Raise unless what the MLP writes arrives in the hidden states as it is.

        Raises:
            UnsupportedModel: The block normalizes or multiplies it first.
        """
        if not self.family.adds_mlp_output_directly:
            how = "multiplies" if self.family.scales_mlp_output else "normalizes"
            raise UnsupportedModel(
                f"{self._kind} {how} what its MLP writes before it is added, and {method} takes it as it is; use ROME, "
                "R-ROME, FT-L, MEND, GRACE, SERAC or IKE"
            )

    def check_spread(self, method: str, layers: tuple[int, ...]) -> None:
        """Raise unless one vector means the same in each of these blocks, so that each can write its share of it.

        Raises:
            UnsupportedModel: There are several, and each has a norm of its own behind its MLP.
        """
        if len(layers) > 1 and not (self.family.adds_mlp_output_directly or self.family.scales_mlp_output):
            raise UnsupportedModel(
                f"{self._kind} normalizes what its MLP writes before it is added, in each block differently, so that "
                f"{method} cannot spread one vector over layers {', '.join(map(str, layers))}; give one, such as "
                f"layers=[{layers[-1]}], or use ROME, R-ROME, FT-L, MEND, GRACE, SERAC or IKE"
            )

    def check_batch_dimension(self, method: str) -> None:
        """Raise unless the model's MLP gets hidden states with a batch dimension.

        Raises:
            UnsupportedModel: Its MLP gets the tokens of all rows in one sequence.
        """
        if not self.family.mlp_keeps_batch_dim:
            raise UnsupportedModel(
                f"{self._kind} hands its MLP the tokens of all rows one after another; {method} must know the rows"
            )

    def _matrix(self, layer: int, part: str, what: str) -> Matrix:
        path = f"{self.family.blocks}.{layer}.{part}"
        have = [index for index, block in enumerate(self.blocks) if part and _has(block, part)]
        if layer not in have:
            why = "is a mixture of experts" if is_mixture_of_experts(self._model) else "has blocks that differ"
            none = "GRACE with matrix=attention_out, and IKE, need none"
            if what.startswith("attention"):
                why = why if self.family.only_attends else "mixes tokens by more than attention"
                none = "methods that write the MLP alone (ROME, MEMIT), and IKE, need none"
            way = f"there is one in {_list(have)}" if have else none
            raise UnsupportedModel(f"{self._kind} {why}, and block {layer} has no single {what}; {way}")
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


def _list(blocks: Sequence[int]) -> str:
    return f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {', '.join(map(str, blocks))}"


def _has(block: nn.Module, path: str) -> bool:
    try:
        block.get_submodule(path)
    except AttributeError:
        return False
    return True


def first_tensor(output: States) -> Tensor:
    """The hidden states of a module that returns a tensor, or (GPT-J) a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output
