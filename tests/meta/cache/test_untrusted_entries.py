"""What stands in the store's place of an entry and is none: told, and computed again; never used, never waited for."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editgate.cache import entry_files, waiting
from editgate.cache.digest import digest_tensors
from editgate.cache.store import Store, form_of
from editgate.errors import ConfigError, StoreError, StoreWarning

PATIENCE = 20.0  # seconds until a test says that something hangs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def at_once(call: Callable[[], object]) -> object:
    """The call's result; an error if it blocks."""
    found: list[object] = []
    with warnings.catch_warnings(action="ignore"):
        thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
        thread.start()
        thread.join(PATIENCE)
    assert found, "it waits for ever"
    return found[0]


def forbidden() -> object:
    raise AssertionError("nothing may be computed")


def read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_an_entry_that_was_copied_is_not_accepted(store: Store) -> None:
    """Another key's entry of the same kind, and another kind's of the same key, have the checksum of another place."""
    for kind, key, number in (("items", "a", 1), ("items", "b", 2), ("growth", "a", 3)):
        store.save_json(kind, key, number)
        store.save_tensors(kind, key, {"w": torch.tensor(number)})
    for suffix in ("json", "safetensors"):
        for kind, key in (("items", "b"), ("growth", "a")):
            shutil.copy(store.path(kind, key, suffix), store.path("items", "a", suffix))
            with pytest.warns(StoreWarning, match="its checksum is"):
                assert (store.load_json if suffix == "json" else store.load_tensors)("items", "a") is None


def test_a_whole_store_may_be_moved(store: Store, tmp_path: Path) -> None:
    """The place that a checksum covers is within the store."""
    store.save_json("items", "a", 1)
    store.save_tensors("items", "a", {"w": torch.ones(2)})
    shutil.move(store.root, tmp_path / "elsewhere")
    moved = Store(tmp_path / "elsewhere")
    assert moved.load_json("items", "a") == 1
    assert moved.load_tensors("items", "a") is not None


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"checksum":"","payload":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_nesting_without_end_is_damage(store: Store, nested: str) -> None:
    """A file that no parser can follow is computed again."""
    store.save_json("items", "a", 1)
    store.path("items", "a", "json").write_text(nested)
    with pytest.warns(StoreWarning, match="RecursionError"):
        assert store.fetch_json("items", "a", lambda: 2) == 2
    assert store.load_json("items", "a") == 2


@pytest.mark.parametrize("suffix", ["json", "safetensors", "lock"])
def test_a_pipe_is_not_waited_for(store: Store, suffix: str) -> None:
    """A pipe in the place of an entry is no entry and is replaced; in the place of a lock it locks."""
    path = store.path("items", "a", suffix)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    if suffix == "safetensors":
        assert at_once(lambda: store.load_tensors("items", "a") is None)
        store.save_tensors("items", "a", {"w": torch.ones(2)})
    assert at_once(lambda: store.fetch_json("items", "a", lambda: 1)) == 1
    assert path.is_file() == (suffix != "lock")


@pytest.mark.parametrize("payload", [5, [1], {"a": 1}, {"a": {"b": 2.0}}, "text"])
def test_another_form_is_computed_again(store: Store, payload: object) -> None:
    """A signed entry that its reader could not use is told in one line and replaced, not handed out."""
    store.save_json("growth", "a", payload)
    form = form_of(dict[str, dict[str, str]])
    with pytest.warns(StoreWarning, match=r"a\.json is damaged \(ValidationError: .*\); it is computed again") as told:
        assert store.fetch_json("growth", "a", lambda: {"a": {"b": "c"}}, form) == {"a": {"b": "c"}}
    assert "\n" not in str(told[0].message)
    assert store.fetch_json("growth", "a", forbidden, form) == {"a": {"b": "c"}}


