"""The paper's five findings: `pytest tests/findings` asks the miniatures, with `--family=paper` the paper's models.

Each test holds what comes out against what is on record, numbers and outcome; whether that agrees with the paper is
part of the record (docs/findings.md says where it does not, and why). Nothing is bent to agree.
"""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from editgate.pytest_run.curve_snapshot import CURVE_TOLERANCE
from editgate.pytest_run.snapshots import ScoreSnapshot, assert_baseline
from editgate.verdict.outcome import note_finding
from findings import claims, prediction, tables
from findings.claims import Finding
from findings.session import METHODS, FindingsSession
from findings.sweeps import ORDERS

pytestmark = pytest.mark.findings


def test_sweep(sweep_of: tuple[str, str], findings: FindingsSession) -> None:
    """The method can be measured along the whole grid, in every order."""
    found = findings.sweep(*sweep_of)
    assert found.retention, "the unedited model is at chance everywhere"
    assert all(left.shape == (ORDERS, len(found.counts)) for left in found.retention.values())


def test_few_edits(findings: FindingsSession, scores: SnapshotAssertion, request: pytest.FixtureRequest) -> None:
    """RQ1: how many edits each method bears, and whether most fail within dozens."""
    sweeps = [findings.sweep(name, findings.family.base) for name in METHODS["base"]]
    _hold(claims.few_edits(sweeps), request, scores)


def test_instruction_tuning(
    findings: FindingsSession, scores: SnapshotAssertion, request: pytest.FixtureRequest
) -> None:
    """RQ2: whether the chat model declines more slowly than its base."""
    base, chat = (
        [findings.sweep(name, model) for name in METHODS["chat"]]
        for model in (findings.family.base, findings.family.chat)
    )
    _hold(claims.instruction_tuning(base, chat), request, scores)


def test_size(findings: FindingsSession, scores: SnapshotAssertion, request: pytest.FixtureRequest) -> None:
    """RQ3: whether a larger model suffers less."""
    ladders = [[findings.sweep(name, model) for model in findings.family.sizes] for name in METHODS["sizes"]]
    _hold(claims.size(ladders), request, scores)


def test_kinds_of_ability(findings: FindingsSession, scores: SnapshotAssertion, request: pytest.FixtureRequest) -> None:
    """RQ4: whether knowledge, reasoning, mathematics and reading are affected alike."""
    sweeps = [findings.sweep(name, findings.family.base) for name in METHODS["base"]]
    _hold(claims.kinds_of_ability(sweeps), request, scores)


def test_safety(findings: FindingsSession, scores: SnapshotAssertion, request: pytest.FixtureRequest) -> None:
    """RQ5: whether dozens of edits cost truthfulness or the eye for toxicity, of the base and of the chat model."""
    family = findings.family
    sweeps = [findings.sweep(name, model) for model in (family.base, family.chat) for name in METHODS["chat"]]
    _hold(claims.safety(sweeps), request, scores)


@pytest.mark.parametrize("place", prediction.GIANTS)
def test_miniatures_predict_giants(
    place: str, findings: FindingsSession, scores: SnapshotAssertion, request: pytest.FixtureRequest
) -> None:
    """The rank correlation between edits to failure here and in the paper's sound cells is the one on record."""
    giant, model = prediction.GIANTS[place], getattr(findings.family, place)
    sweeps = [findings.sweep(name, model) for name in prediction.methods(giant)]
    found = prediction.compare(prediction.measured(sweeps), prediction.published(giant))
    shown = f"{model} and {giant}: {found}\n{tables.table(found.rows)}Not compared: {prediction.left_out()}"
    note_finding(request.node, shown)
    recorded = {"correlation": found.correlation, "p": found.p_value, "edits to failure": found.rows}
    assert_baseline(_tolerant(scores), recorded)


def _hold(found: Finding, request: pytest.FixtureRequest, scores: SnapshotAssertion) -> None:
    note_finding(request.node, f"{found.outcome.upper()}: {found.paper}\n{found.summary}\n{tables.table(found.rows)}")
    recorded = {"paper": found.paper, "outcome": found.outcome, "numbers": tables.to_json(found.rows)}
    assert_baseline(_tolerant(scores), recorded)


def _tolerant(scores: SnapshotAssertion) -> SnapshotAssertion:
    """As curves are; bounds move more than means, by the factor that three orders put on their spread."""
    bounds = dict.fromkeys(("*.low", "*.high"), 3 * CURVE_TOLERANCE)
    return scores.with_defaults(extension_class=ScoreSnapshot.with_tolerances(bounds, CURVE_TOLERANCE))
