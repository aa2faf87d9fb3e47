"""Tokenize an edit: token ids of prompt and target, lookup position of the fact token, label positions.

Everything works on ids. Decoding target tokens and tokenizing the text again loses spaces with SentencePiece
tokenizers, and tokenizing prefix and subject separately counts a BOS token twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from editors.core.edit import SLOT, Edit
from editors.core.errors import EditError
from editors.core.typing import PreTrainedTokenizerBase

FactToken = Literal["subject_last", "subject_first", "subject_first_after_last", "last"]
ESSENCE = "{} is a"  # prompt on which value optimization preserves the next-token distribution


@dataclass(frozen=True)
class Row:
    """One row of a batch.

    Attributes:
        ids: Token ids, BOS included where the tokenizer adds one, without padding.
        lookup: Index in `ids` of the token that is read and changed.
        labels: Indices in `ids` whose next-token distribution is scored, one per target id.
    """

    ids: tuple[int, ...]
    lookup: int
    labels: tuple[int, ...] = ()


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text with BOS if the tokenizer adds one, never with an EOS that the text does not have."""
    ids: list[int] = list(tokenizer(text)["input_ids"])
    eos = tokenizer.eos_token_id
    if len(ids) > 1 and ids[-1] == eos and not text.endswith(tokenizer.eos_token or "\0"):
        ids.pop()
    return ids


def target_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, target: str) -> list[int]:
    """Ids of the target as it continues the prompt, with one space between them.

    What follows the prompt's own ids when these are a prefix of the whole; else the ids of `" " + target`
    alone without special tokens and without the lone word mark that some SentencePiece tokenizers put first.

    Raises:
        EditError: The target has no tokens.
    """
    start = encode(tokenizer, prompt)
    whole = encode(tokenizer, f"{prompt} {target}")
    ids = whole[len(start) :]
    if whole[: len(start)] != start:
        ids = list(tokenizer(f" {target}", add_special_tokens=False)["input_ids"])
    if len(ids) > 1 and tokenizer.convert_ids_to_tokens(ids[0]) == "▁":
        ids = ids[1:]
    if not ids:
        raise EditError(f"target_new {target!r} gives no tokens after {prompt!r}")
    return ids


def find(
    tokenizer: PreTrainedTokenizerBase, before: str, subject: str, after: str, which: FactToken
) -> tuple[list[int], int]:
    """Ids of `before + subject + after` and the index of the fact token in them.

    Raises:
        EditError: The subject's token cannot be located in the ids, and the tokenizer has no offsets.
    """
    ids = encode(tokenizer, before + subject + after)
    if which == "last":
        return ids, len(ids) - 1
    if which == "subject_first":
        return ids, _token_of(tokenizer, before + subject + after, len(before), first=True)
    head = encode(tokenizer, before + subject)
    if ids[: len(head)] == head:
        last = len(head) - 1
    else:
        last = _token_of(tokenizer, before + subject + after, len(before + subject) - 1, first=False)
    return ids, min(last + (which == "subject_first_after_last"), len(ids) - 1)


def _token_of(tokenizer: PreTrainedTokenizerBase, text: str, character: int, *, first: bool) -> int:
    """Index of the (first or last) token that covers a character of the text.

    The first token of a word includes the space before it; a token that is only that space is the first.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise EditError(f"cannot locate the tokens of {text!r}: the tokenizer gives no offsets")
    spans: list[tuple[int, int]] = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    hits = [index for index, (start, end) in enumerate(spans) if start <= character < end]
    if not hits:
        raise EditError(f"no token of {text!r} covers character {character}")
    if first and hits[0] and text[character - 1] == " " and tuple(spans[hits[0] - 1]) == (character - 1, character):
        return hits[0] - 1
    return hits[0] if first else hits[-1]


def prompt_row(tokenizer: PreTrainedTokenizerBase, edit: Edit, template: str, which: FactToken) -> Row:
    """The row of a prompt in a context template, without a target.

    Raises:
        EditError: The fact token is one of the subject's, and the edit has none.
    """
    if edit.subject is None and which != "last":
        raise EditError(f"the prompt {edit.text!r} has no subject, so no token that is {which}")
    outer_before, outer_after = _split(template)
    before, after = edit.around
    ids, lookup = find(tokenizer, outer_before + before, edit.subject or "", after + outer_after, which)
    return Row(tuple(ids), lookup)


def target_row(row: Row, target: Sequence[int]) -> Row:
    """The row followed by all target ids but the last, scored where each target id is predicted."""
    labels = tuple(range(len(row.ids) - 1, len(row.ids) - 1 + len(target)))
    return Row(row.ids + tuple(target[:-1]), row.lookup, labels)


def essence_row(tokenizer: PreTrainedTokenizerBase, subject: str, which: FactToken) -> Row:
    """The row `<subject> is a`, cut after the fact token: later tokens cannot change the logits there."""
    before, after = _split(ESSENCE)
    ids, lookup = find(tokenizer, before, subject, after, which)
    return Row(tuple(ids[: lookup + 1]), lookup, (lookup,))


def _split(template: str) -> tuple[str, str]:
    before, _, after = template.partition(SLOT)
    return before, after
