"""SERAC's rule of combination gives the numbers of EasyEdit's, and its counterfactual model reads the same tokens.

A case is a folder `serac-...` below `EDITGATE_GOLDEN` whose meta.json lists edits (`cache_inputs`) and prompts, each
with the similarity and the number of the edit that a stubbed classifier returned; hparams.json names both models. Where
the two models' tokenizers differ it is by the BOS token only: the vocabulary is one.

The reference decodes the prompt, joins it to the edit's text and tokenizes the whole again. Where a word comes out in
other tokens after the joining space than at the start of the prompt, its last T positions are not the prompt's T tokens
and its logits are shifted. The editor joins ids and cannot reproduce that; such a case tests the rule only, with the
counterfactual logits read where the reference read them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editors.memory.memory_model import Tokens
from editors.memory.prefixed_model import PrefixedModel
from editors.models.tokens import encode
from editors.serac.routed_model import RoutedModel, ScopeMatch
from meta.golden.cases import CASES, TOLERANCE, Case, load_model, relative
from meta.golden.published_serac import MixedModel

SEPARATOR = " "  # the authors', between edit and query


@dataclass(frozen=True)
class Stub:
    """A classifier that has made up its mind."""

    redirect: PrefixedModel
    similarity: float

    def __call__(self, contexts: Sequence[Tokens]) -> list[ScopeMatch]:
        """The same for every prompt."""
        return [ScopeMatch(self.redirect, self.similarity)] * len(contexts)


def _is_rule(case: Case) -> bool:
    return case.folder.startswith("serac-") and {"base", "counterfactual", "soft_weighting"} <= set(case.hparams)


CASES_HERE = [
    pytest.param(case, number, id=f"{case.name}-{number}")
    for case in filter(_is_rule, CASES)
    for number in range(len(json.loads(case.expected.with_name("meta.json").read_text("utf-8"))["cases"]))
]


@dataclass(frozen=True)
class Reread(PrefixedModel):
    """Reads `again` where it is asked to read the prompt."""

    again: Tokens = ()

    def logits(self, tokens: Tokens) -> Tensor:
        """Logits [T, V] at the T last tokens of the text as it was tokenized again."""
        assert len(tokens) == len(self.again)
        return super().logits(self.again)


def _redirect(
    edit: str, beside: tuple[PreTrainedModel, PreTrainedTokenizerBase], tokens: list[int], reference: list[int]
) -> PrefixedModel:
    """The editor's, or the reference's where tokenizing again has changed the prompt's tokens."""
    model, tokenizer = beside
    own = PrefixedModel(model, tuple(encode(tokenizer, edit + SEPARATOR)), 0, tokenizer.bos_token_id)
    if [*own.prefix, *tokens] == reference:
        return own
    assert reference[-len(tokens) :] != tokens, "the prompt is in the same tokens, so the edit must be too"
    start = len(reference) - len(tokens)
    return Reread(model, tuple(reference[:start]), again=tuple(reference[start:]))


@pytest.mark.parametrize(("case", "number"), CASES_HERE)
def test_the_rule_equals_the_reference(case: Case, number: int) -> None:
    """Logits of the soft mixture, and of the switch on both sides of 1/2, agree to a relative 1e-4."""
    meta: dict[str, Any] = json.loads(case.expected.with_name("meta.json").read_text("utf-8"))
    told, expected = meta["cases"][number], load_file(case.expected)
    base, tokenizer = load_model(case.hparams["base"])
    beside = load_model(case.hparams["counterfactual"])
    tokens = encode(tokenizer, told["prompt"])
    reference = expected[f"case{number}.replacement_input_ids"][0].tolist()
    redirect = _redirect(meta["cache_inputs"][told["cache_index"]], beside, tokens, reference)
    found: dict[str, Tensor] = {}
    for soft in case.hparams["soft_weighting"]:
        judge = Stub(redirect, told["sim"])
        wrapped = MixedModel(base, judge, case.hparams["eps"]) if soft else RoutedModel(base, judge)
        logits = wrapped(torch.tensor([tokens])).logits
        assert logits is not None
        found["soft" if soft else "hard"] = logits
    wrong = {name: relative(value, expected[f"case{number}.{name}.logits"]) for name, value in found.items()}
    assert len(wrong) == len(case.hparams["soft_weighting"])
    assert all(error <= TOLERANCE for error in wrong.values()), wrong
