"""The unedited models still score what was recorded; a new baseline is written and fails until it is committed."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.harness import models
from tests.harness.laboratory import Laboratory
from tests.harness.models import ModelSource
from tests.harness.snapshots import assert_baseline


def test_baseline(baseline_of: tuple[ModelSource, str], laboratory: Laboratory, scores: SnapshotAssertion) -> None:
    """The score, the number of items and the balance of answers are those of the recorded baseline.

    A shipped model is asked all items whatever the `--limit`: its whole baseline takes seconds.
    """
    model, benchmark = baseline_of
    lab = laboratory.of_all_items if model.name in models.miniatures() else laboratory
    if not lab.settings.scores_as_recorded:
        pytest.skip("baselines are on record for all items, float32 and the CPU only")
    found = lab.baseline(model, benchmark)
    recorded = {
        "model": lab.model(model).digest,
        "metric": found.metric,
        "items": found.n,
        "chance": found.chance,
        "score": found.score,
        "unparsed": found.parse_failures / found.n,
        "empty": found.empty / found.n,
    }
    assert_baseline(scores, recorded)
