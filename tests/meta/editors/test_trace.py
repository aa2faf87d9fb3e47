"""The fast passes compute what whole forward passes compute.

The reference here is the model's own forward with a hook, written from the definition and sharing no code
with `editors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from editors.locate.value_search import Loss
from editors.models.architecture import Architecture
from editors.models.cached_window import CachedWindow, PlainWindow, Window, open_window
from editors.models.tokens import Row
from editors.models.trace import Trace
from meta.support import tiny_models as tiny

SDPA = sorted(set(tiny.CORE) - {"gptj"})  # transformers has no other attention than eager for it
# transformers rounds to float32 inside these families (norms, softmax, attention) whatever the model's type
TOLERANCE = {"gpt_neox": 1e-5, "llama": 1e-5, "mistral": 1e-5, "gptj": 1e-4}
few = settings(max_examples=8, deadline=None)
rows_of_ids = st.lists(st.lists(st.integers(2, tiny.WORDS - 1), min_size=2, max_size=9), min_size=2, max_size=4)


def _rows(ids: Sequence[Sequence[int]], seed: int) -> list[Row]:
    """Rows with a fact token somewhere; two labels each, the last row one, at its fact token."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for each in ids:
        lookup = int(torch.randint(len(each) - 1, (1,), generator=generator))
        rows.append(Row(tuple(each), lookup, (len(each) - 2, len(each) - 1)))
    last = rows[-1]
    return [*rows[:-1], Row(last.ids[: last.lookup + 1], last.lookup, (last.lookup,))]


def _reference(model: PreTrainedModel, rows: Sequence[Row], module: torch.nn.Module, delta: Tensor) -> Tensor:
    """Logits at all labels, each row alone, with delta added to a module's output at the fact token."""
    logits = []
    for row in rows:

        def hook(_module: object, _args: object, output: Any, at: int = row.lookup) -> Any:  # noqa: ANN401
            states = (output[0] if isinstance(output, tuple) else output).clone()
            states[0, at] = states[0, at] + delta
            return (states, *output[1:]) if isinstance(output, tuple) else states

        handle = module.register_forward_hook(hook)
        logits.append(model(input_ids=torch.tensor([row.ids])).logits[0, list(row.labels)])
        handle.remove()
    return torch.cat(logits)


