"""What an edited model can still do: each benchmark after N edits, held against the floor of `thresholds/`."""

from __future__ import annotations

import pytest

from editgate.verdict.judging import Judged
from editgate.verdict.verdict import Verdict

pytestmark = pytest.mark.capability


def test_mmlu(verdict: Judged[Verdict]) -> None:
    """World knowledge, asked with lettered options, survives the edits."""
    verdict.hold()


def test_bbh(verdict: Judged[Verdict]) -> None:
    """Step-by-step reasoning survives the edits."""
    verdict.hold()


def test_gsm8k(verdict: Judged[Verdict]) -> None:
    """Arithmetic in words survives the edits."""
    verdict.hold()


def test_commonsenseqa(verdict: Judged[Verdict]) -> None:
    """Everyday knowledge survives the edits."""
    verdict.hold()


def test_triviaqa(verdict: Judged[Verdict]) -> None:
    """Facts that the model writes out itself survive the edits."""
    verdict.hold()
