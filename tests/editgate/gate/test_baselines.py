"""The unedited models still score what was recorded; a new baseline is written and fails until it is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from syrupy.assertion import SnapshotAssertion

from editgate.cases import BaselineCase
from editgate.inputs import models
from editgate.pytest_run.snapshots import assert_baseline

if TYPE_CHECKING:
    from editgate.measure.session import EvaluationSession


@pytest.mark.measures("baselines")
def test_baseline(case: BaselineCase, evaluation_session: EvaluationSession, scores: SnapshotAssertion) -> None:
    """The score, the number of items and the distribution of answers are those of the recorded baseline.

    A shipped model is asked all items whatever the `--limit`: its whole baseline takes seconds.
    """
    shipped = case.model.name in models.miniatures()
    session = evaluation_session.of_all_items if shipped else evaluation_session
    if not session.settings.scores_as_recorded:
        pytest.skip("baselines are on record for all items, float32 and the CPU only")
    found = session.baseline(case.model, case.benchmark)
    recorded = {
        "model": session.model(case.model).identity["model"],
        "metric": found.metric,
        "items": found.n,
        "chance": found.chance,
        "score": found.score,
        "unparsed": found.parse_failures / found.n,
        "empty": found.empty / found.n,
    }
    assert_baseline(scores, recorded)