def _delta(width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def _loss(logits: Tensor, delta: Tensor) -> Tensor:
    """The search's loss with p_0 uniform, so that the KL term has a gradient too."""

    class Weights:
        v_num_grad_steps, v_lr, v_weight_decay, clamp_norm_factor, kl_factor = 1, 0.5, 0.5, 4.0, 0.5

    loss = Loss(torch.arange(len(logits) - 1) % tiny.WORDS, 2.0, Weights())
    loss(torch.zeros_like(logits), torch.zeros_like(delta))
    return loss(logits, delta)


Logits = Callable[[Tensor], Tensor]


def _agree(left: Logits, right: Logits, delta: Tensor, family: str = "") -> None:
    """Same logits and same gradient of the loss."""
    tolerance = TOLERANCE.get(family, 1e-9)
    first, second = left(delta), right(delta)
    assert torch.allclose(first, second, rtol=tolerance, atol=tolerance)
    (one,), (two,) = (torch.autograd.grad(_loss(logits, delta), delta) for logits in (first, second))
    assert torch.allclose(one, two, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("family", "attention"), [*product(tiny.CORE, ["eager"]), *product(SDPA, ["sdpa"])])
@few
@given(rows_of_ids, st.integers(0, 2**31), st.integers(0, 2))
def test_cached_window_equals_whole_forward(
    family: str, attention: str, ids: list[list[int]], seed: int, site: int
) -> None:
    """Logits and gradient of the cached search agree in float64 with hooked forward passes of single rows."""
    model = tiny.model(family, dtype=torch.float64, attention=attention).requires_grad_(requires_grad=False)
    architecture, rows = Architecture(model), _rows(ids, seed)
    window = CachedWindow(Trace(architecture, rows, []), site, architecture.depth - 1)
    block = architecture.blocks[site]
    _agree(window.logits, lambda delta: _reference(model, rows, block, delta), _delta(16, seed), family)


@pytest.mark.parametrize("family", tiny.CORE)
def test_adding_to_the_mlp_is_adding_to_the_block(family: str) -> None:
    """A vector added to the MLP's output acts as if added to the block's; zero changes nothing."""
    model = tiny.model(family, dtype=torch.float64).requires_grad_(requires_grad=False)
    architecture, rows = Architecture(model), _rows([[5, 6, 7, 8], [9, 10, 11]], 0)
    delta = _delta(16, 1)
    window = CachedWindow(Trace(architecture, rows, []), 1, architecture.depth - 1)
    _agree(window.logits, lambda delta: _reference(model, rows, architecture.mlp(1), delta), delta, family)
    base = torch.cat([model(input_ids=torch.tensor([row.ids])).logits[0, list(row.labels)] for row in rows])
    nothing = torch.zeros(16, dtype=torch.float64)
    assert torch.allclose(window.logits(nothing), base, atol=TOLERANCE.get(family, 1e-9))


@pytest.mark.parametrize("family", tiny.CORE)
@pytest.mark.parametrize("kind", [CachedWindow, PlainWindow])
def test_early_labels_are_a_logit_lens(family: str, kind: type[CachedWindow | PlainWindow]) -> None:
    """With an early block all labels but the last are read after it, through the final norm and head."""
    model = tiny.model(family, dtype=torch.float64).requires_grad_(requires_grad=False)
    architecture, rows = Architecture(model), _rows([[5, 6, 7, 8], [9, 10, 11]], 0)
    trace = Trace(architecture, rows, [])
    got = kind(trace, 0, 1).logits(torch.zeros(16, dtype=torch.float64))
    lens = architecture.head(architecture.norm(trace.entering[2][0, list(rows[0].labels)]))
    full = model(input_ids=torch.tensor([rows[1].ids])).logits[0, -1:]
    assert torch.allclose(got, torch.cat([lens, full]), atol=TOLERANCE.get(family, 1e-9))


def test_sliding_windows_are_kept() -> None:
    """Mistral's sliding attention, shorter than the rows, is that of the model's own forward."""
    model = tiny.model("mistral", dtype=torch.float64, extra={"sliding_window": 3}).requires_grad_(requires_grad=False)
    architecture, rows = Architecture(model), [Row(tuple(range(5, 15)), 5, (8, 9)), Row((3, 4), 1, (1,))]
    window = CachedWindow(Trace(architecture, rows, []), 0, 2)
    _agree(
        window.logits,
        lambda delta: _reference(model, rows, architecture.blocks[0], delta),
        _delta(16, 3),
        "mistral",
    )


def test_unknown_attention_falls_back_to_whole_passes() -> None:
    """A model with another attention implementation gets the plain window, with the same numbers."""
    model = tiny.model("llama", dtype=torch.float64).requires_grad_(requires_grad=False)
    architecture, rows = Architecture(model), _rows([[5, 6, 7, 8], [9, 10, 11]], 0)
    trace = Trace(architecture, rows, [])
    fast: Window = open_window(trace, 0, 2)
    model.config._attn_implementation = "flex_attention"
    plain = open_window(trace, 0, 2)
    model.config._attn_implementation = "sdpa"
    assert isinstance(fast, CachedWindow)
    assert isinstance(plain, PlainWindow)
    _agree(fast.logits, plain.logits, _delta(16, 4), "llama")


@few
@given(rows_of_ids, st.integers(0, 2**31), st.lists(st.integers(2, 9), min_size=12, max_size=20))
def test_padding_changes_nothing(ids: list[list[int]], seed: int, long: list[int]) -> None:
    """A longer row in the batch, hence more padding on the right of the others, leaves their logits alone."""
    model = tiny.model("gpt2", dtype=torch.float64).requires_grad_(requires_grad=False)
    architecture, rows = Architecture(model), _rows(ids, seed)
    longer = [Row(tuple(long), len(long) - 1), *rows]
    delta = _delta(16, seed)
    short, padded = (CachedWindow(Trace(architecture, each, []), 1, 2) for each in (rows, longer))
    _agree(short.logits, padded.logits, delta)


@pytest.mark.parametrize("family", tiny.CORE)
def test_advance_sees_changed_weights(family: str) -> None:
    """Running on from a block whose matrix has changed gives the keys and outputs of a new pass."""
    model = tiny.model(family, dtype=torch.float64).requires_grad_(requires_grad=False)
    architecture, rows = Architecture(model), _rows([[5, 6, 7, 8], [9, 10, 11]], 0)
    trace = Trace(architecture, rows, [0, 1, 2])
    architecture.down(0).weight.mul_(1.5)
    trace.advance(0, 1)
    fresh = Trace(architecture, rows, [0, 1, 2])
    assert torch.allclose(trace.keys[1], fresh.keys[1], atol=TOLERANCE.get(family, 1e-9))
    assert torch.allclose(trace.leaving(1), fresh.leaving(1), atol=TOLERANCE.get(family, 1e-9))
    assert torch.allclose(trace.outputs[1], fresh.outputs[1], atol=TOLERANCE.get(family, 1e-9))
    assert not torch.allclose(trace.keys[2], fresh.keys[2], atol=1e-6), "the sweep ended at block 1"
