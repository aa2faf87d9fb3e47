"""A run on a store of which every entry was damaged gives the report of one on a store that was not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from editgate.cache import entry_files
from editgate.cache.entry_files import canonical
from meta.faults.conftest import Whole
from meta.faults.runs import SMALL, Gate, begin, entries, litter, report

# Signed, and the form of no kind of entry. What is signed and has the form cannot be told from what was computed.
STRANGE: tuple[object, ...] = (
    7,
    True,
    "text",
    [[1]],
    {"a": [1]},
    [{"a": 1}],
    {"immediate": [{}]},
    ["NoSuchError", 1, 2],
)
NIGHTLY = tuple(range(6))  # seeds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Some seeds in nightly runs; one that is skipped in others, which damage single entries (`meta/cache`)."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", NIGHTLY if metafunc.config.option.profile == "nightly" else NIGHTLY[:1])


@pytest.mark.usefixtures("nightly")
def test_every_entry_is_damaged(uninterrupted: Callable[[Gate], Whole], tmp_path: Path, seed: int) -> None:
    """Bits, length, nesting, an entry of another key, a signed payload of another form: told, and computed again."""
    whole = uninterrupted(SMALL)
    shutil.copytree(whole.folder / "store", tmp_path / "store")
    draw = random.Random(seed)
    names = sorted(entries(tmp_path / "store"))
    changed = [name for name in names if _damage(tmp_path / "store" / name, draw)]
    run = begin(tmp_path, SMALL)
    assert run.wait() == whole.code, run.output()
    told = run.output().replace("\n", "")
    assert "Traceback" not in told
    assert "it is computed again" in told
    assert report(tmp_path) == report(whole.folder)
    assert len(changed) > len(names) / 2
    now, before = entries(tmp_path / "store"), entries(whole.folder / "store")
    assert not [name for name in changed if now[name] != before[name] and Path(name).parent.name not in UNREAD]
    assert not list(litter(tmp_path / "store"))


UNREAD = ("checkpoint", "prepared", "progress", "contexts", "neighbors")  # whole what rests on them, they need not be


def _damage(file: Path, draw: random.Random) -> bool:
    """Change a file, and return whether that changed it; an empty entry is left alone, every form is its own."""
    before = file.read_bytes()
    others = [other for other in file.parent.iterdir() if other.suffix == file.suffix and other != file]
    place = draw.randrange(len(before.rstrip(b"\n")))  # an entry without the newline at its end is whole
    way = draw.choice(["flip", "cut", "nest", "swap", "sign"])
    if way == "swap" and others:
        shutil.copy(draw.choice(others), file)
    elif way == "sign" and file.suffix == ".json":
        entry_files.write_json(file, canonical(draw.choice(STRANGE)))
    elif way == "sign":
        entry_files.write_tensors(file, {"weight:model.norm.weight": torch.zeros(3)})
    elif way == "nest" and file.suffix == ".json":
        file.write_text("[" * 100_000, encoding="utf-8")
    elif way == "cut":
        file.write_bytes(before[:place])
    else:
        file.write_bytes(before[:place] + bytes([before[place] ^ (1 << draw.randrange(8))]) + before[place + 1 :])
    return file.read_bytes() != before
