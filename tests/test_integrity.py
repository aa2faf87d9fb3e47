"""The rules that every number rests on; one that is broken makes the editor's benchmarks errors, not failures."""

from __future__ import annotations

import pytest

from tests.harness.editor_specs import EditorSpec
from tests.harness.laboratory import Laboratory
from tests.harness.models import ModelSource

pytestmark = pytest.mark.integrity


def test_integrity(rule: tuple[EditorSpec, ModelSource, str], laboratory: Laboratory) -> None:
    """The editor keeps the rule that the test's id names."""
    editor, model, name = rule
    laboratory.check(laboratory.trajectory(editor, model), name)
