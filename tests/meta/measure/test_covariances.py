"""Second moments are computed once a matrix, whatever method or hyperparameters ask for them."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editgate.cache.store import Store
from editgate.cache.stored_tensors import StoredTensors
from editgate.errors import StoreError
from editgate.inputs import edit_lists, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure import covariances
from editgate.measure.trajectory import Trajectory
from editors import alphaedit
from editors.core.progress import listening
from editors.models import covariance
from editors.models.covariance import compute_covariances
from editors.models.projection import Matrix

DOWN = "model.layers.{}.mlp.down_proj"


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """The miniature with a short corpus."""
    loaded = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    return _reading(loaded, loaded.source.corpus()[:60])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the matrices whose moments were computed, in order."""
    paths: list[str] = []

    def counting(*given: object, **named: object) -> object:
        matrices: Sequence[Matrix] = given[3]  # type: ignore[assignment]
        paths.extend(matrix.path for matrix in matrices)
        return compute_covariances(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(covariances, "compute_covariances", counting)
    return paths


def _reading(base: LoadedModel, texts: Sequence[str]) -> LoadedModel:
    return replace(base, source=replace(base.source, corpus=lambda: texts))


def _start(base: LoadedModel, store: Path, method: str, *layers: int, **settings: object) -> Trajectory:
    edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])[:1]
    given = {"layers": list(layers), "context_template_length_params": [[5, 1]], **settings}
    return Trajectory(EditorSpec(method, method, given), base, edits, [1], Store(store))


def test_another_method_and_another_setting_compute_nothing_again(
    base: LoadedModel, computed: list[str], tmp_path: Path
) -> None:
    """ROME's matrix serves MEMIT, which adds its own; PMET and another learning rate then find both."""
    for run in (
        _start(base, tmp_path, "rome", 1),
        _start(base, tmp_path, "memit", 1, 2),
        _start(base, tmp_path, "pmet", 1, 2),
        _start(base, tmp_path, "rome", 2, v_lr=0.1),
    ):
        run.fresh_editor()
    assert computed == [DOWN.format(1), DOWN.format(2)]


@pytest.mark.parametrize("method", ["rome", "memit", "alphaedit"])
def test_what_is_handed_over_is_what_the_editor_would_compute(base: LoadedModel, method: str, tmp_path: Path) -> None:
    """Prepared from the store, to the bit, is prepared by the editor alone."""
    _start(base, tmp_path, "memit", 1, 2).fresh_editor()
    run = _start(base, tmp_path, method, 1)
    shared = run.editor.prepared()
    alone = run.setup.create(copy.deepcopy(base.model)).prepared()
    assert shared.keys() == alone.keys()
    assert all(torch.equal(shared[name], alone[name]) for name in alone)


def test_a_moment_is_stored_once(base: LoadedModel, tmp_path: Path) -> None:
    """On a large model each is hundreds of megabytes: what else is prepared for a method holds no copy of it."""
    _start(base, tmp_path, "rome", 1).fresh_editor()
    assert not list((tmp_path / "prepared").glob("*.safetensors"))


def test_another_corpus_is_another_entry(base: LoadedModel, computed: list[str], tmp_path: Path) -> None:
    """Moments of one text never stand for those of another."""
    other = _reading(base, base.source.corpus()[:50])
    for loaded in (base, other):
        _start(loaded, tmp_path, "rome", 1).fresh_editor()
    assert computed == [DOWN.format(1)] * 2


def test_a_damaged_entry_is_computed_again(base: LoadedModel, computed: list[str], tmp_path: Path) -> None:
    """Half a file is not a covariance."""
    _start(base, tmp_path, "rome", 1).fresh_editor()
    (entry,) = (tmp_path / "covariances").glob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:100])
    with pytest.warns(UserWarning, match="covariances"):
        _start(base, tmp_path, "memit", 1).fresh_editor()
    assert computed == [DOWN.format(1)] * 2


def test_a_method_without_second_moments_asks_for_none(base: LoadedModel, computed: list[str], tmp_path: Path) -> None:
    """ROME without them reads no corpus."""
    _start(base, tmp_path, "rome", 1, mom2_adjustment=False).fresh_editor()
    assert not computed


def test_covariances_are_read_one_at_a_time_and_not_kept(
    base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While MEMIT edits two layers no more than one covariance is in memory, and both were asked for."""
    run = _start(base, tmp_path, "memit", 1, 2)
    read, given = StoredTensors.__getitem__, list[tuple[str, weakref.ref[Tensor]]]()

    def watching(stored: StoredTensors, name: str) -> Tensor:
        assert all(known() is None for _, known in given)
        given.append((name, weakref.ref(found := read(stored, name))))
        return found

    monkeypatch.setattr(StoredTensors, "__getitem__", watching)
    run.model_at(1)
    assert {name for name, _ in given} == {DOWN.format(1), DOWN.format(2)}
    assert all(known() is None for _, known in given)


def test_what_a_pass_gave_is_stored_before_the_next_one(
    base: LoadedModel, computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed in its second pass computes the second matrix again, and not the first."""
    monkeypatch.setattr(covariance, "SMALL", 1)
    monkeypatch.setattr(covariance, "SHARE", 1 << 40)
    monkeypatch.setattr(covariance, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(covariance, "TOKENS_A_BATCH", 200)

    def heard(what: str, done: int, total: int) -> None:
        if what.startswith("pass 2 of 2") and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(heard):
        _start(base, tmp_path, "memit", 1, 2).fresh_editor()
    _start(base, tmp_path, "memit", 1, 2).fresh_editor()
    assert computed == [DOWN.format(1), DOWN.format(2), DOWN.format(2)]
    assert not list((tmp_path / "training").iterdir())


def test_an_entry_that_is_lost_while_it_is_used_is_said_so(base: LoadedModel, tmp_path: Path) -> None:
    """The sentence names the file; no edit is made without its covariance."""
    editor = _start(base, tmp_path, "rome", 1).fresh_editor()
    (entry,) = (tmp_path / "covariances").glob("*.safetensors")
    entry.unlink()
    with pytest.raises(StoreError, match=f"{entry.name} was whole .* Run it again"):
        editor.prepare()


def test_projections_are_stored_one_by_one(base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AlphaEdit's are made once, each an entry of its own, and read when a layer is solved; the edits are the same."""
    run = _start(base, tmp_path, "alphaedit", 1, 2)
    state = run.editor_at(1).state()
    assert len(list((tmp_path / "prepared").glob("*.safetensors"))) == 2
    monkeypatch.setattr(alphaedit, "null_space", None)  # not to be asked for again
    alone = run.setup.create(copy.deepcopy(base.model))
    in_memory = run.fresh_editor().prepared()
    alone.load_prepared(in_memory, run.editor.contexts)
    alone.apply(run.edits[0])
    assert all(torch.equal(alone.state()[name], value) for name, value in state.items())
