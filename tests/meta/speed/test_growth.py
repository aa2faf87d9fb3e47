"""Nothing grows faster than it should: twice as many edits or items are at most twice the tokens and bytes.

Seconds are no part of this, they are the machine's; `growth.py` prints them.
"""

from __future__ import annotations

import pytest

from editgate.inputs.benchmarks import BENCHMARKS
from meta.speed.growth import METHODS, Point, exponents, of_edits, of_items

LINEAR = 1.02  # an edit's prompts are a few tokens longer than another's
PADDED = 1.15  # rows are as wide as the widest of their batch, which is wider among more
SEARCH = 1.2  # in weights that many edits have worn a search takes more of its steps, whose number is bounded


@pytest.fixture(autouse=True)
def nightly(request: pytest.FixtureRequest) -> None:
    """Skips what costs minutes, but for `--profile=nightly`."""
    if request.config.option.profile != "nightly":
        pytest.skip("how cost grows is asked under --profile=nightly")


@pytest.mark.parametrize("method", METHODS)
def test_edits_cost_alike_however_many_came_before(method: str) -> None:
    """Tokens that go forward, and bytes of a checkpoint, over N from 4 to 64."""
    found = exponents(list(of_edits(method, (4, 16, 64))))
    assert found["tokens"] <= (SEARCH if method in {"rome", "memit", "alphaedit"} else LINEAR)
    assert found["stored"] <= LINEAR


@pytest.mark.parametrize("row", BENCHMARKS)
def test_items_cost_alike_however_many_are_asked(row: str) -> None:
    """Tokens that go forward: fewer an item where more of them share a prefix."""
    assert exponents(list(of_items(row, (50, 100, 200))))["tokens"] <= PADDED


def test_an_exponent_is_the_slope_of_the_logarithms() -> None:
    """Costs that are the square of the amount have the exponent 2, whatever their unit."""
    points = [Point("x", amount, 3.0 * amount**2, 5.0 * amount, 0) for amount in (1, 10, 100)]
    assert exponents(points) == pytest.approx({"seconds": 2.0, "tokens": 1.0})
