"""A base model with text in its context: before some prompts, and between prompt and answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.core.typing import PreTrainedModel, PreTrainedTokenizerBase
from editors.memory.memory_model import MemoryModel, Tokens
from editors.memory.prefixed_model import PrefixedModel
from editors.models.tokens import encode

_MARK = "x"


@dataclass(frozen=True)
class PromptContext:
    """The context of one prompt.

    Attributes:
        before: The base, after a prefix.
        after: Tokens between the prompt and its answer.
    """

    before: PrefixedModel
    after: Tokens = ()


Router = Callable[[Sequence[Tokens]], list[PromptContext | None]]


class InContextModel(MemoryModel[PromptContext]):
    """The base model, with additional context for some prompts.

    Args:
        model: The base.
        route_prompts: Gives the context of each prompt, from its own tokens only; None: the base answers.
    """

    def __init__(self, model: PreTrainedModel, route_prompts: Router) -> None:
        super().__init__(model)
        self._route_prompts = route_prompts

    def routes(self, contexts: Sequence[Tokens]) -> list[PromptContext | None]:
        """The context of each prompt."""
        return self._route_prompts(contexts)

    def logits(self, tokens: Tokens, context: int, route: PromptContext) -> Tensor:
        """Logits [T, V]; what follows the prompt is predicted at its last token, as if nothing were in between."""
        got = route.before.logits((*tokens[:context], *route.after, *tokens[context:]))
        if not route.after:
            return got
        return torch.cat([got[: context - 1], got[context - 1 + len(route.after) :]])

    def read_instead(self, context: Tokens, route: PromptContext) -> tuple[PreTrainedModel, Tokens]:
        """The base, and the prompt in its context."""
        return route.before.model, route.before.read((*context, *route.after))

    def continue_routed(self, context: Tokens, route: PromptContext, limit: int, eos_ids: frozenset[int]) -> list[int]:
        """Greedy continuation."""
        return route.before.generate((*context, *route.after), limit, eos_ids)


def prefix_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Tokens:
    """Ids of a text that a prompt's own ids will follow, with BOS if the tokenizer adds one.

    A tokenizer that keeps a space inside the next word (SentencePiece) gives it to the prompt's first token too: then
    the text's own last space is left out.
    """
    whole, mark = encode(tokenizer, text + _MARK), list(tokenizer(_MARK, add_special_tokens=False)["input_ids"])
    if text.endswith(" ") and mark and whole[-len(mark) :] == mark:
        return tuple(whole[: -len(mark)])
    return tuple(encode(tokenizer, text))


def suffix_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Tokens:
    """Ids of a text that follows a prompt's own ids; without the word mark that some tokenizers put first."""
    start, whole = encode(tokenizer, _MARK), encode(tokenizer, _MARK + text)
    if whole[: len(start)] == start:
        return tuple(whole[len(start) :])
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
