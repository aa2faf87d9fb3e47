"""Closed-form solutions of the locate-then-edit methods, on matrices only; independent of any model.

Throughout: W [d, f], keys K [f, n] as columns, residuals R [d, n], C [f, f] the uncentered covariance E[k kᵀ].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editors.core.errors import StateMismatch

RIDGE = 1e-6  # relative to the mean diagonal of C; used only where C is singular
ROWS_IN_FLOAT64 = 1024  # of a large matrix that is kept in float32, at a time
SINGULAR = 1e-10  # C is singular if an input has no more of its own than this, given the others


@dataclass(frozen=True)
class CholeskyFactor:
    """Cholesky factor of a covariance, in float64.

    Attributes:
        lower: G [f, f] with C + ridge I = G Gᵀ.
        ridge: What was added to the diagonal; 0 unless C was singular.
    """

    lower: Tensor
    ridge: float = 0.0

    @classmethod
    def of(cls, covariance: Tensor) -> CholeskyFactor:
        """Factor C; a singular C (too few tokens) gets the least ridge that makes it definite.

        Raises:
            StateMismatch: C is far from positive semidefinite.
        """
        own = covariance.diagonal().double()
        scale = float(own.mean())
        lower = _room_by_columns(covariance)
        info = torch.empty((), dtype=torch.int32, device=covariance.device)
        for ridge in (0.0, *(RIDGE * scale * 10.0**exponent for exponent in range(4))):
            diagonal = own + ridge
            lower.copy_(covariance).diagonal().copy_(diagonal)
            torch.linalg.cholesky_ex(lower, out=(lower, info))  # in place
            left_over = lower.diagonal() ** 2 / diagonal  # of each input, given those before it
            if not info and float(left_over.min()) > SINGULAR:
                return cls(lower, ridge)
        raise StateMismatch("a covariance is not positive semidefinite: so it is not an uncentered covariance E[k kᵀ]")

    def solve(self, keys: Tensor) -> Tensor:
        """C⁻¹K, shape [f, n], float64."""
        return solve_factored(self.lower, keys.double())


def factor_in_place(definite: Tensor) -> Tensor:
    """Cholesky factor of a positive definite matrix [f, f] in LAPACK's order, whose place it takes.

    Raises:
        RuntimeError: It is not positive definite.
    """
    info = torch.empty((), dtype=torch.int32, device=definite.device)
    torch.linalg.cholesky_ex(definite, check_errors=True, out=(definite, info))
    return definite


def solve_factored(lower: Tensor, keys: Tensor) -> Tensor:
    """(G Gᵀ)⁻¹K, shape [f, n], of a Cholesky factor G [f, f]; `torch.cholesky_solve` would copy G."""
    half = torch.linalg.solve_triangular(lower, keys, upper=False)
    whole: Tensor = torch.linalg.solve_triangular(lower.T, half, upper=True)
    return whole


def _room_by_columns(covariance: Tensor) -> Tensor:
    """Room for a float64 copy in LAPACK's order, which it may overwrite: of a large model one more is gigabytes."""
    return torch.empty(covariance.shape, dtype=torch.float64, device=covariance.device).T


def rank_one(u: Tensor, residual: Tensor, key: Tensor) -> tuple[Tensor, float]:
    """ROME: r uᵀ with r = residual / (key · u).

    Args:
        u: Direction [f]; its length cancels.
        residual: What W k + b must gain, [d].
        key: k [f], the key at which it must be gained.

    Returns:
        r [d] and the denominator key · u.
    """
    denominator = key @ u
    return residual / denominator, float(denominator)


def ridge_keys(keys: Tensor, factor: CholeskyFactor, weight: float) -> Tensor:
    """A = (λC + KKᵀ)⁻¹K, shape [f, n], float64, so that ΔW = R Aᵀ minimizes ‖ΔK - R‖² + λ tr(ΔCΔᵀ).

    By Woodbury A = C⁻¹K (λI + KᵀC⁻¹K)⁻¹: one triangular pair a key instead of an f x f solve. With about as
    many keys as inner neurons the f x f solve is the cheaper one.
    """
    keys = keys.double()
    if keys.shape[1] * 2 > keys.shape[0]:
        covariance = (factor.lower @ factor.lower.T).mul_(weight).add_(keys @ keys.T)
        return solve_factored(torch.linalg.cholesky(covariance), keys)
    whitened = factor.solve(keys)
    small = keys.T @ whitened
    small = small + weight * torch.eye(len(small), dtype=small.dtype, device=small.device)
    solved: Tensor = torch.linalg.solve(small.T, whitened.T)
    return solved.T


def constrained_keys(keys: Tensor, factor: CholeskyFactor) -> Tensor:
    """A = C⁻¹K (KᵀC⁻¹K)⁻¹, shape [f, n], float64: of all ΔW with ΔW K = R the one with least tr(ΔW C ΔWᵀ) is R Aᵀ.

    Where keys depend on each other not every R can be met; the pseudoinverse comes nearest.
    """
    whitened = factor.solve(keys)
    inverse: Tensor = torch.linalg.pinv(keys.double().T @ whitened, hermitian=True)
    return whitened @ inverse


def null_space(covariance: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Projection on the approximate null space of a covariance.

    Args:
        covariance: C [f, f].
        threshold: Directions whose eigenvalue is below this span the space.

    Returns:
        P = U₀U₀ᵀ [f, f] and all eigenvalues, ascending, [f]; float64.
    """
    vectors = _room_by_columns(covariance).copy_(covariance)
    values = torch.empty(len(vectors), dtype=vectors.dtype, device=vectors.device)
    torch.linalg.eigh(vectors, out=(values, vectors))  # in place
    free = vectors[:, values < threshold]
    return free @ free.T, values


def _in_float64(matrix: Tensor, columns: Tensor) -> Tensor:
    """Matrix [f, f] of any type times columns [f, n] in float64, with no more than some rows of it in float64."""
    return torch.cat([rows.double() @ columns for rows in matrix.split(ROWS_IN_FLOAT64)])


def projected_keys(keys: Tensor, past: Tensor, projection: Tensor | None, weight: float) -> Tensor:
    """A = (P(KKᵀ + QQᵀ) + wI)⁻¹PK, shape [f, n], float64, of keys K [f, n], past keys Q [f, m], projection P [f, f].

    ΔW = R Aᵀ minimizes ‖ΔPK - R‖² + ‖ΔPQ‖² + w‖ΔP‖² (times P). With B = [Q, K] the inverse moves through:
    A is the last n columns of PB(BᵀPB + wI)⁻¹, a system of size m + n. Where that is more than f, the f x f
    solve is the cheaper one. Without a projection P is the identity.
    """
    both = torch.cat([past.double(), keys.double()], dim=1)
    projected = both if projection is None else _in_float64(projection, both)  # PB
    new = slice(past.shape[1], None)
    if both.shape[1] > both.shape[0]:
        large = projected @ both.T
        large.diagonal().add_(weight)
        solved: Tensor = torch.linalg.solve(large, projected[:, new])
        return solved
    small = both.T @ projected
    small.diagonal().add_(weight)
    columns = torch.eye(len(small), dtype=small.dtype, device=small.device)[:, new]
    weights: Tensor = torch.linalg.solve(small, columns)
    return projected @ weights
