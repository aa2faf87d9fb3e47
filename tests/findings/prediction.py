"""Does a miniature predict the giants? Methods ranked by the edits they bear, here and in the paper's tables."""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from findings.claims import CAPABILITIES
from findings.sweeps import FAILING, Array, Sweep
from findings.tables import Cell, never

PAPER = Path(__file__).with_name("paper.toml")
GIANTS = {"base": "Llama-2-7B", "other": "Mistral-7B"}  # by the place in a family whose model stands for them


@dataclass(frozen=True)
class Prediction:
    """How well the order of methods here is that of the paper.

    Attributes:
        correlation: Spearman's, of the edits to failure; never counts as more than any number.
        p_value: share of all pairings of the same ranks whose correlation is at least as far from zero.
        methods: how many were compared.
        rows: by method, the edits to failure of both.
    """

    correlation: float
    p_value: float
    methods: int
    rows: dict[str, dict[str, Cell]]

    def __str__(self) -> str:
        """Such as `Spearman +0.80 over 4 methods (p = 0.33)`."""
        return f"Spearman {self.correlation:+.2f} over {self.methods} methods (p = {self.p_value:.2f})"


@cache
def tables() -> dict[str, Any]:
    """Return the paper's tables by model, method and N, without the cells that are known to be defective."""
    return tomllib.loads(PAPER.read_text(encoding="utf-8"))


def left_out() -> str:
    """Return which methods are not compared, and why, in one line."""
    return "; ".join(f"{name}: {why}" for name, why in tables()["excluded"].items())


def methods(giant: str) -> tuple[str, ...]:
    """Return the methods that the paper has sound cells of."""
    return tuple(name for name in tables()[giant] if name != "unedited")


def published(giant: str) -> dict[str, float]:
    """Return by method the first N at which less than FAILING of the unedited scores is left, infinite for never."""
    table, unedited = tables()[giant], np.asarray(tables()[giant]["unedited"])
    found = {}
    for name in methods(giant):
        left = {int(n): (np.asarray(row) / unedited).mean() for n, row in table[name].items()}
        found[name] = next((float(n) for n, share in left.items() if share < FAILING), math.inf)
    return found


def measured(sweeps: Sequence[Sweep]) -> dict[str, float]:
    """Return by method the median over orders of the edits to failure, infinite for never."""
    found = {sweep.editor: [math.inf if n is None else n for n in sweep.fails_at(CAPABILITIES)] for sweep in sweeps}
    return {name: float(statistics.median_low(each)) for name, each in found.items()}


def compare(here: Mapping[str, float], there: Mapping[str, float]) -> Prediction:
    """Rank the methods that both know.

    Raises:
        ValueError: fewer than three methods are in both, or all of them fail alike in one: there is no order.
    """
    names = sorted(set(here) & set(there))
    ours, theirs = (stats.rankdata([each[name] for name in names]) for each in (here, there))
    if len(names) < 3 or len(set(ours)) == 1 or len(set(theirs)) == 1:
        raise ValueError(f"no ranks to compare among {', '.join(names)}")
    rows: dict[str, dict[str, Cell]] = {
        name: {"here": never(here[name]), "paper": never(there[name])} for name in names
    }

    def correlation(ranks: Array) -> float:
        return float(stats.pearsonr(ranks, theirs).statistic)

    tested = stats.permutation_test((ours,), correlation, permutation_type="pairings", vectorized=False)
    return Prediction(correlation(ours), float(tested.pvalue), len(names), rows)
