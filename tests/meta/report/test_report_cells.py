"""What the report shows of a verdict: bands, efficacy by age, answers that got worse, perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import PreTrainedModel

from editgate.cache.store import Store
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure import perplexity
from editgate.measure.edit_quality import EditQuality, Kind
from editgate.measure.items import Evaluation, Item
from editgate.measure.model_under_test import Run
from editgate.report.presentation import summary_of
from editgate.report.terminal.details import details
from editgate.verdict.cell import benchmark_cell, efficacy_by_age, most_moved, quality_cell
from editgate.verdict.failure_message import Context
from editgate.verdict.outcome import Age, Cell, Outcome
from editgate.verdict.thresholds import Floor
from editgate.verdict.verdict import judge
from editors import Edit
from meta.support import toy

SPEC = EditorSpec("x", "x")
RUN = cast("Run", SimpleNamespace(name="x-m", spec=SPEC, measured_per_edit=True))
FLOOR = Floor(0.9, "default.toml", "capability.floor", "because")
CONTEXT = Context("after 5 edits", FLOOR, "", {"w": 2.0})


def evaluation(right: int) -> Evaluation:
    """Return 200 items in four classes, so many of them right."""
    items = tuple(
        Item("t", f"d{i}", "p", float(i < right), "ABCD"[(i + (i >= right)) % 4], "ABCD"[i % 4], f"question {i}")
        for i in range(200)
    )
    return Evaluation("mmlu", "acc,none", 0.25, items)


def test_the_band_of_retention_comes_from_the_verdict() -> None:
    """The largest believable drop is the band's lower end, the smallest its upper one."""
    verdict = judge(evaluation(160), evaluation(120), 0.9)
    cell = benchmark_cell(RUN, 5, verdict, CONTEXT, "capability")
    assert cell.low is not None
    assert cell.high is not None
    assert cell.low == pytest.approx(1 - verdict.upper / 0.55)
    assert cell.high == pytest.approx(1 - verdict.lower / 0.55)
    assert cell.low < verdict.retention < cell.high
    assert (cell.before, cell.after, cell.chance, cell.items) == (0.8, 0.6, 0.25, 200)
    assert cell.norm_ratio == {"w": 2.0}


def test_every_item_that_got_worse_is_kept() -> None:
    """All forty lost items reach the cell, each once, with its document and two different answers; passing or not."""
    for lost, floor in ((40, 0.9), (2, 0.5)):
        cell = benchmark_cell(RUN, 5, judge(evaluation(160), evaluation(160 - lost), floor), CONTEXT, "capability")
        assert len({flip.item for flip in cell.flips}) == len(cell.flips) == cell.flipped == lost
        assert all(flip.before == flip.expected != flip.now and flip.task == "t" for flip in cell.flips)


def test_the_balance_of_two_classes_is_shown_before_it_is_a_collapse() -> None:
    """A model that says No to two thirds of what was half and half is not yet a collapse, and the cell says how far."""

    def answers(noes: int) -> Evaluation:
        items = [Item("t", f"d{i}", "p", float(i % 10 > 0), "No" if i < noes else "Yes", "No", "?") for i in range(200)]
        return Evaluation("toxigen", "acc,none", 0.5, tuple(items), kind="choice")

    verdict = judge(answers(100), answers(134), 0.9)
    cell = benchmark_cell(RUN, 5, verdict, CONTEXT, "capability")
    assert not cell.collapse
    assert cell.label_distribution == "'No' on 67% of the items (50% before)"
    assert "label balance of toxigen at N = 5: 'No' on 67% of the items (50% before)" in "\n".join(details([cell], 110))


def rows(*answers: str) -> list[EditQuality]:
    """Return edits that all want "new", with one neighbor each that used to say "old"."""
    return [EditQuality("new", answer, (("again", answer),), (("near", "old", answer),)) for answer in answers]


def quality_run(early: list[EditQuality], late: list[EditQuality]) -> Run:
    """Return a run with these answers right after each edit and at the end."""
    edits = [Edit("{} is", f"S{i}", "new") for i in range(len(late))]
    fake = SimpleNamespace(
        name="x-m",
        spec=SPEC,
        measured_per_edit=True,
        edits=edits,
        final=lambda _: late,
        immediate=lambda _: early,
        diagnostics=lambda _: {},
    )
    return cast("Run", fake)


