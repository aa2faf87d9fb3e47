"""What each method costs on the default model is on record: a commit that changes it turns red and says how."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.harness.editor_specs import EditorSpec
from tests.harness.judging import curves
from tests.harness.laboratory import Laboratory
from tests.harness.models import ModelSource
from tests.harness.snapshots import CURVE_TOLERANCE, ScoreSnapshot, assert_baseline

pytestmark = pytest.mark.curve


def test_curve(curve_of: tuple[EditorSpec, ModelSource], laboratory: Laboratory, scores: SnapshotAssertion) -> None:
    """Retention of every benchmark and the share of edits that took, at every N, are those on record."""
    if not laboratory.settings.as_recorded:
        pytest.skip("curves are on record for the default edits, grid, order, items, type and device only")
    tolerant = scores.with_defaults(extension_class=ScoreSnapshot.with_tolerances({}, CURVE_TOLERANCE))
    assert_baseline(tolerant, curves(laboratory, *curve_of))
