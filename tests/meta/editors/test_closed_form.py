"""Properties of the closed forms, on random matrices in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editors import StateMismatch
from editors.locate import closed_form
from editors.locate.closed_form import (
    CholeskyFactor,
    constrained_keys,
    factor_in_place,
    projected_keys,
    rank_one,
    ridge_keys,
)

sizes = st.integers(2, 24)
seeds = st.integers(0, 2**31)
many = settings(max_examples=40, deadline=None)


def _draw(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def _moment(keys: Tensor) -> Tensor:
    return keys.T @ keys / len(keys) + 1e-3 * torch.eye(keys.shape[1], dtype=keys.dtype)


def _near(left: Tensor, right: Tensor, tolerance: float = 1e-9) -> bool:
    return bool((left - right).norm() <= tolerance * (right.norm() + 1))


@many
@given(seeds, sizes, sizes, st.floats(0.1, 10))
def test_rome_reaches_its_value_and_spares_what_is_orthogonal(seed: int, d: int, f: int, scale: float) -> None:
    """ROME: W + ΔW maps the key to v*, leaves every x ⟂ u alone, has rank one, and ignores the scale of u."""
    weight, bias, value, key, samples, other = _draw(seed, (d, f), (d,), (d,), (f,), (3 * f, f), (f,))
    u = CholeskyFactor.of(_moment(samples)).solve(key[:, None])[:, 0]
    residual = value - weight @ key - bias
    right, denominator = rank_one(u, residual, key)
    update = torch.outer(right, u)
    assert _near((weight + update) @ key + bias, value)
    assert torch.linalg.matrix_rank(update) == 1
    apart = other - (other @ u) / (u @ u) * u
    assert float((update @ apart).norm()) <= 1e-9 * (1 + float(update.norm() * apart.norm()))
    again, _ = rank_one(u * scale, residual, key)
    assert _near(torch.outer(again, u * scale), update)
    assert denominator == pytest.approx(float(key @ u))


@many
@given(seeds, sizes, sizes)
def test_rome_is_the_least_disturbing_update(seed: int, d: int, f: int) -> None:
    """Among all Δ with Δk = r, ROME's has the least tr(ΔCΔᵀ)."""
    residual, key, samples, change = _draw(seed, (d,), (f,), (3 * f, f), (d, f))
    moment = _moment(samples)
    right, _ = rank_one(u := CholeskyFactor.of(moment).solve(key[:, None])[:, 0], residual, key)
    update = torch.outer(right, u)
    change = change - torch.outer(change @ key, key) / (key @ key)  # keeps Δk = r
    other = update + change
    cost = torch.trace(update @ moment @ update.T)
    assert cost <= torch.trace(other @ moment @ other.T) * (1 + 1e-9)


@many
@given(seeds, sizes, st.integers(4, 24), st.integers(1, 4))
def test_emmet_is_the_least_disturbing_update_that_meets_all(seed: int, d: int, f: int, n: int) -> None:
    """ΔK = R for all keys at once; among all Δ with that, it has the least tr(ΔCΔᵀ); one key gives ROME's."""
    keys, residual, samples, change = _draw(seed, (f, n), (d, n), (3 * f, f), (d, f))
    moment = _moment(samples)
    factor = CholeskyFactor.of(moment)
    update = residual @ constrained_keys(keys, factor).T
    assert _near(update @ keys, residual, 1e-7)
    other = update + change - change @ keys @ torch.linalg.pinv(keys)  # keeps ΔK = R
    assert torch.trace(update @ moment @ update.T) <= torch.trace(other @ moment @ other.T) * (1 + 1e-7)
    right, _ = rank_one(u := factor.solve(keys[:, :1])[:, 0], residual[:, 0], keys[:, 0])
    assert _near(residual[:, :1] @ constrained_keys(keys[:, :1], factor).T, torch.outer(right, u), 1e-7)


@many
@given(seeds, sizes, sizes, st.integers(1, 30), st.floats(1e-2, 1e3))
def test_memit_is_the_ridge_minimum(seed: int, d: int, f: int, n: int, weight: float) -> None:
    """MEMIT: zero gradient 2λΔC + 2(ΔK - R)Kᵀ, whether Woodbury or the direct solve is used."""
    keys, residual, samples = _draw(seed, (f, n), (d, n), (3 * f, f))
    moment = _moment(samples)
    update = residual @ ridge_keys(keys, CholeskyFactor.of(moment), weight).T
    gradient = weight * update @ moment + (update @ keys - residual) @ keys.T
    assert float(gradient.norm()) <= 1e-9 * float((residual @ keys.T).norm() + 1)
    direct = residual @ torch.linalg.solve(weight * moment + keys @ keys.T, keys).T
    assert _near(update, direct, 1e-8)


