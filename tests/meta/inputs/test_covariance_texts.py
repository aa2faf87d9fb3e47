"""How much of a corpus covariances are computed from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from editgate.errors import ConfigError
from editgate.inputs.covariance_texts import at_most
from editgate.options.options import Options
from editgate.options.settings import read

TEXTS = [f"number {'x ' * (index % 7)}{index}" for index in range(200)]


class ByWords:
    """Stands for a tokenizer whose tokens are words."""

    def __call__(self, text: str, **_: object) -> dict[str, Any]:
        """Return a word's length for each word."""
        return {"input_ids": [len(word) for word in text.split()]}


def chosen(tokens: int) -> list[str]:
    """The sample of so many tokens."""
    return list(at_most(TEXTS, ByWords(), tokens))  # type: ignore[arg-type]


def test_a_sample_has_the_tokens_that_were_asked_for() -> None:
    """It ends with the text that reaches the number, and comes from the whole corpus, in its order."""
    sample = chosen(300)
    count = sum(len(text.split()) for text in sample)
    assert 300 <= count < 310
    positions = [TEXTS.index(text) for text in sample]
    assert positions == sorted(positions)
    assert positions[0] < 20
    assert positions[-1] > 180


def test_a_larger_sample_holds_the_smaller_one() -> None:
    """More tokens only add texts, so that two runs differ by what is added."""
    assert set(chosen(100)) < set(chosen(400))


def test_a_small_corpus_is_read_whole() -> None:
    """Fewer tokens than asked for are all taken."""
    assert chosen(10**6) == TEXTS


@pytest.mark.parametrize(("tokens", "says"), [(0, "at least 1"), (5, "any other --model")])
def test_wrong_numbers_are_usage_errors(tokens: int, says: str, tmp_path: Path) -> None:
    """No tokens at all, and a number for a shipped model, whose texts were made for it, are refused."""
    with pytest.raises(ConfigError, match=says):
        read(Options(model="llama-mini", covariance_tokens=tokens), tmp_path)
