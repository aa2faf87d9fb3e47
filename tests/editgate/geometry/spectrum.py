"""The spectrum of a matrix's inputs: how many directions a model uses, and how evenly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DEAD = 1e-3  # a unit is dead if its root mean square is below this share of the median unit's
ENERGY = 0.99


@dataclass(frozen=True)
class Spectrum:
    """What the second moment C = E[k kᵀ] [f, f] of a matrix's inputs k says.

    Attributes:
        path: of the module, such as `model.layers.1.mlp.down_proj`.
        width: f, the number of units.
        condition_number: largest eigenvalue over least; infinite if C is singular.
        effective_rank: exponential of the entropy of the normalized eigenvalues (Roy and Vetterli, EUSIPCO 2007):
            1 if all energy is in one direction, f if it is spread evenly.
        directions: the fewest eigenvectors that hold 99 % of the energy.
        dead: units whose root mean square is below a thousandth of the median unit's.
        equal_condition_number: the condition number after every unit is divided by its root mean square. A model can
            be written so without computing anything else where unit and weight scale alike (SwiGLU), so what is left
            is not a matter of units.
        equal_effective_rank: likewise.
        unit_sizes: least, median and largest root mean square of a unit.
    """

    path: str
    width: int
    condition_number: float
    effective_rank: float
    directions: int
    dead: int
    equal_condition_number: float
    equal_effective_rank: float
    unit_sizes: tuple[float, float, float]

    @classmethod
    def of(cls, path: str, covariance: Tensor) -> Spectrum:
        """Return the spectrum of C [f, f]; computed in float64."""
        wide = covariance.double().cpu()
        sizes = wide.diagonal().clamp(min=0).sqrt()
        values = eigenvalues(wide)
        scale = sizes.clamp(min=torch.finfo(torch.float64).tiny).reciprocal()
        equal = eigenvalues(wide * scale[:, None] * scale)
        share = values.flip(0).cumsum(0) / values.sum()
        return cls(
            path=path,
            width=len(wide),
            condition_number=_condition_number(values),
            effective_rank=effective_rank(values),
            directions=int((share < ENERGY).sum()) + 1,
            dead=int((sizes < DEAD * sizes.median()).sum()),
            equal_condition_number=_condition_number(equal),
            equal_effective_rank=effective_rank(equal),
            unit_sizes=(float(sizes.min()), float(sizes.median()), float(sizes.max())),
        )


def eigenvalues(moment: Tensor) -> Tensor:
    """Return the eigenvalues [f] of a second moment, ascending; what rounding made negative is 0."""
    values: Tensor = torch.linalg.eigvalsh(moment)
    return values.clamp(min=0)


def effective_rank(values: Tensor) -> float:
    """Return exp(-Σ p log p) of nonnegative eigenvalues [f], p their shares of the sum."""
    shares = values / values.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


def _condition_number(values: Tensor) -> float:
    return float(values[-1] / values[0]) if values[0] > 0 else float("inf")
