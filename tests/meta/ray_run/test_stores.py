"""A worker's folder has what the run's store has, and gives back what it writes; what arrives damaged is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from editgate.cache.store import Store
from editgate.errors import StoreError
from editgate.plan.tasks import Task
from editgate.ray_run import stores
from editgate.ray_run.stores import OwnStore, RunsStore, SharedStore, own_folder
from meta.faults.runs import entries

KEY, OTHER = Store.key(number=1), Store.key(number=2)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[RunsStore]:
    """The run's store, which has one entry."""
    Store(tmp_path / "run").save_json("items", KEY, {"score": 1.0})
    kept = RunsStore(tmp_path / "run")
    yield kept
    kept.close()


@pytest.fixture
def own(tmp_path: Path, keeper: RunsStore) -> OwnStore:
    """A worker's folder."""
    (tmp_path / "own").mkdir()
    return OwnStore(tmp_path / "own", keeper, "w1")


def test_an_entry_of_the_run_is_found(own: OwnStore) -> None:
    """What the run's store has is read as if it were here; what it has not is missing, and is looked for again."""
    assert own.load_json("items", KEY) == {"score": 1.0}
    assert own.load_json("items", OTHER) is None


def test_what_a_worker_writes_is_in_the_runs_store_at_once(own: OwnStore, tmp_path: Path, keeper: RunsStore) -> None:
    """Texts and tensors, byte by byte, in several parts; nothing else is left beside them."""
    big = {"weight": torch.arange(1000.0)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "PART", 100)
        own.save_tensors("checkpoint", KEY, big)
        own.save_json("items", OTHER, [1, 2])
        found = OwnStore(tmp_path / "third", keeper, "w2").load_tensors("checkpoint", KEY)
    assert found is not None
    assert torch.equal(found["weight"], big["weight"])
    run = entries(tmp_path / "run")
    assert {name: run[name] for name in entries(tmp_path / "own")} == entries(tmp_path / "own")
    keeper.close()
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name != "items") == ["checkpoint"]


def test_what_arrives_damaged_is_refused(keeper: RunsStore, tmp_path: Path) -> None:
    """A part that changed on the way is no entry, nor is a name that leads out of the store."""
    with pytest.raises(ConnectionError, match="did not arrive"):
        keeper.write(f"items/{OTHER}.json", "w1", 0, b"half", "0" * 64)
    assert Store(tmp_path / "run").load_json("items", OTHER) is None
    for name in (f"../{OTHER}.json", "items/../../x.json", f"items/{OTHER}.txt"):
        with pytest.raises(StoreError, match="no name of an entry"):
            keeper.write(name, "w1", 0, b"", "")
        with pytest.raises(StoreError, match="no name of an entry"):
            keeper.read(name, 0)


def test_two_workers_compute_an_entry_once(tmp_path: Path, keeper: RunsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and finds its entry."""
    monkeypatch.setattr(stores, "FIRST_PAUSE", 0.001)
    computed: list[str] = []
    inside, waiting = threading.Event(), threading.Event()

    def fetch(who: str) -> None:
        store = OwnStore(tmp_path / who, keeper, who)
        store.announce = lambda _: waiting.set()

        def compute() -> int:
            computed.append(who)
            inside.set()
            assert waiting.wait(30), "nobody waited"
            return 5

        assert store.fetch_json("items", OTHER, compute) == 5

    first = threading.Thread(target=fetch, args=("w1",))
    first.start()
    assert inside.wait(30)
    fetch("w2")
    first.join()
    assert computed == ["w1"]


def test_a_dead_worker_holds_nothing(keeper: RunsStore) -> None:
    """Its locks are another's, and of what it had half sent nothing is taken."""
    assert keeper.lock("items/x", "w1")
    assert not keeper.lock("items/x", "w2")
    keeper.write(f"items/{OTHER}.json", "w1", 0, b"half", "")
    keeper.forget("w1")
    assert keeper.lock("items/x", "w2")
    with pytest.raises(ConnectionError, match="beginning was lost"):
        keeper.write(f"items/{OTHER}.json", "w1", 4, b"rest", "0" * 64)


@pytest.mark.parametrize(("kind", "waits"), [("score", False), ("measure", False), ("edit", True), ("check", True)])
def test_who_only_reads_a_checkpoint_does_not_wait_for_the_edits(tmp_path: Path, kind: str, *, waits: bool) -> None:
    """While another worker edits a trajectory, its earlier checkpoints are scored; nobody edits it twice."""
    store = SharedStore(tmp_path)
    store.task = Task(kind, "m")  # type: ignore[arg-type]  # one of its kinds
    entered = threading.Event()

    def enter() -> None:
        with store.lock("trajectory", KEY):
            entered.set()

    with Store(tmp_path).lock("trajectory", KEY):
        thread = threading.Thread(target=enter)
        thread.start()
        assert entered.wait(1.0) is not waits
    thread.join(30)
    assert entered.is_set()


def test_a_killed_workers_folder_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose lock nobody holds is; one in use is not, and a worker that ends removes its own."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    dead = tmp_path / f"{stores.PREFIX}dead"
    dead.mkdir()
    dead.with_suffix(".lock").touch()
    said: list[str] = []
    with own_folder(said.append) as first, own_folder(said.append) as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not dead.exists()
    assert [*tmp_path.iterdir()] == []
    assert len(said) == 1
