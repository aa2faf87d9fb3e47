"""The second stage widens what down-projections are given, and wakes units that never write."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

from editgate.geometry.spectrum import Spectrum
from editgate.miniature.manifest import spectra
from editgate.miniature.recipes import FAMILY, WEIGHTS
from editgate.miniature.training import spread
from editors.models.compat import Conv1D
from editors.models.projection import Matrix
from meta.support import tiny_models as tiny

MAX_CONDITION, MIN_RANK = 1e5, 0.15  # a real model's, SmolLM2-135M: 1.4e3 and 0.28
NARROWER = {("pythia-mini-l", 0): 0.10}  # shares of the width that 400 steps did not widen further


def keys(stretch: float) -> Tensor:
    """Gaussian keys [4000, 24] whose standard deviations go from 1 to `stretch`."""
    drawn = torch.randn(4000, 24, generator=torch.Generator().manual_seed(0))
    return drawn * torch.logspace(0, math.log10(stretch), 24)


def test_narrower_keys_pay_more_whatever_their_size() -> None:
    """White keys pay nearly nothing, stretched ones more, and a common factor changes nothing."""
    white, wide, narrow = (float(spread.narrowness(keys(stretch))) for stretch in (1, 10, 1000))
    assert abs(white) < 0.02 < wide < narrow
    assert float(spread.narrowness(7.5 * keys(10))) == pytest.approx(wide, rel=1e-4)


def test_following_the_penalty_downhill_raises_the_effective_rank() -> None:
    """A linear map that is trained on the penalty alone gives keys of twice the rank."""
    weight = torch.nn.Parameter(torch.diag(torch.logspace(0, -2, 24)))
    optimizer = torch.optim.Adam([weight], lr=0.02)

    def rank() -> float:
        made = keys(1) @ weight.detach().T
        return Spectrum.of("", made.T @ made).effective_rank

    before = rank()
    for _ in range(100):
        optimizer.zero_grad()
        spread.narrowness(keys(1) @ weight.T).backward()
        optimizer.step()
    assert rank() > 2 * before


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_dormant_units_write_again_and_the_model_says_the_same(family: str) -> None:
    """Two units that write nothing are drawn anew, no others; logits stay, and the units' inputs are as large."""
    model = tiny.model(family)
    ids = torch.randint(4, 60, (4, 20), generator=torch.Generator().manual_seed(1))
    read = torch.ones_like(ids, dtype=torch.bool)
    _silence(model, units=[1, 5])
    with torch.no_grad(), spread.keys_of(model) as found:
        before = model(ids).logits
        count = spread.redraw_dormant(model, dict(found), read, torch.Generator().manual_seed(0))
        after = model(ids).logits
    assert count == 2
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    sizes = found[0].square().mean((0, 1)).sqrt()
    assert sizes[[1, 5]].min() > spread.DORMANT * sizes.median()


def _silence(model: nn.Module, units: list[int]) -> None:
    """Make these units of the first block write nothing: no input reaches them."""
    first = next(name for name, _ in model.named_modules() if name.endswith(".0.mlp"))
    with torch.no_grad():
        for name, module in model.get_submodule(first).named_children():
            if not isinstance(module, nn.Linear | Conv1D) or name in ("down_proj", "c_proj", "dense_4h_to_h"):
                continue
            Matrix(name, module).stored(module.weight)[units] = 0.0
            if module.bias is not None:
                module.bias[units] = 0.0


@pytest.mark.parametrize("name", sorted(FAMILY))
def test_shipped_weights_are_in_the_regime_of_real_models(name: str) -> None:
    """At every block: condition at most 1e5, effective rank at least 0.15 of the width but for one, no dead unit."""
    stored = json.loads((WEIGHTS / name / "manifest.json").read_text(encoding="utf-8"))["spectra"]
    assert len(stored) == FAMILY[name].num_hidden_layers
    for block, row in enumerate(stored):
        assert row["condition_number"] <= MAX_CONDITION, row
        least = NARROWER.get((name, block), MIN_RANK)
        assert row["effective_rank"] >= least * row["width"], row
        assert row["dead"] == 0, row


@pytest.mark.parametrize("name", sorted(FAMILY))
def test_stored_spectra_are_those_of_the_weights(name: str, request: pytest.FixtureRequest) -> None:
    """Computed anew from the shipped files, every number is the stored one to a hundredth."""
    if request.config.option.profile != "nightly":
        pytest.skip("spectra are computed anew under --profile=nightly")
    stored = json.loads((WEIGHTS / name / "manifest.json").read_text(encoding="utf-8"))["spectra"]
    for row, found in zip(stored, map(asdict, spectra(WEIGHTS / name)), strict=True):
        assert row == pytest.approx({**found, "unit_sizes": list(found["unit_sizes"])}, rel=0.01)
