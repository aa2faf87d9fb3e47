"""Where an edit goes in a codebook: balls widen for the same answer, part for another, and stay apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editors.grace import GraceHyperparameters
from editors.grace.codebook import MASKED, Codebook
from meta.golden.published_grace import PublishedCodebook

RULES: dict[str, Any] = {"layer": 1, "eps": 1.0, "n_iter": 1}
some = settings(max_examples=10, deadline=None)


@some
@given(
    points=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 2)), min_size=2, max_size=12),
    eps=st.floats(0.1, 2.0),
)
def test_balls_with_different_answers_are_parted(points: list[tuple[float, float, int]], eps: float) -> None:
    """A conflict leaves the two balls disjoint and makes no ball larger; a far key stays out of the nearest ball."""
    book = Codebook.empty(2, 1, torch.zeros(1, dtype=torch.float64))
    rules = GraceHyperparameters(**RULES | {"eps": eps})
    for x, y, answer in points:
        query = torch.tensor([x, y], dtype=torch.float64)
        before, near = book, int(book.nearest(query[None])[1]) if len(book) else None
        book, entry = book.insert(query, [MASKED, answer], torch.zeros(1), rules)
        assert float((book.keys[entry] - query).norm()) <= float(book.epsilons[entry]) + 1e-9
        if near is not None and entry == len(before):
            distance = float((book.keys[near] - query).norm())
            parted = float(book.epsilons[near] + book.epsilons[entry]) < distance
            conflict = before.labels[near].tolist() != [MASKED, answer]
            assert parted or not conflict
            assert distance > eps + float(before.epsilons[near]) or conflict
            assert bool((book.epsilons[: len(before)] <= before.epsilons).all())
            assert float(book.epsilons[entry]) <= eps


def _two(
    first: list[int],
    second: list[int],
    distance: float,
    kind: type[Codebook] = Codebook,
    **changes: Any,  # noqa: ANN401
) -> tuple[Codebook, int]:
    """A codebook after two edits with these labels, so far apart; radius 1."""
    rules = GraceHyperparameters(**RULES | changes)
    book = kind.empty(1, 1, torch.zeros(1))
    book, _ = book.insert(torch.tensor([5.0]), first, torch.zeros(1), rules)
    return book.insert(torch.tensor([5.0 + distance]), second, torch.ones(1), rules)


def _both(book: Codebook) -> tuple[Codebook, Codebook]:
    """A codebook, and the same one that goes on by the published rules."""
    return book, PublishedCodebook(book.keys, book.values, book.epsilons, book.labels)


def test_the_same_answer_widens_a_ball() -> None:
    """Coverage moves the radius to the new query; the moving average moves the key halfway too."""
    book, entry = _two([MASKED, 3], [MASKED, MASKED, 3], 1.5)
    assert (entry, book.keys.tolist(), book.epsilons.tolist()) == (0, [[5.0]], [1.5])
    book, entry = _two([MASKED, 3], [MASKED, 3], 1.5, eps_expand="moving_average")
    assert (entry, book.keys.tolist(), book.epsilons.tolist()) == (0, [[5.75]], [1.5])


def test_the_published_rules_mistake_answers_and_let_balls_grow() -> None:
    """Labels by their means mistake permuted answers for one and the same answer for two; a ball may grow."""
    assert len(_two([MASKED, 3, 4], [MASKED, 4, 3], 0.5)[0]) == 2
    assert len(_two([MASKED, 3, 4], [MASKED, 4, 3], 0.5, PublishedCodebook)[0]) == 1
    assert len(_two([MASKED, 3], [MASKED, MASKED, 3], 0.5)[0]) == 1
    assert len(_two([MASKED, 3], [MASKED, MASKED, 3], 0.5, PublishedCodebook)[0]) == 2
    assert _two([3], [4], 1.9)[0].epsilons.tolist() == pytest.approx([0.95 - 1e-5, 0.95])
    book, _ = _two([3], [4], 0.5)
    rules = GraceHyperparameters(**RULES | {"eps": 4.0})
    narrow, wide = (each.insert(torch.tensor([4.9]), [9], torch.zeros(1), rules)[0] for each in _both(book))
    assert narrow.epsilons.tolist() == wide.epsilons.tolist() == pytest.approx([0.05 - 1e-5, 0.25, 0.05], abs=1e-6)
    rules = GraceHyperparameters(**RULES)
    narrow, wide = (each.insert(torch.tensor([4.2]), [9], torch.zeros(1), rules)[0] for each in _both(book))
    assert narrow.epsilons[0] == book.epsilons[0] < wide.epsilons[0]


def test_a_widened_ball_leaves_the_new_one_its_radius() -> None:
    """Beside a ball that grew to 1.9 a conflict at 2.5 gets radius 1, not half the distance, unless as published."""
    book, _ = _two([3], [3], 1.9)
    for each, radius in zip(_both(book), (1.0, 1.25), strict=True):
        parted, entry = each.insert(torch.tensor([7.5]), [9], torch.zeros(1), GraceHyperparameters(**RULES))
        assert float(parted.epsilons[entry]) == radius


def test_distances_of_many_keys_are_exact() -> None:
    """Also among more than 25 long keys, each is at distance 0 from itself."""
    keys = torch.randn(40, 4000, generator=torch.Generator().manual_seed(0)) * 5
    book = Codebook(keys, keys[:, :1], torch.ones(40), torch.zeros(40, 1, dtype=torch.int64))
    distances, nearest = book.nearest(keys)
    assert distances.tolist() == [0.0] * 40
    assert nearest.tolist() == list(range(40))
