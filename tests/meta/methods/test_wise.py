"""WISE's side memory: what an edit may change, how shards are merged, and which prompts it answers."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from editgate.inference.memory_backend import MemoryBackend
from editgate.inference.select_backend import backend
from editgate.inference.tokenize import PairTokenizer
from editors import HyperparameterError, MissingTraining, StateMismatch, create
from editors.core.weights import same_bits
from editors.memory.memory_model import MemoryModel
from editors.wise import Wise
from editors.wise.side_memory import ties
from editors.wise.side_memory_model import LONG, SideMemoryModel, choose
from meta.support import tiny_models as tiny

MERGE = {"retrieve": False, "save_freq": 2, "merge_freq": 4}


def _editor(edits: int = 0, **changes: Any) -> Wise:  # noqa: ANN401 - hyperparameters
    given = {"corpus": tiny.CORPUS, "training": tiny.EDITS}
    editor = create("wise", tiny.model(), tiny.tokenizer(), **given, **tiny.settings("wise", **changes))
    assert isinstance(editor, Wise)
    editor.apply_many(tiny.EDITS[:edits])
    return editor


def _shards(editor: Wise) -> list[Tensor]:
    assert isinstance(editor.model, SideMemoryModel)
    return [weight for weight, _ in editor.model.shards]


def test_ties_trims_elects_and_averages_those_that_agree() -> None:
    """By hand: a change keeps its two largest entries; then the heavier sign wins, and the mean of its side."""
    base = torch.tensor([10.0, 10.0, 10.0, 10.0])
    changes = torch.tensor([[4.0, 2.0, 1.0, 0.0], [-1.0, 3.0, 0.0, 5.0], [-6.0, 0.0, 2.0, 1.0]])
    merged = ties(base, list(base + changes), [1 / 3] * 3, density=0.5)
    assert merged.tolist() == pytest.approx([10 - 6, 10 + 2.5, 10 + 2, 10 + 5])


def test_an_edit_moves_masked_entries_within_the_constraint_only() -> None:
    """About mask_ratio of the copy's entries differ from the base's, none by more than norm_constraint."""
    editor = _editor(1, mask_ratio=0.2, norm_constraint=0.01, weight_decay=0.0)
    (shard,) = _shards(editor)
    change = shard - editor._base
    assert 0.1 < float((change != 0).float().mean()) < 0.3
    assert float(change.abs().max()) == pytest.approx(0.01, rel=1e-3)


def test_edits_of_a_shard_share_a_mask_and_the_next_shard_has_another() -> None:
    """After two edits the same entries have moved as after one; the third edit's shard moves others."""
    first, second, third = (_editor(count, save_freq=2, weight_decay=0.0) for count in (1, 2, 3))
    moved = [shard != first._base for shard in (_shards(first)[0], _shards(second)[0], _shards(third)[0])]
    assert not bool((moved[0] & ~moved[1]).any() | (moved[1] & ~moved[0]).any())
    assert bool((moved[2] & ~moved[1]).any())


def test_merging_leaves_one_matrix_and_asking_changes_nothing() -> None:
    """In merge mode one matrix answers at any time, and a state is the same after questions as before."""
    editor = _editor(0, **MERGE)
    for edit in tiny.EDITS:
        editor.apply(edit)
        before = editor.state()
        editor.model(tiny.tokenizer()(edit.text, return_tensors="pt").input_ids)
        after = editor.state()
        assert before.keys() == after.keys()
        assert all(same_bits(value, after[name]) for name, value in before.items())
        assert len(_shards(editor)) == 1
    assert {"memory:merged", "memory:count", "memory:thresholds"} == set(editor.state())


def test_merge_mode_resumes_bit_by_bit() -> None:
    """A state after each number of edits, put into a new editor, goes on as the uninterrupted one does."""
    whole = _editor(4, **MERGE).state()
    for count in range(1, 4):
        resumed = _editor(0, **MERGE)
        resumed.restore(_editor(count, **MERGE).state())
        resumed.apply_many(tiny.EDITS[count:])
        assert resumed.state().keys() == whole.keys()
        assert all(same_bits(value, whole[name]) for name, value in resumed.state().items())