def test_a_stopped_holder_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a lock says for which process, that it is stopped, and what lets it go on."""
    monkeypatch.setattr(waiting, "FIRST_WORD", 0.2)
    told: list[str] = []
    store.announce = told.append
    store.root.mkdir()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of later Pythons, about threads
        child = os.fork()
    if child == 0:
        with store.lock("items", "abc"):
            (store.root / "locked").touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    while not (store.root / "locked").exists():
        time.sleep(0.01)
    waiter = threading.Thread(target=lambda: store.save_json("items", "abc", 1), daemon=True)
    waiter.start()
    deadline = time.monotonic() + PATIENCE
    while not told and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)
    waiter.join(PATIENCE)
    sentence = f"process {child}, which is stopped (kill -CONT {child} lets it go on), to finish items/abc, for 0 s now"
    assert told[:1] == [f"store: waiting for {sentence}"]
    assert store.load_json("items", "abc") == 1


def test_a_full_store_may_be_read_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is served; what is missing is refused before it is computed, with the reason."""
    store.save_json("items", "a", 1)
    monkeypatch.setattr(Path, "write_bytes", read_only)  # rights do not bind the user root, so they are played
    store.check_writable()
    assert store.fetch_json("items", "a", forbidden) == 1
    with pytest.raises(StoreError, match=r"cannot write .*store \(Read-only file system\).*--store DIR"):
        store.fetch_json("items", "b", forbidden)
    with pytest.raises(ConfigError, match="Read-only file system"):
        Store(store.root.parent / "items").check_writable()  # a folder without any entry could not serve a single one


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_full_disk_is_met_once(store: Store, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """After the first entry that could not be kept nothing is computed any more; what is stored is still served."""
    store.save_json("items", "a", 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(entry_files, "_put", full)
    save = store.save_json if suffix == "json" else store.save_tensors
    with pytest.raises(StoreError, match="No space left") as first:
        save("items", "b", {"w": torch.ones(1)} if suffix == "safetensors" else {})
    for key in ("b", "c"):
        with pytest.raises(StoreError) as again:
            store.fetch_json("items", key, forbidden)
        assert str(again.value) == str(first.value)
    assert store.fetch_json("items", "a", forbidden) == 1


def test_one_entry_in_the_way_is_its_own_trouble(store: Store) -> None:
    """A directory in an entry's place says nothing of the disk: the next entry is computed and kept."""
    store.path("items", "a", "json").mkdir(parents=True)
    with pytest.raises(StoreError, match="Is a directory"):
        store.fetch_json("items", "a", lambda: 1)
    assert store.fetch_json("items", "b", lambda: 2) == 2
    assert not store.failure


def test_a_scratch_file_that_cannot_be_written_counts(store: Store) -> None:
    """What somebody else writes below the root and the disk refuses is remembered too; other errors are left alone."""
    with pytest.raises(StoreError, match="training/net"), store.scratch():
        raise OSError(errno.ENOSPC, "full", str(store.root / "training" / "net"))
    assert "No space left" in store.failure
    with pytest.raises(OSError, match="no such host"), store.scratch():
        raise OSError("no such host")


KINDS = {  # one entry of each sort of content
    "items": {"benchmark": "toxigen", "items": [{"score": 0.5, "answer": "Yes"}]},
    "integrity": [],
    "norm_ratio": {"w": 1.5},
    "neighbors": {"prompt": "ответ"},
    "contexts": [["{}"], ["a {}"]],
    "perplexity": [12.25],
}
TENSORS = {"checkpoint": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}, "prepared": {}}


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, Callable[[bytes], bytes]]:
    """What happens to a file's bytes, with its name."""
    place = draw(st.integers(0, 10**6))
    piece = draw(st.binary(min_size=1, max_size=8))
    flip = draw(st.integers(1, 255))
    kinds: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("truncated", lambda old: old[: place % len(old)]),
        ("flipped", lambda old: _with(old, place % len(old), flip)),
        ("inserted", lambda old: old[: place % len(old)] + piece + old[place % len(old) :]),
        ("overwritten", lambda old: old[: place % len(old)] + piece + old[place % len(old) + len(piece) :]),
        ("appended", lambda old: old + piece),
        ("replaced", lambda _: piece),
        ("emptied", lambda _: b""),
    ]
    return draw(st.sampled_from(kinds))


def _with(old: bytes, place: int, flip: int) -> bytes:
    return old[:place] + bytes([old[place] ^ flip]) + old[place + 1 :]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([*KINDS, *TENSORS]), mutation=mutations())
def test_no_corruption_changes_a_value(store: Store, kind: str, mutation: tuple[str, Callable[[bytes], bytes]]) -> None:
    """Whatever happens to an entry's bytes, it gives the value that was stored, or is told as damaged."""
    suffix = "json" if kind in KINDS else "safetensors"
    if suffix == "json":
        store.save_json(kind, "a", KINDS[kind])
    else:
        store.save_tensors(kind, "a", TENSORS[kind])
    path = store.path(kind, "a", suffix)
    path.write_bytes(mutation[1](path.read_bytes()))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = (store.load_json if suffix == "json" else store.load_tensors)(kind, "a")
    if found is None:
        assert [warning.category for warning in told] == [StoreWarning]
    elif suffix == "json":
        assert json.dumps(found) == json.dumps(KINDS[kind], sort_keys=True)
    else:
        assert digest_tensors(found) == digest_tensors(TENSORS[kind])
