"""Expressions of workflows are evaluated as GitHub does, and what is not known is an error."""

from __future__ import annotations

import pytest

from meta.workflows.expressions import ExpressionError, Value, fill, holds

CONTEXTS: dict[str, Value] = {
    "inputs": {"editor": "${{ github.run_id }}; touch x", "quick": True, "empty": "", "n": 3.0},
    "github": {"run_id": "7", "job": "gate"},
    "steps": {"judge": {"outcome": "failure"}},
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain $HOME {{ x }}", "plain $HOME {{ x }}"),
        ("a-${{github.run_id}}-${{ github.job }}", "a-7-gate"),
        ("${{ inputs.editor }}", "${{ github.run_id }}; touch x"),  # not evaluated a second time
        ("${{ inputs.quick }} ${{ inputs.n }} ${{ null }}.", "true 3 ."),
        ("${{ inputs.empty || 'it''s' }}", "it's"),
        ("${{ inputs.quick && 'smoke' || 'default' }}", "smoke"),
        ("${{ (github.job == 'GATE') != false }}", "true"),
    ],
)
def test_a_text_is_filled(text: str, filled: str) -> None:
    """Values stand where their expressions stood, once."""
    assert fill(text, CONTEXTS) == filled


@pytest.mark.parametrize(
    ("condition", "after_success", "after_failure"),
    [
        (None, True, False),
        ("inputs.quick", True, False),
        ("${{ !inputs.quick }}", False, False),
        ("always()", True, True),
        ("failure() && steps.judge.outcome == 'failure'", False, True),
        ("${{ success() || inputs.quick }}", True, True),
        ("!cancelled()", True, True),
    ],
)
def test_a_condition_needs_success_unless_it_says_otherwise(
    condition: str | None,
    after_success: bool,  # noqa: FBT001
    after_failure: bool,  # noqa: FBT001
) -> None:
    """`if:` without a status function has `success() &&` before it."""
    assert holds(condition, CONTEXTS, failed=False) is after_success
    assert holds(condition, CONTEXTS, failed=True) is after_failure


@pytest.mark.parametrize(
    "text",
    [
        "${{ inputs.edtior }}",
        "${{ input.editor }}",
        "${{ secrets.TOKEN }}",
        "${{ hashFiles('x') }}",
        "${{ always() }}",  # a status function outside of `if:`
        "${{ inputs['editor'] }}",
        "${{ inputs }}",
        "${{ github.job == 1 }}",
        "${{ github.job github.run_id }}",
        "${{ github. }}",
        "${{ }}",
        "${{ inputs.editor",
        "${{ github.run_id > 3 }}",
    ],
)
def test_what_is_not_known_is_an_error(text: str) -> None:
    """A typo, another context or function, and an operator that ours do not use are refused, not empty."""
    with pytest.raises(ExpressionError):
        fill(text, CONTEXTS)