def test_retrieving_keeps_a_shard_each_and_merges_the_last_ones() -> None:
    """With one edit a shard there are as many shards as edits, until `merge_freq` of them become one."""
    assert [len(_shards(_editor(count, merge_freq=3))) for count in range(5)] == [0, 1, 2, 1, 2]


@pytest.mark.parametrize(
    ("activations", "bounds", "shard"),
    [([1.0, 3.0], [0.5, 2.0], 1), ([1.0, 3.0], [0.5, 4.0], None), ([2.0, 1.0], [2.0, 0.5], 0)],
)
def test_the_most_activated_shard_answers_if_it_reaches_its_bound(
    activations: list[float], bounds: list[float], shard: int | None
) -> None:
    """The largest activation decides which shard; that shard's bound decides whether."""
    assert choose(activations, bounds) == shard


def test_a_long_prompts_activation_is_its_largest() -> None:
    """Up to 100 tokens it is the mean over tokens, beyond the largest, as in the authors' code."""
    model = _editor(1).model
    assert isinstance(model, SideMemoryModel)
    ids = tuple(index % 50 + 5 for index in range(LONG + 1))
    each = model._distances(model._inputs.alone(ids))
    assert model.activations(ids) == pytest.approx(each.amax(1).tolist())
    assert model.activations(ids[:LONG]) == pytest.approx(each[:, :LONG].mean(1).tolist(), rel=1e-4)


def test_the_engine_scores_a_shards_prompts_as_the_wrapper_does() -> None:
    """Prompts run by the base with the shard's matrix in its place have the wrapper's scores; the base comes back."""
    model: object = _editor(2).model
    assert isinstance(model, SideMemoryModel)
    base = {name: value.clone() for name, value in tiny.inner(model).state_dict().items()}
    prompts = PairTokenizer(tiny.tokenizer()).prompts([edit.text for edit in tiny.EDITS])
    pairs = [(prompt, answer) for prompt in prompts for answer in ((30, 31), (40,))]
    wrapped: MemoryModel[Any] = model
    runner = MemoryBackend(wrapped, tiny.tokenizer(), "t", partial(backend, tokenizer=tiny.tokenizer(), name="t"))
    scores = runner.score(pairs)
    assert runner.routed >= 2
    assert [value for value, _ in scores] == pytest.approx([value for value, _ in runner._score(pairs)], abs=1e-4)
    with pytest.raises(ZeroDivisionError), model.exchanged(0):
        raise ZeroDivisionError
    assert all(same_bits(value, base[name]) for name, value in tiny.inner(model).state_dict().items())


def test_a_state_of_another_matrix_is_refused() -> None:
    """Shards of another shape, and unknown names, raise StateMismatch with both shapes or the name."""
    editor = _editor(1)
    state = editor.state()
    with pytest.raises(StateMismatch, match=r"wise's shards is \(1, 3, 3\)"):
        editor.restore(state | {"memory:shards": torch.zeros(1, 3, 3)})
    with pytest.raises(StateMismatch, match="contains color"):
        editor.restore(state | {"memory:color": torch.zeros(1)})


def test_without_training_edits_it_says_what_it_needs() -> None:
    """There must be prompts that an edit may not change; the message says how to give them."""
    editor = create("wise", tiny.model(), tiny.tokenizer(), **tiny.settings("wise"))
    with pytest.raises(MissingTraining, match="give training=<edits>"):
        editor.apply(tiny.EDITS[0])


def test_shards_that_do_not_divide_a_merging_are_refused() -> None:
    """merge_freq must be a multiple of save_freq; the message has both."""
    with pytest.raises(HyperparameterError, match="merge_freq 3 must be a multiple of save_freq 2"):
        _editor(save_freq=2, merge_freq=3)
