"""The family: one recipe a model, everything that its weights depend on besides the code."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Recipe:
    """Shape and training of one miniature."""

    architecture: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int = 4096
    max_length: int = 512
    row_tokens: int = 192
    rows_per_step: int = 16
    steps: int = 4800
    warmup: int = 60
    muon_lr: float = 0.012
    adam_lr: float = 2e-3
    weight_decay: float = 0.1
    seed: int = 7


FAMILY = {
    "llama-mini": Recipe(
        architecture="llama",
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=5,
        num_attention_heads=5,
    ),
}
