"""Context templates: short texts before the prompt, so that keys and values are averaged over several contexts.

They can be passed in. Otherwise the unedited model generates them from five common words, by top-5 sampling with the
editor's seed, so that a resumed run has the same ones.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from editors.core.edit import SLOT
from editors.core.errors import EditError
from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.models.tokens import encode

SEEDS = ("The", "Therefore", "Because", "I", "You")
TOP = 5

Contexts = tuple[tuple[str, ...], ...]
BARE: tuple[str, ...] = (SLOT,)


def checked(groups: Sequence[Sequence[str]]) -> Contexts:
    """The groups as tuples.

    Raises:
        EditError: There is no template, the first is not the bare prompt, or one has not exactly one `{}`.
    """
    contexts = tuple(tuple(group) for group in groups)
    flat = [template for group in contexts for template in group]
    if not flat or not all(contexts) or flat[0] != SLOT:
        raise EditError(f"contexts are {groups!r}; they must be groups of templates, the first of all {SLOT!r}")
    for template in flat:
        if template.count(SLOT) != 1:
            raise EditError(f"context {template!r} must contain {SLOT} exactly once")
    return contexts


@torch.no_grad()
def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, lengths: Sequence[tuple[int, int]], seed: int
) -> Contexts:
    """The bare prompt, then one group per (length, count): `count` texts of `length` tokens in all."""
    generator = torch.Generator().manual_seed(seed)
    groups: list[tuple[str, ...]] = [BARE]
    for length, count in lengths:
        shares = [count // len(SEEDS) + (index < count % len(SEEDS)) for index in range(len(SEEDS))]
        texts: list[str] = []
        for word, share in zip(SEEDS, shares, strict=True):
            if share:
                ids = torch.tensor([encode(tokenizer, word)] * share, device=model.device)
                ids = _continue(model, ids, length, generator)
                texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
        # one line without braces, which would be taken for the prompt's slot
        clean = [unicodedata.normalize("NFKD", text).replace("{", " ").replace("}", " ") for text in texts]
        groups.append(tuple(f"{' '.join(text.split())}. {SLOT}" for text in clean))
    return tuple(groups)


def _continue(model: PreTrainedModel, ids: Tensor, length: int, generator: torch.Generator) -> Tensor:
    while ids.shape[1] < length:
        best = model(input_ids=ids).logits[:, -1].float().topk(TOP, dim=-1)
        pick = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=generator).to(ids.device)
        ids = torch.cat([ids, best.indices.gather(1, pick)], dim=1)
    return ids
