"""The family: one recipe a model, everything that its weights depend on besides the code."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Recipe:
    """Shape and training of one miniature.

    Attributes:
        num_key_value_heads: less than `num_attention_heads` for grouped-query attention; None: as many.
        head_dim: width of a head; None: what makes all heads together as wide as the model.
        begins_from: the miniature whose weights it starts from; empty: from scratch.
        begins_at: share of the curriculum at which it starts (0 to 1); it then stays where the curriculum ends.
        chat: whether it learns to answer as an assistant, on top of the curriculum.
        spread: weight of the penalty on narrow keys in the second stage (`training.spread`).
        spread_steps: steps of the second stage, which reads what the curriculum ends with.
        spread_rate: its learning rates, as a share of the first stage's.
        precision: of the passes while training; weights and optimizers are float32.
        muon_precision: of the matrices that Muon makes orthogonal.
    """

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
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    begins_from: str = ""
    begins_at: float = 0.0
    chat: bool = False
    spread: float = 0.03
    spread_steps: int = 400
    spread_rate: float = 0.4
    precision: str = "float32"
    muon_precision: str = "float32"


FAMILY = {
    "llama-mini": Recipe(
        architecture="llama",
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=5,
        num_attention_heads=5,
        precision="bfloat16",
        muon_precision="bfloat16",
    ),
    "llama-mini-chat": Recipe(
        architecture="llama",
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=5,
        num_attention_heads=5,
        begins_from="llama-mini",
        begins_at=1.0,
        chat=True,
        steps=800,
        muon_lr=0.005,
        adam_lr=1e-3,
        muon_precision="bfloat16",
    ),
    "mistral-mini": Recipe(
        architecture="mistral",
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=5,
        num_attention_heads=10,
        num_key_value_heads=5,
        head_dim=32,
        begins_from="llama-mini",
        begins_at=1.0,
        steps=800,
        muon_lr=0.005,
        adam_lr=1e-3,
        seed=11,
    ),
    "gpt2-mini": Recipe(
        architecture="gpt2",
        hidden_size=160,
        intermediate_size=640,
        num_hidden_layers=5,
        num_attention_heads=5,
        spread=0.05,
    ),
    "pythia-mini-s": Recipe(
        architecture="gpt_neox",
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=2,
    ),
    "pythia-mini-m": Recipe(
        architecture="gpt_neox",
        hidden_size=128,
        intermediate_size=304,
        num_hidden_layers=5,
        num_attention_heads=4,
        spread=0.05,
    ),
    "pythia-mini-l": Recipe(
        architecture="gpt_neox",
        hidden_size=192,
        intermediate_size=640,
        num_hidden_layers=6,
        num_attention_heads=6,
        spread=0.05,
    ),
}
