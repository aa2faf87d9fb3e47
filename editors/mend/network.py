"""MEND's network: it transforms the rows (x, delta) of a gradient into the rows of an update.

Names of parameters and buffers are those of the authors' code, so that their archives can be loaded:
`mend.(in, out).mlp.layers.0.u`, `mend.(in, out).u_mean`, ..., `edit_lrs`. Matrices of one shape share a network
and differ by a scale and a shift (a *mode* each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from editors.core.hyperparameters import BaseHyperparameters
from editors.models.gradients import Gradients

EPSILON = 1e-7  # added to standard deviations, as in the authors' code
Shapes = Mapping[str, tuple[int, int]]


class NetworkHyperparameters(BaseHyperparameters):
    """Sizes and structure of the network; names are those of the authors' code."""

    rank: int = Field(default=1920, ge=1, description="rank of each layer of the network")
    n_hidden: int = Field(default=1, ge=0, description="hidden layers of the network: it has one layer more")
    norm: bool = Field(default=True, description="standardize x and delta by their statistics in training")
    std_floor: float = Field(
        default=0.0, ge=0, description="with norm: least standard deviation, in means over the units; the paper's: 0"
    )
    row_clip: float | None = Field(
        default=None, gt=0, description="with norm: greatest root mean square of a row; the paper's: none"
    )
    combine: bool = Field(default=True, description="one network for [x, delta]; false: one for each")
    one_sided: bool = Field(default=False, description="without combine: transform the shorter of x and delta only")
    x_only: bool = Field(default=False, description="without combine: transform x only")
    delta_only: bool = Field(default=False, description="without combine: transform delta only")
    shared: bool = Field(default=True, description="one network for all matrices of a shape; false: one for each")
    edit_lr: float = Field(default=1e-4, description="each matrix's step size alpha at the start of training")

    @model_validator(mode="after")
    def _sides_agree(self) -> NetworkHyperparameters:
        chosen = [name for name in ("one_sided", "x_only", "delta_only") if getattr(self, name)]
        if len(chosen) > 1 or (chosen and self.combine):
            raise ValueError(f"{' and '.join(chosen)} cannot be used together or with combine = true")
        return self


class Layer(nn.Module):
    """z + max(0, a * (U V z + b) + c), with a and c of the mode."""

    def __init__(self, width: int, rank: int, modes: int | None, generator: torch.Generator) -> None:
        super().__init__()
        rank = min(rank, width)
        self.u = nn.Parameter(torch.zeros(width, rank))
        self.v = nn.Parameter(torch.randn(rank, width, generator=generator))
        self.bias = nn.Parameter(torch.zeros(width))
        if modes is not None:
            self.mode_shift = nn.Embedding.from_pretrained(torch.zeros(modes, width), freeze=False)
            self.mode_scale = nn.Embedding.from_pretrained(torch.ones(modes, width), freeze=False)

    def forward(self, z: Tensor, mode: int | None) -> Tensor:
        """Rows [..., width] to rows of the same shape."""
        inner = z @ self.v.T @ self.u.T + self.bias
        if mode is not None:
            inner = inner * self.mode_scale.weight[mode] + self.mode_shift.weight[mode]
        return z + inner.clamp(min=0)  # not relu: at 0, where training starts, only clamp has a gradient


class Stack(nn.Module):
    """Several layers, one after another."""

    def __init__(self, width: int, settings: NetworkHyperparameters, modes: int | None, g: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, settings.rank, modes, g) for _ in range(settings.n_hidden + 1))

    def forward(self, z: Tensor, mode: int | None) -> Tensor:
        """Rows [..., width] to rows of the same shape."""
        for layer in self.layers:
            z = layer(z, mode)
        return z


