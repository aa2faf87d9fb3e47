"""Making room in a store: what goes first, what stays because a run uses it, and what a killed prune leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from editgate import store as program
from editgate.cache import pruning, users
from editgate.cache.store import Store

ROOT = Path(__file__).parents[3]
DAY = 86400.0
RUN = """
import sys
from pathlib import Path
from editgate.cache.store import Store
store = Store(Path(sys.argv[1]))
store.join()
for key in sys.argv[2:]:
    assert store.load_json("items", key) is not None
print("ready", flush=True)
sys.stdin.read()
"""


def key(number: int) -> str:
    """A key as the store makes them."""
    return Store.key(number=number)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three texts and three tensors of 4 kB; number n was used n + 1 days ago."""
    made = Store(tmp_path / "store")
    for number in range(3):
        made.save_json("items", key(number), [number])
        made.save_tensors("checkpoint", key(number), {"w": torch.full((1024,), float(number))})
        for kind, suffix in (("items", "json"), ("checkpoint", "safetensors")):
            age(made.path(kind, key(number), suffix), number + 1)
    return made


def age(path: Path, days: float) -> None:
    """Make a file as old as if it was last used so many days ago."""
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def names(store: Store) -> set[str]:
    """The entries that are there, by kind and number."""
    numbers = {key(number): number for number in range(3)}
    return {f"{path.parent.name} {numbers[path.stem]}" for path in store.root.glob("*/*") if path.suffix != ".lock"}


@contextmanager
def running(store: Store, *used: str) -> Iterator[None]:
    """A process of its own that uses the store, and has read these texts."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    command = [sys.executable, "-c", RUN, str(store.root), *used]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as run:  # noqa: S603 - our own program
        assert run.stdout is not None
        assert run.stdin is not None
        assert run.stdout.readline() == "ready\n"
        yield
        run.stdin.close()
        assert run.wait() == 0


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code and output of the program."""
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_what_was_not_used_for_long_goes(store: Store) -> None:
    """Reading an entry makes it young again; of the others those older than the limit go, and no more."""
    assert store.load_json("items", key(2)) == [2]
    done = pruning.prune(store.root, older_than=1.5 * DAY)
    assert names(store) == {"items 0", "checkpoint 0", "items 2"}
    assert {held.path.stem for held in done.removed} == {key(1), key(2)}


def test_the_least_recently_used_tensors_go_first(store: Store) -> None:
    """For a smaller store the oldest tensors go, and texts only when no tensor is left."""
    total = sum(path.stat().st_size for path in store.root.glob("*/*"))
    pruning.prune(store.root, max_size=total - 1)
    assert names(store) == {f"items {n}" for n in range(3)} | {"checkpoint 0", "checkpoint 1"}
    pruning.prune(store.root, max_size=1)
    assert names(store) == set()


def test_a_dry_run_says_the_same_and_removes_nothing(store: Store) -> None:
    """What it names is what goes afterwards; until then all is there."""
    everything = names(store)
    told = pruning.prune(store.root, older_than=1.5 * DAY, dry_run=True)
    assert names(store) == everything
    done = pruning.prune(store.root, older_than=1.5 * DAY)
    assert [held.path for held in told.removed] == [held.path for held in done.removed]


def test_what_a_living_run_has_used_stays(store: Store) -> None:
    """While a process that read an entry is alive it stays, whatever is asked; when the process has ended it goes."""
    with running(store, key(2)):
        age(store.root / "users", 0)
        done = pruning.prune(store.root, max_size=0)
        assert (names(store), done.runs) == ({"items 2"}, 1)
    assert pruning.prune(store.root, max_size=0).runs == 0
    assert names(store) == set()


def test_unfinished_computations_stay_while_a_run_is_alive(store: Store) -> None:
    """A training is written to now and then only: its folder goes when nobody can be training any more."""
    scratch = store.root / "training" / key(0)[:16]
    scratch.mkdir(parents=True)
    (scratch / "mend.safetensors").write_bytes(b"half")
    age(scratch / "mend.safetensors", 9)
    age(scratch, 9)
    with running(store):
        pruning.prune(store.root, older_than=DAY)
        assert (scratch / "mend.safetensors").exists()
    pruning.prune(store.root, older_than=DAY)
    assert not scratch.exists()


