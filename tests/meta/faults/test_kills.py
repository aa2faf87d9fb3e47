"""A run that is killed at any moment and begun again gives the report of one that never was."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meta.faults.conftest import Whole
from meta.faults.runs import LARGE, SMALL, Gate, begin, entries, litter, report, written

NIGHTLY = tuple(range(40))  # seeds of chains of kills
MOST = 3  # kills in a chain


def test_killed_while_another_run_shares_the_store(uninterrupted: Callable[[Gate], Whole], tmp_path: Path) -> None:
    """Of two runs on one store one is killed and begun again: both reports are as if either had been alone.

    No entry is computed twice, whoever is killed in whatever; nothing but entries and locks is left.
    """
    whole = uninterrupted(SMALL)
    store = tmp_path / "store"
    store.mkdir()
    steady, unlucky = (begin(tmp_path / name, SMALL, store=store) for name in ("steady", "unlucky"))
    time.sleep(random.Random(0).uniform(0.2, 0.8) * whole.seconds)
    killed = unlucky.kill()
    again = begin(tmp_path / "unlucky", SMALL)
    assert steady.wait() == whole.code, steady.output()
    assert again.wait() == whole.code, again.output()
    assert killed == -9
    for run in (steady, again):
        assert report(run.folder) == report(whole.folder)
    assert entries(store) == entries(whole.folder / "store")
    assert len(written(store)) == len(set(written(store)))
    assert not list(litter(store))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Forty chains and a fresh one, in nightly runs; one that is skipped in others."""
    if "seed" in metafunc.fixturenames:
        seeds = (*NIGHTLY, None) if metafunc.config.option.profile == "nightly" else NIGHTLY[:1]
        metafunc.parametrize("seed", seeds, ids=lambda seed: "fresh" if seed is None else str(seed))


@pytest.mark.usefixtures("nightly")
def test_killed_at_random_moments(
    uninterrupted: Callable[[Gate], Whole], tmp_path: Path, seed: int | None, record_property: Callable[..., None]
) -> None:
    """SIGKILL up to three times, then to the end: the same report but for its times, the same entries, no litter."""
    whole = uninterrupted(LARGE)
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    record_property("seed", seed)
    draw = random.Random(seed)
    kills = []
    for _ in range(draw.randint(1, MOST)):
        run = begin(tmp_path, LARGE)
        time.sleep(draw.uniform(0.02, 1.0) * whole.seconds)
        kills.append(run.kill())
    run = begin(tmp_path, LARGE)
    assert run.wait() == whole.code, f"seed {seed}, {kills}: {run.output()}"
    assert report(tmp_path) == report(whole.folder), f"seed {seed}, {kills}"
    assert entries(tmp_path / "store") == entries(whole.folder / "store"), f"seed {seed}, {kills}"
    assert not list(litter(tmp_path / "store")), f"seed {seed}, {kills}"
