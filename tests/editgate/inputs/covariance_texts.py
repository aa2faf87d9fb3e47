"""Texts to compute covariances from for models that are not shipped: so much of wikitext, or of a local file."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editgate.errors import ConfigError
from editgate.inputs import hub_errors
from editgate.inputs.files.user_files import read_text

if TYPE_CHECKING:
    from editors.core.typing import PreTrainedTokenizerBase

TOKENS = 100_000  # nine for each input of a 7B model's down-projection, 65 for each of a 135M one's
PIECE = 2000  # characters; about 500 tokens, below every model's context, beyond which a text would be cut
SHORTEST = 200  # characters; wikitext's headings and empty lines are shorter


def check(path: Path) -> None:
    """Reject a `--covariance-text` without text.

    Raises:
        ConfigError: it cannot be read, or is blank.
    """
    if not of_file(path):
        raise ConfigError(f"--covariance-text {str(path)!r} holds no text. Allowed: any text file in UTF-8.")


def of_file(path: Path) -> Sequence[str]:
    """Return a text file's paragraphs, long ones in pieces of at most `PIECE` characters.

    Raises:
        ConfigError: it cannot be read, or is neither in UTF-8 nor in UTF-16.
    """
    text = read_text(path, f"--covariance-text {str(path)!r}")
    return [piece for paragraph in text.split("\n\n") for piece in textwrap.wrap(paragraph, PIECE)]


def wikitext() -> Sequence[str]:
    """Return wikitext-2's training paragraphs from the hub.

    Raises:
        ConfigError: the hub cannot be reached and the data set is not on this machine.
    """
    import datasets  # noqa: PLC0415 - seconds to import, needed for models from elsewhere only

    try:
        rows = datasets.load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="train")
    except OSError as error:
        if not hub_errors.unreachable(error):
            raise
        raise ConfigError(
            "covariances of this model need wikitext, which is not on this machine, and the hub cannot be reached. "
            "Give any local text: --covariance-text FILE."
        ) from error
    return [row["text"] for row in rows if len(row["text"]) > SHORTEST]


def at_most(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, tokens: int) -> Sequence[str]:
    """Return texts of about so many tokens, in their order: all of them, or a sample from everywhere.

    The sample is the same for the same texts, and with more tokens it grows.

    Args:
        texts: the corpus.
        tokenizer: the model's, which counts.
        tokens: the text that reaches this number is the last.
    """
    order = list(range(len(texts)))
    random.Random(0).shuffle(order)
    chosen, count = [], 0
    for index in order:
        if count >= tokens:
            break
        chosen.append(index)
        count += len(tokenizer(texts[index], add_special_tokens=False)["input_ids"])
    return [texts[index] for index in sorted(chosen)]
