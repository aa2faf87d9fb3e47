"""Whether the edits took, and only they: preservation without efficacy is not a pass. Measured by free generation."""

from __future__ import annotations

import pytest

from editgate.verdict.judging import Judged, QualityVerdict

pytestmark = pytest.mark.quality


def test_efficacy(edit_quality: Judged[QualityVerdict]) -> None:
    """The edited prompt gives the new answer, right after its edit and after the last one."""
    edit_quality.hold()


def test_paraphrase(edit_quality: Judged[QualityVerdict]) -> None:
    """The same question in other words gives the new answer too."""
    edit_quality.hold()


def test_locality(edit_quality: Judged[QualityVerdict]) -> None:
    """Neighboring facts keep the unedited model's answers."""
    edit_quality.hold()
