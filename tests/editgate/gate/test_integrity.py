"""The rules that every number rests on; one that is broken makes the editor's benchmarks errors, not failures."""

from __future__ import annotations

import pytest

from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.session import EvaluationSession

pytestmark = pytest.mark.integrity


def test_integrity(rule: tuple[EditorSpec, ModelSource, str], evaluation_session: EvaluationSession) -> None:
    """The editor keeps the rule that the test's id names."""
    editor, model, name = rule
    evaluation_session.check(evaluation_session.trajectory(editor, model), name)
