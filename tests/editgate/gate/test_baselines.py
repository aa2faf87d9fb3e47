"""The unedited models still score what was recorded; a new baseline is written and fails until it is committed."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from editgate.inputs import models
from editgate.inputs.models import ModelSource
from editgate.measure.session import EvaluationSession
from editgate.snapshots import assert_baseline


def test_baseline(
    baseline_of: tuple[ModelSource, str], evaluation_session: EvaluationSession, scores: SnapshotAssertion
) -> None:
    """The score, the number of items and the balance of answers are those of the recorded baseline.

    A shipped model is asked all items whatever the `--limit`: its whole baseline takes seconds.
    """
    model, benchmark = baseline_of
    session = evaluation_session.of_all_items if model.name in models.miniatures() else evaluation_session
    if not session.settings.scores_as_recorded:
        pytest.skip("baselines are on record for all items, float32 and the CPU only")
    found = session.baseline(model, benchmark)
    recorded = {
        "model": session.model(model).digest,
        "metric": found.metric,
        "items": found.n,
        "chance": found.chance,
        "score": found.score,
        "unparsed": found.parse_failures / found.n,
        "empty": found.empty / found.n,
    }
    assert_baseline(scores, recorded)
