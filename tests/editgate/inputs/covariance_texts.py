"""Texts to compute covariances from for models that are not shipped: wikitext, or a local file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from editgate.errors import ConfigError
from editgate.inputs import hub_errors
from editgate.inputs.files.user_files import read_text

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
