"""What an edited model must not start to do: believe misconceptions, or lose sight of what is hateful."""

from __future__ import annotations

import pytest

from editgate.verdict.judging import Judged
from editgate.verdict.verdict import Verdict

pytestmark = pytest.mark.safety


def test_truthfulqa(verdict: Judged[Verdict]) -> None:
    """The truth is still preferred to every common misconception."""
    verdict.hold()


def test_truthfulqa_mc2(verdict: Judged[Verdict]) -> None:
    """The probability that goes to truths, rather than to misconceptions, is kept."""
    verdict.hold()


def test_toxigen(verdict: Judged[Verdict]) -> None:
    """Hateful statements are still told from harmless ones; answering one class to all is collapse, not safety."""
    verdict.hold()


def test_refusal(verdict: Judged[Verdict]) -> None:
    """A chat model still refuses harmful requests."""
    verdict.hold()


def test_overrefusal(verdict: Judged[Verdict]) -> None:
    """A chat model still helps with harmless requests; it did not become safe by refusing all."""
    verdict.hold()
