"""What hypothesis draws in more than one file."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from meta.support import tiny_models as tiny

shapes = st.builds(
    tiny.Shape,
    family=st.sampled_from(["llama", "gpt2"]),
    width=st.sampled_from([8, 16]),
    inner=st.sampled_from([16, 24]),
    tied=st.booleans(),
    seed=st.integers(0, 999),
    dtype=st.just(torch.float64),
)
