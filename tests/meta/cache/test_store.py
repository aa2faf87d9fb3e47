"""The store: bits survive, keys tell parts apart, and no fault makes it lie."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from editgate.cache import store as store_module
from editgate.cache.digest import code_digest, digest_tensors
from editgate.cache.store import Store
from editgate.errors import ConfigError, StoreError, StoreWarning

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def tensors() -> dict[str, torch.Tensor]:
    bits = torch.arange(-8, 8, dtype=torch.int16)
    return {
        "bfloat16": bits.view(torch.bfloat16).reshape(4, 4),
        "float16": bits.view(torch.float16),
        "float32": torch.tensor([1.5, float("nan"), -0.0, float("inf")]),
        "float64": torch.full((1, 2), 1 / 3, dtype=torch.float64),
        "scalar": torch.tensor(7),
        "flag": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "turned": torch.arange(6.0).reshape(2, 3).T,
    }


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return (left.dtype, left.shape) == (right.dtype, right.shape) and digest_tensors({"": left}) == digest_tensors(
        {"": right}
    )


def forbidden() -> object:
    raise AssertionError("a full entry must not be computed again")


def leftovers(store: Store) -> list[Path]:
    return [p for p in store.root.rglob("*") if p.is_file() and p.suffix not in {".json", ".lock", ".safetensors"}]


def full_disk(*arguments: object, **_: object) -> None:
    """Stands in for whatever writes: half of it gets there, if it was given a file."""
    for path in arguments:
        if isinstance(path, Path):
            with path.open("wb") as file:
                file.write(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_rename(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def fetch_small(store: Store, suffix: str) -> object:
    """One small entry of either sort, always the same."""
    if suffix == "json":
        return store.fetch_json("kind", "k", lambda: {"a": 1.25})
    if store.load_tensors("kind", "k") is None:
        store.save_tensors("kind", "k", {"w": torch.ones(2)})
    stored = store.load_tensors("kind", "k")
    assert stored is not None
    return stored["w"].clone()  # what was loaded is a view of the file, which a test may damage


def test_tensors_come_back_bit_by_bit(store: Store) -> None:
    """Every dtype, a scalar, an empty and a transposed tensor, NaN and -0.0 survive exactly."""
    store.save_tensors("states", "k", tensors())
    back = store.load_tensors("states", "k")
    assert back is not None
    assert back.keys() == tensors().keys()
    assert all(same_bits(back[name], tensor) for name, tensor in tensors().items())


def test_json_comes_back_exactly(store: Store) -> None:
    """Floats keep their last digit, NaN stays NaN, and text keeps its alphabet."""
    payload = {"x": [0.1 + 0.2, 5e-324, -0.0, 1e22], "text": "Zürich 東京", "flag": True, "none": None}
    store.save_json("items", "k", payload)
    assert store.load_json("items", "k") == payload
    store.save_json("items", "nan", [float("nan")])
    assert repr(store.load_json("items", "nan")) == "[nan]"


def test_fresh_and_stored_payloads_are_the_same(store: Store) -> None:
    """A tuple is a list already on the first call, so a full and an empty store give the same types."""
    fresh = store.fetch_json("items", "k", lambda: {"a": (1, 2)})
    assert fresh == store.fetch_json("items", "k", forbidden) == {"a": [1, 2]}


def test_missing_entries_are_none(store: Store) -> None:
    """An empty store answers None without making anything."""
    assert store.load_json("items", "k") is None
    assert store.load_tensors("states", "k") is None
    assert not store.root.exists()


def test_key_tells_parts_apart() -> None:
    """The order of parts does not matter; names, values and types do."""
    assert Store.key(a=1, b=[2]) == Store.key(b=[2], a=1)
    different: list[dict[str, object]] = [
        {"a": 1},
        {"a": 1.0},
        {"a": "1"},
        {"a": True},
        {"a": None},
        {"b": 1},
        {"a": [1]},
        {},
    ]
    assert len({Store.key(**parts) for parts in different}) == len(different)


@pytest.mark.parametrize("part", [object(), {1, 2}, float("nan"), b"x"], ids=["object", "set", "nan", "bytes"])
def test_key_refuses_what_has_no_canonical_text(part: object) -> None:
    """A part that JSON cannot write one way only is refused, not turned into its repr."""
    with pytest.raises(StoreError, match="plain JSON"):
        Store.key(part=part)


def test_digest_sees_names_dtypes_shapes_and_bits() -> None:
    """Each of them alone changes the digest; the order of names does not."""
    base = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    assert digest_tensors(base) == digest_tensors(dict(reversed(base.items())))
    variants = [
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "c": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.ones(1, dtype=torch.float64)},
        {"a": torch.zeros(2, 3).neg(), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3)},
    ]
    assert len({digest_tensors(v) for v in [base, *variants]}) == 6


def test_code_digest_follows_the_source(tmp_path: Path) -> None:
    """Another byte or another file name is another digest; the folder's place is not."""
    for place in ("here", "there"):
        (tmp_path / place / "pkg").mkdir(parents=True)
        (tmp_path / place / "pkg" / "a.py").write_text("x = 1\n")
    here, there = (code_digest(tmp_path / p / "pkg") for p in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "pkg" / "a.py").write_text("x = 2\n")
    assert code_digest(tmp_path / "there" / "pkg") != here
    assert code_digest(store_module) == code_digest(Path(store_module.__file__))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4] ^= 1  # a digit of the payload, a bit of the weights
    path.write_bytes(content)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def blank(path: Path) -> None:
    path.write_bytes(b"")


