"""Fifty single edits from the unedited miniature: the methods work, so that what they cost is worth asking."""

from __future__ import annotations

import pytest

import editors
from tests.harness import editsets, models, quality

COUNT = 50
FLOORS = {"efficacy": 0.95, "paraphrase": 0.70, "locality": 0.80}


@pytest.mark.parametrize("name", ["memit", "rome"])
def test_single_edits_take(name: str) -> None:
    """By free generation with natural stop: efficacy >= 0.95, paraphrase >= 0.70, locality >= 0.80."""
    base = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    edits = editsets.read(editsets.SHIPPED["counterfact"])[:COUNT]
    before = quality.answers(base.model, base.tokenizer, edits)
    editor = editors.create(name, base.model, base.tokenizer, corpus=base.source.corpus(), defaults="llama-mini")
    measured = []
    for edit in edits:
        editor.apply(edit)
        measured += quality.measure(editor.model, base.tokenizer, [edit], before)
        editor.undo()
    shares = {kind: sum(getattr(row, kind) for row in measured) / COUNT for kind in FLOORS}
    assert all(shares[kind] >= floor for kind, floor in FLOORS.items()), shares