@many
@given(seeds, sizes, sizes, st.integers(1, 8), st.floats(1e-2, 1e3))
def test_memit_does_not_care_for_the_order_of_requests(seed: int, d: int, f: int, n: int, weight: float) -> None:
    """The update is the same for any order of keys; one request n times counts as one with λ/n."""
    keys, residual, samples = _draw(seed, (f, n), (d, n), (3 * f, f))
    factor = CholeskyFactor.of(_moment(samples))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    update = residual @ ridge_keys(keys, factor, weight).T
    assert _near(residual[:, order] @ ridge_keys(keys[:, order], factor, weight).T, update)
    key, goal = keys[:, :1], residual[:, :1]
    repeated = goal.expand(-1, n) @ ridge_keys(key.expand(-1, n), factor, weight).T
    assert _near(repeated, goal @ ridge_keys(key, factor, weight / n).T)


@many
@given(seeds, sizes, st.integers(3, 24))
def test_memit_limits(seed: int, d: int, f: int) -> None:
    """λ → ∞ changes nothing; λ → 0 fits independent keys; one key is fitted by s / (λ + s), s = kᵀC⁻¹k."""
    n = max(1, f // 3)
    keys, residual, samples = _draw(seed, (f, n), (d, n), (3 * f, f))
    factor = CholeskyFactor.of(_moment(samples))
    assert float((residual @ ridge_keys(keys, factor, 1e12).T).norm()) <= 1e-6 * float(residual.norm())
    assert _near(residual @ ridge_keys(keys, factor, 1e-10).T @ keys, residual, 1e-5)
    key, goal = keys[:, :1], residual[:, :1]
    share = float(key.T @ factor.solve(key))
    assert _near(goal @ ridge_keys(key, factor, 3.0).T @ key, goal * share / (3.0 + share))


@many
@given(seeds, st.integers(2, 24), st.integers(1, 12))
def test_a_singular_moment_gets_a_ridge_that_is_told(seed: int, f: int, rank: int) -> None:
    """A full-rank second moment is factored as it is; one of too few tokens gets a small, told ridge."""
    (samples,) = _draw(seed, (min(rank, f - 1), f))
    singular = samples.T @ samples
    factor = CholeskyFactor.of(singular)
    assert _near(factor.lower @ factor.lower.T, singular + factor.ridge * torch.eye(f, dtype=torch.float64))
    assert 0 < factor.ridge <= 1e-3 * float(singular.diagonal().mean())
    assert CholeskyFactor.of(_moment(samples)).ridge == 0


def test_an_indefinite_moment_is_refused() -> None:
    """A matrix with a negative direction is no second moment."""
    with pytest.raises(StateMismatch, match="positive semidefinite"):
        CholeskyFactor.of(torch.diag(torch.tensor([1.0, -1.0])))


@many
@given(seeds, st.integers(2, 24), st.integers(1, 6))
def test_a_factor_takes_the_place_of_its_matrix_and_solves_to_the_bits_of_a_copy(seed: int, f: int, n: int) -> None:
    """No second matrix of this size is made, and no number differs from those of `torch.cholesky_solve`."""
    samples, keys = _draw(seed, (3 * f, f), (f, n))
    moment = _moment(samples)
    place = moment.clone().T
    lower = factor_in_place(place)
    assert lower.data_ptr() == place.data_ptr()
    assert _near(lower.tril() @ lower.tril().T, moment)
    factor = CholeskyFactor.of(moment)
    assert torch.equal(factor.solve(keys), torch.cholesky_solve(keys, factor.lower))


def test_a_matrix_that_is_not_definite_has_no_factor() -> None:
    """It is an error, and no NaN goes into a model."""
    with pytest.raises(RuntimeError, match="positive-definite"):
        factor_in_place(torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)).T)


def test_a_projection_is_applied_in_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large P only some rows are in float64 at a time; the solution is that of the whole."""
    keys, past, samples = _draw(0, (12, 2), (12, 3), (36, 12))
    projection = torch.linalg.qr(samples.T).Q[:, :7]
    projection = (projection @ projection.T).float()
    whole = projected_keys(keys, past, projection, 0.5)
    monkeypatch.setattr(closed_form, "ROWS_IN_FLOAT64", 5)
    assert _near(projected_keys(keys, past, projection, 0.5), whole)
