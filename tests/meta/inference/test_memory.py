"""A copy of the model goes when its trajectory is let go: where one fits, two do not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from editgate.inference import side_by_side
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from meta.support.settings_factory import miniature, settings


@pytest.fixture
def collected_by_nobody() -> Iterator[None]:
    """No collector that happens to run at the right moment."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected_by_nobody")
@pytest.mark.parametrize("method", ["ftl", "ike"])
def test_the_next_trajectory_finds_the_last_ones_model_gone(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large model, whether its editor changes weights or holds a wrapper that holds it."""
    monkeypatch.setattr(side_by_side, "SMALL", 1)
    chosen = settings(tmp_path, edit_counts="1", limit=5)
    session = EvaluationSession(chosen, lambda _: None)
    run = session.trajectory(EditorSpec(method, method), miniature(chosen))
    assert isinstance(run, Trajectory)
    edited = weakref.ref(run.fresh_editor_and_model()[1])
    held = weakref.ref(run.editor)
    del run
    session.trajectory(EditorSpec(method, method), miniature(chosen), order=1)
    assert edited() is None
    assert held() is None


@pytest.mark.usefixtures("collected_by_nobody")
def test_a_trajectory_is_in_no_circle(tmp_path: Path) -> None:
    """Without the collector's help, which comes when it likes, a trajectory of the default model is gone at once."""
    chosen = settings(tmp_path, edit_counts="1", limit=5)
    session = EvaluationSession(chosen, lambda _: None)
    run = session.trajectory(EditorSpec("ftl", "ftl"), miniature(chosen))
    assert isinstance(run, Trajectory)
    held = weakref.ref(run.editor)
    del run
    session.trajectory(EditorSpec("ftl", "ftl"), miniature(chosen), order=1)
    assert held() is None