def test_a_run_waits_for_who_makes_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins in the middle of a prune goes on when that has ended, and not before."""
    begun: list[subprocess.Popen[str]] = []
    real = pruning._remove
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}

    def remove_slowly(*arguments: object) -> bool:
        if not begun:
            command = [sys.executable, "-c", RUN, str(store.root)]
            begun.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, text=True)  # noqa: S603 - our own program
            )
            with pytest.raises(subprocess.TimeoutExpired):
                begun[0].wait(3)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pruning, "_remove", remove_slowly)
    pruning.prune(store.root, max_size=0)
    assert begun[0].communicate(timeout=60)[0] == "ready\n"


def test_an_entry_that_is_being_written_stays(store: Store) -> None:
    """A locked entry is left alone, and so is one that was used after it was looked at."""
    with store.lock("checkpoint", key(2)):
        pruning.prune(store.root, older_than=1.5 * DAY)
    assert names(store) == {"items 0", "checkpoint 0", "checkpoint 2"}


def test_other_files_stay(store: Store) -> None:
    """Nothing that the store did not write is touched, and a link out of it is not followed."""
    outside = store.root.parent / "outside"
    outside.mkdir()
    (outside / f"{key(0)}.json").write_text("mine", encoding="utf-8")
    (store.root / "linked").symlink_to(outside)
    (store.root / "items" / "notes.json").write_text("mine", encoding="utf-8")
    (store.root / "training").mkdir()
    (store.root / "training" / "mine").mkdir()
    pruning.prune(store.root, older_than=0.0, max_size=0)
    assert (outside / f"{key(0)}.json").exists()
    assert {path.name for path in (store.root / "items").iterdir()} == {"notes.json"}
    assert (store.root / "training" / "mine").exists()


def test_what_a_killed_writer_left_goes(store: Store) -> None:
    """A temporary file goes with any prune, however young it is; locks that guard nothing go too."""
    left = store.root / "items" / f"{key(0)}.json.123.tmp"
    left.write_bytes(b"half")
    store.path("items", key(1), "json").unlink()
    pruning.prune(store.root, older_than=100 * DAY)
    assert not left.exists()
    assert not (store.root / "items" / f"{key(1)}.lock").exists()
    assert (store.root / "items" / f"{key(0)}.lock").exists()


def test_a_killed_prune_leaves_whole_entries(store: Store) -> None:
    """Killed in the middle of a folder, it holds no lock, nobody finds half a folder, and the next prune goes on."""
    model = store.root / "converted" / key(0)[:32] / "model"
    model.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (model / name).write_bytes(b"0" * 1000)
    age(model.parent, 9)
    for path in model.iterdir():
        age(path, 9)
    child = os.fork()
    if not child:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(shutil, "rmtree", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            pruning.prune(store.root, max_size=0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not model.parent.exists()
    assert [path.name for path in store.root.glob("going-*/*/*")]
    assert all(store.load_json("items", key(number)) == [number] for number in range(3))
    pruning.prune(store.root, max_size=0)
    assert not list(store.root.glob("going-*"))
    assert names(store) == set()


def test_the_table_and_json_agree(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Kinds, numbers and bytes are those of the files, and the largest kind comes first."""
    code, out, _ = printed(capsys, f"--store={store.root}")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["checkpoint", "items", "all"]
    code, out, _ = printed(capsys, f"--store={store.root}", "--json")
    found = json.loads(out)
    assert list(found["kinds"]) == ["checkpoint", "items"]
    sizes = {kind: sum(path.stat().st_size for path in store.root.glob(f"{kind}/*")) for kind in found["kinds"]}
    assert {kind: row["kept"]["bytes"] for kind, row in found["kinds"].items()} == sizes
    assert found["total"]["kept"] == {**found["total"]["kept"], "entries": 6, "bytes": sum(sizes.values())}


def test_a_store_that_runs_use_may_stay_too_large(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """If what runs use is more than was asked for, that is said, and the exit code is 1."""
    with running(store, key(1)):
        code, out, _ = printed(capsys, "prune", "--max-size=1B", f"--store={store.root}")
    assert code == 1
    assert out.splitlines()[-1] == "That is more than --max-size 1 B: the rest is what a run uses now."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store=nowhere"], "--store 'nowhere' is no folder."),
        (["prune"], "prune needs --older-than AGE, --max-size SIZE, or both"),
        (["prune", "--older-than=3 moons"], "--older-than: '3 moons' is no age. Allowed: a number with m, h, d or w"),
        (["prune", "--max-size=much"], "--max-size: 'much' is no size. Allowed: a number with B, MB"),
        (["prune", "--max-size=-1GB"], "--max-size: '-1GB' is no size."),
        (["--dry-run"], "--older-than, --max-size and --dry-run go with prune"),
        (["clean"], "invalid choice: 'clean'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is named with its value, in one line, with exit code 2, and nothing is removed."""
    everything = names(store)
    code, out, err = printed(capsys, *[f"--store={store.root}", *arguments])
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert names(store) == everything


def test_a_run_of_the_gate_registers(tmp_path: Path, made_settings: Callable[[Path], object]) -> None:
    """Whoever reads the options of a run has joined the store that they name."""
    given = made_settings(tmp_path / "store")
    assert len(users.alive(tmp_path / "store")) == 1
    del given
    assert users.alive(tmp_path / "store") == []


@pytest.fixture
def made_settings() -> Callable[[Path], object]:
    """Reads a run's options, with a store."""
    from editgate.options.options import Options  # noqa: PLC0415 - only this test needs it
    from editgate.options.settings import read  # noqa: PLC0415 - as above

    return lambda place: read(Options(store=place, edit_counts="1"), place)
