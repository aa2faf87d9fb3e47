"""What each method costs on the default model is on record: a commit that changes it turns red and says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from syrupy.assertion import SnapshotAssertion

from editgate.cases import Case
from editgate.pytest_run.curve_snapshot import CurveSnapshot
from editgate.pytest_run.snapshots import assert_baseline, is_recorded

if TYPE_CHECKING:
    from editgate.measure.session import EvaluationSession

pytestmark = pytest.mark.curve


@pytest.mark.measures("curve")
def test_curve(case: Case, evaluation_session: EvaluationSession, scores: SnapshotAssertion) -> None:
    """Retention of every benchmark and the share of edits that took, at every N, are those on record."""
    from editgate.verdict.cell import curves  # noqa: PLC0415 - it needs torch, which collecting does not

    if not evaluation_session.settings.as_recorded:
        pytest.skip("curves are on record for the default edits, grid, order, items, type and device only")
    recorded = scores.with_defaults(extension_class=CurveSnapshot)
    if case.editor.batch_size > 1 and not is_recorded(recorded):
        pytest.skip(f"no curve of {case.editor.label} is on record; --snapshot-update records one")
    assert_baseline(recorded, curves(evaluation_session, case))
