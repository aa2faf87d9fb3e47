"""Training is what the recipes say: packed rows are separate documents, every shape of the family can be trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedModel

from editgate.miniature import recipes, train
from editgate.miniature.recipes import WEIGHTS, Recipe
from editgate.miniature.training.architectures import SHAPES, begin_from, build_model
from editgate.miniature.training.muon import Muon, orthogonalized
from editgate.miniature.training.tokens import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(512, seed=3)


def _recipe(architecture: str) -> Recipe:
    return Recipe(
        architecture=architecture, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=512, rows_per_step=2,
    )  # fmt: skip


def _loss_by_document(model: PreTrainedModel, ids: torch.Tensor, labels: torch.Tensor, numbers: torch.Tensor) -> float:
    losses = []
    for row in range(len(ids)):
        for number in range(int(numbers[row].max()) + 1):
            here = numbers[row] == number
            logits = model(ids[row, here][None]).logits[0, :-1]
            losses.append(cross_entropy(logits, labels[row, here][1:], reduction="none", ignore_index=-100))
    losses_of_learned = torch.cat(losses)
    return float(losses_of_learned.sum() / (labels[:, 1:] != -100).sum())


@pytest.mark.parametrize("architecture", sorted(SHAPES))
def test_documents_side_by_side_do_not_see_each_other(architecture: str, tokenizer: Tokenizer) -> None:
    """The loss of packed rows is that of every document alone, for every architecture of the family."""
    recipe = _recipe(architecture)
    model = build_model(recipe, tokenizer)
    batch = next(train.Batches(recipe, tokenizer, 0))
    assert batch[2].max() > 0, "no row holds two documents, so this shows nothing"
    with torch.no_grad():
        packed = float(train.loss_of(model, batch, "float32"))
        alone = _loss_by_document(model, *batch)
    assert packed == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("architecture", sorted(SHAPES))
def test_every_matrix_of_a_block_is_trained_by_muon(architecture: str, tokenizer: Tokenizer) -> None:
    """Embeddings and norms go to AdamW, all else to Muon, whatever a family calls its parts."""
    model = build_model(_recipe(architecture), tokenizer)
    muon, adam = train.optimizers(model, _recipe(architecture))
    matrices = {id(p) for p in muon.param_groups[0]["params"]}
    embedding = model.get_input_embeddings().weight
    assert all(p.ndim == 2 for p in muon.param_groups[0]["params"])
    assert id(embedding) not in matrices
    assert any(p is embedding for p in adam.param_groups[0]["params"])
    assert len(matrices) + len(adam.param_groups[0]["params"]) == len(list(model.parameters()))


def test_a_model_may_begin_where_another_ended() -> None:
    """The chat model starts with every weight of the base model that it names."""
    recipe = recipes.FAMILY["llama-mini-chat"]
    parent = WEIGHTS / recipe.begins_from
    model = build_model(recipe, Tokenizer.from_file(str(parent / "tokenizer.json")))
    begin_from(model, parent)
    trained = load_file(parent / "model.safetensors")
    assert all(torch.equal(parameter, trained[name].float()) for name, parameter in model.named_parameters())


def test_more_query_heads_than_the_parent_change_nothing_at_first() -> None:
    """A grouped-query model that begins from llama-mini gives its logits, and no two of its heads are the same."""
    recipe = recipes.FAMILY["mistral-mini"]
    parent = AutoModelForCausalLM.from_pretrained(WEIGHTS / recipe.begins_from, dtype=torch.float32)
    model = build_model(recipe, Tokenizer.from_file(str(WEIGHTS / recipe.begins_from / "tokenizer.json")))
    begin_from(model, WEIGHTS / recipe.begins_from)
    assert model.config.num_attention_heads == 2 * model.config.num_key_value_heads
    ids = torch.randint(4, recipe.vocab_size, (2, 40), generator=torch.manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, parent(ids).logits, rtol=1e-4, atol=1e-4)
    shared = model.model.layers[0].self_attn.o_proj.weight.view(recipe.hidden_size, -1, 2, 32)
    assert not torch.equal(shared[:, :, 0], shared[:, :, 1])


def test_muon_in_bfloat16_is_that_of_torch() -> None:
    """Three steps from the same gradients leave the same bits as torch's own Muon, tall and wide."""
    for shape in ((16, 48), (48, 16)):
        ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
        muon = Muon([ours], lr=0.01, weight_decay=0.1, precision="bfloat16")
        reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1)
        for step in range(3):
            gradient = torch.randn(shape, generator=torch.manual_seed(step))
            ours.grad, theirs.grad = gradient, gradient.clone()
            muon.step()
            reference.step()
        assert torch.equal(ours, theirs)


def test_muon_in_float32_makes_updates_nearly_orthogonal() -> None:
    """The singular values of an update are near one, whatever the gradient's were."""
    gradient = torch.randn(24, 64, generator=torch.manual_seed(0)) * torch.logspace(-1, 1, 24)[:, None]
    values = torch.linalg.svdvals(orthogonalized(gradient, torch.float32))
    assert 0.3 < values.min() < values.max() < 1.3


@pytest.mark.parametrize("name", [name for name, recipe in recipes.FAMILY.items() if recipe.begins_from])
def test_a_child_keeps_its_parents_tokenizer(name: str, tmp_path: Path) -> None:
    """Whatever its seed: the embeddings that it begins with are numbered so."""
    recipe = recipes.FAMILY[name]
    parent = WEIGHTS / recipe.begins_from
    found = train.tokenizer_of(recipe, tmp_path, parent).to_str()
    assert json.loads(found) == json.loads((parent / "tokenizer.json").read_text(encoding="utf-8"))