class Transform(nn.Module):
    """The network of one matrix shape, and the statistics of its training inputs.

    Buffers, for x (`u_`) and delta (`v_`) elementwise: `mean`, `std`, `s` (sum of squared deviations); `k` is the
    number of rows. They are NaN before `observe`.
    """

    u_mean: Tensor
    u_std: Tensor
    v_mean: Tensor
    v_std: Tensor
    k: Tensor

    def __init__(
        self, shape: tuple[int, int], settings: NetworkHyperparameters, modes: int | None, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.widths = shape
        self.settings = settings
        for letter, width in zip("uv", shape, strict=True):
            for name in ("mean", "std", "s"):
                self.register_buffer(f"{letter}_{name}", torch.full((width,), float("nan")))
        self.register_buffer("k", torch.full((1,), float("nan")))
        if settings.combine:
            self.mlp = Stack(sum(shape), settings, modes, generator)
            return
        shorter_is_x = shape[0] <= shape[1]
        if not settings.delta_only and not (settings.one_sided and not shorter_is_x):
            self.mlp1 = Stack(shape[0], settings, modes, generator)
        if not settings.x_only and not (settings.one_sided and shorter_is_x):
            self.mlp2 = Stack(shape[1], settings, modes, generator)

    @torch.no_grad()
    def observe(self, rows: Gradients) -> None:
        """Add rows to the statistics (Chan's merge: any split of the rows gives the same); zero rows do not count."""
        kept = _kept(rows)
        count = int(kept.sum())
        if not count:
            return
        before = float(self.k.nan_to_num())
        for letter, rows_of in (("u", rows.inputs), ("v", rows.deltas)):
            values = rows_of[kept].to(self.k.dtype)
            mean, std, squares = (self.get_buffer(f"{letter}_{name}") for name in ("mean", "std", "s"))
            shift = values.mean(0) - mean.nan_to_num()
            own = (values - values.mean(0)).square().sum(0)
            squares.copy_(squares.nan_to_num() + own + shift.square() * before * count / (before + count))
            mean.copy_(mean.nan_to_num() + shift * count / (before + count))
            std.copy_((squares / (before + count - 1)).sqrt())
        self.k.fill_(before + count)

    def forward(self, rows: Gradients, mode: int | None) -> Gradients:
        """Rows to rows of the same shapes; rows whose x or delta is all zero stay zero."""
        kept = _kept(rows)[..., None]
        x, delta = rows.inputs.to(self.k.dtype), rows.deltas.to(self.k.dtype)
        if self.settings.norm:
            x, delta = self._standard(x, self.u_mean, self.u_std), self._standard(delta, self.v_mean, self.v_std)
        if self.settings.combine:
            x, delta = self.mlp(torch.cat([x, delta], -1), mode).split(self.widths, -1)
        else:
            x = self.mlp1(x, mode) if hasattr(self, "mlp1") else x
            delta = self.mlp2(delta, mode) if hasattr(self, "mlp2") else delta
        return Gradients(torch.where(kept, x, 0), torch.where(kept, delta, 0))

    def _standard(self, values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Standardized rows. A floor and a clip bound the effect of rows unlike those of the training."""
        values = (values - mean) / (std.clamp(min=self.settings.std_floor * float(std.mean())) + EPSILON)
        if self.settings.row_clip is None:
            return values
        length = values.square().mean(-1, keepdim=True).sqrt()
        return values * (self.settings.row_clip / length).clamp(max=1)


def _kept(rows: Gradients) -> Tensor:
    """True [...] for rows that take part: padding and tokens after the last target have delta 0."""
    return (rows.inputs != 0).any(-1) & (rows.deltas != 0).any(-1)


class Hypernetwork(nn.Module):
    """One `Transform` a shape (or a matrix, if not shared), and a step size for each matrix.

    Args:
        shapes: Of the edited matrices, (in, out) by parameter name, in the order of `inner_params`.
        settings: Sizes and structure of the network.
        seed: Of the initial values.
    """

    def __init__(self, shapes: Shapes, settings: NetworkHyperparameters, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        members: dict[str, list[str]] = {}
        for name, shape in shapes.items():
            members.setdefault(str(shape) if settings.shared else name.replace(".", "#"), []).append(name)
        self.mend = nn.ModuleDict()
        self._transform_of: dict[str, tuple[str, int | None]] = {}
        for key, names in members.items():
            modes = len(names) if settings.shared else None
            self.mend[key] = Transform(shapes[names[0]], settings, modes, generator)
            self._transform_of |= {name: (key, mode if settings.shared else None) for mode, name in enumerate(names)}
        self.edit_lrs = nn.Parameter(torch.full((len(shapes),), settings.edit_lr))
        self._names = tuple(shapes)

    def observe(self, rows: Sequence[Gradients]) -> None:
        """Add each matrix's rows to the statistics of its shape."""
        for name, of_matrix in zip(self._names, rows, strict=True):
            transform = self.mend[self._transform_of[name][0]]
            assert isinstance(transform, Transform)
            transform.observe(of_matrix)

    def forward(self, rows: Sequence[Gradients]) -> list[Gradients]:
        """Each matrix's rows transformed; deltas are multiplied by its step size."""
        made = []
        for name, of_matrix, rate in zip(self._names, rows, self.edit_lrs, strict=True):
            key, mode = self._transform_of[name]
            transformed = self.mend[key](of_matrix, mode)
            made.append(Gradients(transformed.inputs, transformed.deltas * rate))
        return made