def test_in_batches_a_quality_is_told_of_batches() -> None:
    """The line of a failure says after what the first of its two numbers was measured."""
    cell = Cell("x-b4-m", "efficacy", 8, 0.5, Outcome.REGRESSION, "quality", before=0.75, floor=0.8, fails=True)
    assert summary_of(cell).endswith("; right after each edit 0.75")
    assert summary_of(replace(cell, batch_size=4)).endswith("; right after each batch 0.75")


def test_forgotten_edits_come_before_those_that_never_took() -> None:
    """The first example of lost efficacy is an edit that was right when it was new."""
    run = quality_run(rows("never", "new", "new"), rows("never", "gone", "new"))
    cell = quality_cell(run, 3, "efficacy", floor=0.8, passed=False)
    assert [(flip.before, flip.now) for flip in cell.flips] == [("new", "gone"), ("never", "never")]
    assert cell.low is not None
    assert cell.low < 1 / 3


@pytest.mark.parametrize(("kind", "expected"), [("paraphrase", "new"), ("locality", "old")])
def test_other_qualities_have_examples_and_no_band(kind: Kind, expected: str) -> None:
    """Prompts of one edit stand or fall together: no band is claimed for them."""
    run = quality_run(rows("new"), rows("else"))
    cell = quality_cell(run, 1, kind, floor=0.8, passed=False)
    assert cell.low is None
    assert [flip.expected for flip in cell.flips] == [expected]


def test_ages_count_the_edits_that_came_after() -> None:
    """Of 12 edits the last has age 0; the oldest two (10 and 11) are gone."""
    found = efficacy_by_age(rows("gone", "gone", *["new"] * 10))
    assert found == (Age(0, 0, 1, 1), Age(1, 1, 1, 1), Age(2, 4, 3, 3), Age(5, 9, 5, 5), Age(10, 11, 2, 0))


def test_shrinking_weights_have_moved_too() -> None:
    """A norm that fell to a tenth comes before one that doubled."""
    assert list(most_moved({"twice": 2.0, "tenth": 0.1, "same": 1.0})) == ["tenth", "twice", "same"]


def base_of(model: PreTrainedModel | None, *, texts: Sequence[str] = ()) -> LoadedModel:
    """Return a toy as a loaded model, with a corpus of two sentences in many orders; one from elsewhere with texts."""
    words = ["red cat sun moon one two three.", "north south gold iron tea salt."]
    own = [f"{words[0]} {words[1]}\ntiny\n{words[1]}"]
    source = SimpleNamespace(corpus=lambda: texts or own, miniature=not texts)
    return cast(
        "LoadedModel",
        SimpleNamespace(
            source=source, model=model, tokenizer=toy.tokenizer(bos=True), identity={"model": "d", "tokenizer": "t"}
        ),
    )


def test_perplexity_is_of_different_sentences_and_kept(tmp_path: Path) -> None:
    """Fragments and repetitions are left out; a model whose loss is not finite has no perplexity, and no error."""
    good, broken = toy.model(), toy.model(seed=1)
    with torch.no_grad():
        broken.get_parameter("model.layers.0.mlp.down_proj.weight").fill_(torch.nan)
    base = base_of(good)
    assert perplexity.candidates(base.source.corpus(), 512) == [
        "red cat sun moon one two three.",
        "north south gold iron tea salt.",
    ]
    fake: Any = SimpleNamespace(base=base, key=str, model_at=lambda count: broken if count == 9 else good)
    found = perplexity.perplexity_at(fake, Store(tmp_path), 0)
    assert found is not None
    assert found > 1
    assert perplexity.perplexity_at(fake, Store(tmp_path), 1) == pytest.approx(found)
    assert perplexity.perplexity_at(fake, Store(tmp_path), 9) is None


def test_the_sample_of_a_model_from_elsewhere_is_chosen_without_it(tmp_path: Path) -> None:
    """No model is there to be asked, and the sentences are those of the text, evenly spread."""
    texts = [f"the red cat saw number {number} of the suns." for number in range(640)]
    assert perplexity.sample(base_of(None, texts=texts), Store(tmp_path)) == texts[::10]