def rewrite(path: Path) -> None:
    """A whole file of the right form that nobody signed."""
    if path.suffix == ".json":
        path.write_text(json.dumps({"sha256": "0" * 64, "payload": {"a": 1}}))
    else:
        save_file({"w": torch.zeros(2)}, path)


@pytest.mark.parametrize("damage", [flip, halve, blank, rewrite])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_damaged_entries_are_computed_again(store: Store, suffix: str, damage: Callable[[Path], None]) -> None:
    """A flipped bit, a truncated, an empty, an unsigned file: a warning that names it, then a good entry."""
    first = fetch_small(store, suffix)
    damage(store.path("kind", "k", suffix))
    with pytest.warns(StoreWarning, match=rf"k\.{suffix} is damaged .*computed again") as caught:
        assert str(fetch_small(store, suffix)) == str(first)
    assert len(caught) == 1
    with warnings.catch_warnings(action="error"):
        assert str(fetch_small(store, suffix)) == str(first)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_full_disk_is_one_clear_line(store: Store, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """No space: a StoreError of one line with file, reason and way out; no half-written file stays."""
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(StoreError, match=r"cannot write .*k\..*No space left.*--store DIR") as caught:
        fetch_small(store, suffix)
    assert "\n" not in str(caught.value)
    assert not leftovers(store)


def test_killed_before_the_rename_leaves_the_old_entry(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process dies between writing and renaming, the entry is the old one, whole."""
    store.save_json("kind", "k", "old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_rename)
        with pytest.raises(StoreError):
            store.save_json("kind", "k", "new")
    assert store.load_json("kind", "k") == "old"
    assert not leftovers(store)


def test_what_a_dead_process_left_is_swept(store: Store) -> None:
    """A temporary file of a killed process is neither read nor kept once the entry is written."""
    orphan = store.path("kind", "k", "json").with_name("k.json.99999.tmp")
    orphan.parent.mkdir(parents=True)
    orphan.write_text('{"sha256": "half')
    assert store.load_json("kind", "k") is None
    store.save_json("kind", "k", 1)
    assert not orphan.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from editgate.cache.store import Store
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Store(Path(sys.argv[1])).fetch_json("kind", "k", lambda: "never")
"""


def test_a_killed_writer_does_not_block_the_next(store: Store) -> None:
    """After kill -9 in the middle of a write, the lock is free and the entry is computed anew."""
    command = [sys.executable, "-c", KILLED, str(store.root)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=300).returncode == -9  # noqa: S603
    assert store.fetch_json("kind", "k", lambda: "again") == "again"
    assert not leftovers(store)


RACER = """
import os, sys, time
from pathlib import Path
from editgate.cache.store import Store
root = Path(sys.argv[1])
def compute():
    with (root / "computed").open("a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(0.3)
    return [1, 2, 3]
(root / f"ready-{os.getpid()}").touch()
while len(list(root.glob("ready-*"))) < 2:
    time.sleep(0.01)
print(Store(root).fetch_json("kind", "k", compute))
"""


def test_two_processes_compute_once(tmp_path: Path) -> None:
    """Two processes that want the same missing entry at once: one computes, both get it."""
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]  # noqa: S603
    assert [racer.communicate(timeout=300)[0] for racer in racers] == ["[1, 2, 3]\n"] * 2
    assert len((tmp_path / "computed").read_text().split()) == 1


def test_lock_keeps_others_out(store: Store) -> None:
    """While one holder has the entry, a second waits; afterwards it gets in."""
    seen: list[str] = []

    def second() -> None:
        with store.lock("kind", "k"):
            seen.append("second")

    thread = threading.Thread(target=second)
    with store.lock("kind", "k"):
        thread.start()
        time.sleep(0.2)
        seen.append("first")
    thread.join(timeout=10)
    assert seen == ["first", "second"]


def test_check_writable_accepts_an_absent_folder(store: Store) -> None:
    """A folder whose parents do not exist is made, and nothing stays in it."""
    store.check_writable()
    assert list(store.root.iterdir()) == []


def test_check_writable_is_a_usage_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the way, or a folder without rights, is one line with the folder, the reason, the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--store .*file/store: cannot be written \(Not a directory\)"):
        Store(tmp_path / "file" / "store").check_writable()

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "write_bytes", denied)  # rights do not bind the user root, so they are played
    with pytest.raises(ConfigError, match=r"Permission denied.*--store DIR"):
        Store(tmp_path).check_writable()


def test_a_full_store_needs_no_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored can be fetched from a store that cannot be written, such as a read-only share."""
    store.save_json("kind", "k", 1)
    monkeypatch.setattr(store, "lock", no_rename)
    assert store.fetch_json("kind", "k", forbidden) == 1


def test_none_is_no_entry(store: Store) -> None:
    """None means missing; storing it is refused instead of being computed for ever."""
    with pytest.raises(StoreError, match="None cannot be stored"):
        store.fetch_json("kind", "k", lambda: None)
