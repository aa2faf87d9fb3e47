"""A base model that reads something around some prompts: text before the prompt, text between prompt and answer."""

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
class Prompted:
    """What is read around one prompt.

    Attributes:
        before: The base, after a prefix.
        after: Tokens between the prompt and its answer.
    """

    before: PrefixedModel
    after: Tokens = ()


Judge = Callable[[Sequence[Tokens]], list[Prompted | None]]


class InContextModel(MemoryModel[Prompted]):
    """The base; where `judge` says so, with more to read.

    Args:
        model: The base.
        judge: What is read around each prompt, by the prompt's own tokens only; None: nothing.
    """

    def __init__(self, model: PreTrainedModel, judge: Judge) -> None:
        super().__init__(model)
        self._judge = judge

    def routes(self, contexts: Sequence[Tokens]) -> list[Prompted | None]:
        """What is read around each prompt."""
        return self._judge(contexts)

    def logits(self, tokens: Tokens, context: int, route: Prompted) -> Tensor:
        """Logits [T, V]; what follows the prompt is predicted at its last token, as if nothing stood between."""
        got = route.before.logits((*tokens[:context], *route.after, *tokens[context:]))
        if not route.after:
            return got
        return torch.cat([got[: context - 1], got[context - 1 + len(route.after) :]])

    def write(self, context: Tokens, route: Prompted, limit: int, ends: frozenset[int]) -> list[int]:
        """Greedy continuation."""
        return route.before.write((*context, *route.after), limit, ends)


def before_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Tokens:
    """Ids of a text that a prompt's own ids will follow, with BOS if the tokenizer adds one.

    A tokenizer that keeps a space inside the next word (SentencePiece) gives it to the prompt's first token too: then
    the text's own last space is left out.
    """
    whole, mark = encode(tokenizer, text + _MARK), list(tokenizer(_MARK, add_special_tokens=False)["input_ids"])
    if text.endswith(" ") and mark and whole[-len(mark) :] == mark:
        return tuple(whole[: -len(mark)])
    return tuple(encode(tokenizer, text))


def after_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Tokens:
    """Ids of a text that follows a prompt's own ids; without the word mark that some tokenizers put first."""
    start, whole = encode(tokenizer, _MARK), encode(tokenizer, _MARK + text)
    if whole[: len(start)] == start:
        return tuple(whole[len(start) :])
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
