"""What one edit takes: seconds on one thread, and passes through the model. Nothing here is asserted of time.

    pytest tests/meta/speed --benchmark-only

Without that option these are deselected. Preparing (second moments, contexts, trainings) is not timed. Passes
are counted in an edit of its own, before; models that a method keeps beside the edited one are not counted. The floor
is what the same passes take when nothing else is done: how often and over how many tokens is the method's affair.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from editors import Editor, names
from meta.speed.conftest import Line
from meta.speed.counting import counting, floor
from meta.speed.rigs import Rig


@pytest.fixture
def editor(rig: Rig, method: str) -> Editor:
    """The method on the model, prepared; before `benchmark`, which complains if it is made and not used."""
    made = rig.editor(method)
    if made is None:
        pytest.skip(f"settings.toml has no table {rig.name}.{method}")
    return made


@pytest.mark.parametrize("method", names())
def test_one_edit(method: str, rig: Rig, editor: Editor, told: list[Line], benchmark: BenchmarkFixture) -> None:
    """One edit of the unedited model runs and leaves something behind; how long it takes is for reading."""
    with counting(rig.model) as passes:
        editor.apply(rig.edits[0])
    assert editor.state(), "the edit changed nothing"
    benchmark.group = rig.name
    benchmark.extra_info.update(vars(passes))
    benchmark.pedantic(editor.apply, args=(rig.edits[0],), setup=editor.undo, rounds=rig.rounds)  # type: ignore[no-untyped-call]
    assert benchmark.stats is not None
    editor.undo()
    told.append(Line(rig.name, method, benchmark.stats.stats.min, passes, floor(rig.model, passes)))
