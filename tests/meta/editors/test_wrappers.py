"""Every method that answers from a memory gives lm-eval one answer to one question, however it is asked.

lm-eval reads right-padded batches without a mask and writes on from left-padded ones; batch size, padding, company and
the answer that is scored must have no part in who answers. All editors of the kinds `wrapper` and `prompt` are asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from editgate.inference.backend import Completion
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.memory_backend import ROWS, MemoryBackend
from editgate.inference.select_backend import backend
from editgate.inference.tokenize import PairTokenizer
from editors import create, kind_of, names
from editors.memory.memory_model import MemoryModel, Tokens
from meta.support import tiny_models as tiny

METHODS = [name for name in names() if kind_of(name) != "weights"]
ARCHITECTURES = ("llama", "gpt2")
EDITED = tiny.EDITS[:2]
PROMPTS = [edit.text for edit in tiny.EDITS] + [text.rpartition(" ")[0] for text in tiny.CORPUS]
ANSWERS = (" Amber Bay", " sea", " Dorvik and the old mill", " I")
LENGTH = 7  # tokens written
TOLERANCE = 1e-4  # of log-likelihoods: batches round differently

pytestmark = [pytest.mark.parametrize("method", METHODS), pytest.mark.parametrize("family", ARCHITECTURES)]


@dataclass(frozen=True)
class Asked:
    """A model behind a memory, prompts that the memory answers and prompts that it does not."""

    model: MemoryModel[object]
    inside: tuple[Tokens, ...]
    outside: tuple[Tokens, ...]

    @property
    def prompts(self) -> tuple[Tokens, ...]:
        """Both kinds in turn, of different lengths."""
        return tuple(row for both in zip(self.inside * 4, self.outside, strict=False) for row in both)


def _codebook_model(method: str, family: str, edits: int) -> MemoryModel[object]:
    given = {"corpus": tiny.CORPUS, "training": tiny.EDITS}
    editor = create(method, tiny.model(family), tiny.tokenizer(), **given, **tiny.settings(method))
    editor.apply_many(EDITED[:edits])
    assert isinstance(editor.model, MemoryModel)
    return editor.model


@cache
def _asked(method: str, family: str) -> Asked:
    """A model after the edits; the edited prompts are answered by the memory, some others are not."""
    model = _codebook_model(method, family, len(EDITED))
    prompts = PairTokenizer(tiny.tokenizer()).prompts(PROMPTS)
    routes = model.routes(prompts)
    inside = tuple(p for p, route in zip(prompts, routes, strict=True) if route is not None)
    outside = tuple(p for p, route in zip(prompts, routes, strict=True) if route is None)
    assert set(prompts[: len(EDITED)]) <= set(inside), "an edited prompt is not answered by its edit"
    assert outside, "every prompt is answered by the memory: nothing shows that the others are the base's"
    return Asked(model, inside, outside)


def _pairs(prompts: Sequence[Tokens]) -> list[tuple[Tokens, Tokens]]:
    tokenizer = tiny.tokenizer()
    answers = [tuple(tokenizer(text, add_special_tokens=False).input_ids) for text in ANSWERS]
    return [(prompt, answer) for prompt in prompts for answer in answers]


def _logits(model: object, ids: Tensor) -> Tensor:
    """Logits of a call by position, without a mask."""
    with torch.no_grad():
        found: Tensor = model(ids).logits  # type: ignore[operator]  # a model or a wrapper
    return found


def _right(rows: Sequence[Tokens], pad: int = 0) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


def _left(rows: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*[0] * (width - len(row)), *row] for row in rows])
    return ids, torch.tensor([[*[0] * (width - len(row)), *[1] * len(row)] for row in rows])


def _written(model: MemoryModel[object], rows: Sequence[Tokens]) -> list[list[int]]:
    """What is generated after left-padded prompts, as HFLM asks for it."""
    ids, mask = _left(rows)
    found = model.generate(ids, attention_mask=mask, max_length=ids.shape[1] + LENGTH, do_sample=False, use_cache=True)
    assert torch.equal(found[:, : ids.shape[1]], ids)
    tails: list[list[int]] = found[:, ids.shape[1] :].tolist()
    return tails


@contextmanager
def _watched(model: MemoryModel[object]) -> Iterator[list[tuple[Tokens, ...]]]:
    """Notes which contexts the memory is asked about."""
    seen: list[tuple[Tokens, ...]] = []
    routes = model.routes

    def noting(contexts: Sequence[Tokens]) -> list[object | None]:
        seen.append(tuple(contexts))
        return routes(contexts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "routes", noting)
        yield seen


def _routed(asked: Asked, rows: int = ROWS) -> MemoryBackend:
    return MemoryBackend(
        asked.model, tiny.tokenizer(), "t", partial(backend, tokenizer=tiny.tokenizer(), name="t"), rows
    )


def _requests(asked: Asked) -> list[Completion]:
    tokenizer = tiny.tokenizer()
    texts = [str(tokenizer.decode(list(prompt), skip_special_tokens=True)) for prompt in asked.prompts]
    prompts = PairTokenizer(tokenizer).prompts(texts)
    return [Completion(text, tokens, ("never",), LENGTH) for text, tokens in zip(texts, prompts, strict=True)]


def test_whatever_runs_it_answers_alike(method: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's backend, which runs plain models where it can, has the scores and texts of lm-eval on the wrapper."""
    asked, pairs = _asked(method, family), _pairs(_asked(method, family).prompts)
    monkeypatch.setattr(asked.model.generation_config, "eos_token_id", tiny.tokenizer().eos_token_id)
    lm = _routed(asked)
    found, expected = lm.score(pairs), lm._score(pairs)
    assert lm.routed
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=TOLERANCE)
    assert [flag for _, flag in found] == [flag for _, flag in expected]
    expected_texts = HflmBackend(asked.model, tiny.tokenizer(), "t").generate(_requests(asked))
    assert [text.text for text in lm.generate(_requests(asked))] == [text.text for text in expected_texts]


def test_batch_size_changes_no_score(method: str, family: str) -> None:
    """Rows scored one by one and sixteen at a time have the same log-likelihoods and greedy flags."""
    asked = _asked(method, family)
    pairs = _pairs(asked.prompts)
    one, many = (_routed(asked, rows).score(pairs) for rows in (1, 16))
    assert [value for value, _ in one] == pytest.approx([value for value, _ in many], abs=TOLERANCE)
    assert [flag for _, flag in one] == [flag for _, flag in many]


def test_order_changes_no_score(method: str, family: str) -> None:
    """Scoring the rows backwards gives each the log-likelihood that it had."""
    asked = _asked(method, family)
    pairs = _pairs(asked.prompts)
    lm = _routed(asked)
    forth, back = lm.score(pairs), lm.score(pairs[::-1])[::-1]
    assert [value for value, _ in forth] == pytest.approx([value for value, _ in back], abs=TOLERANCE)


def test_batch_size_changes_no_text(method: str, family: str) -> None:
    """Texts written one by one through HFLM and sixteen at a time are the same."""
    asked = _asked(method, family)
    sizes = (HflmBackend(asked.model, tiny.tokenizer(), "t", batch_size=size) for size in (1, 16))
    one, many = (lm.generate(_requests(asked)) for lm in sizes)
    assert one == many
    assert len({written.text for written in one}) > 1


def test_left_padding_changes_no_text(method: str, family: str) -> None:
    """Prompts generated from together, padded on the left under a mask, are continued as each is alone."""
    asked = _asked(method, family)
    together = _written(asked.model, asked.prompts)
    assert together == [_written(asked.model, [prompt])[0] for prompt in asked.prompts]


def test_what_is_written_is_greedy_when_scored(method: str, family: str) -> None:
    """The continuation that generate writes has is_greedy when it is scored, and another first token has not."""
    asked = _asked(method, family)
    written = [tuple(tail) for tail in _written(asked.model, asked.prompts)]
    lm = _routed(asked)
    with _watched(asked.model) as seen:
        flags = [flag for _, flag in lm.score(list(zip(asked.prompts, written, strict=True)))]
    assert all(flags)
    assert {context for contexts in seen for context in contexts} == set(asked.prompts), "the answer had a part in it"
    other = [((tail[0] + 1) % tiny.WORDS, *tail[1:]) for tail in written]
    assert not any(flag for _, flag in lm.score(list(zip(asked.prompts, other, strict=True))))


def test_outside_the_memory_the_base_answers_bit_for_bit(method: str, family: str) -> None:
    """In a batch of both kinds the other rows are the base's to the last bit, and the memory's rows are not."""
    asked = _asked(method, family)
    ids = _right(asked.prompts)
    lengths = [len(prompt) for prompt in asked.prompts]
    with asked.model.reading(lengths, lengths):
        found = _logits(asked.model, ids)
    base = _logits(tiny.inner(asked.model), ids)
    for row, prompt in enumerate(asked.prompts):
        end = base.shape[1] if prompt in asked.outside else len(prompt)
        assert torch.equal(found[row, :end], base[row, :end]) == (prompt in asked.outside)


def test_right_padding_changes_no_logits(method: str, family: str) -> None:
    """Rows padded on the right, called by position without a mask, have the logits that each has alone."""
    asked = _asked(method, family)
    rows = [(*prompt, *range(5, 5 + number % LENGTH)) for number, prompt in enumerate(asked.prompts)]
    ends = [len(prompt) for prompt in asked.prompts]
    with asked.model.reading(ends, list(map(len, rows))):
        together = _logits(asked.model, _right(rows, pad=3))
    for found, row, end in zip(together, rows, ends, strict=True):
        with asked.model.reading([end]):
            alone = _logits(asked.model, torch.tensor([row]))[0]
        assert torch.allclose(found[: len(row)], alone, rtol=1e-4, atol=1e-4)


def test_an_empty_memory_is_the_base(method: str, family: str) -> None:
    """Before the first edit all logits are the base's bit for bit, and so are all texts."""
    model = _codebook_model(method, family, 0)
    prompts = PairTokenizer(tiny.tokenizer()).prompts(PROMPTS)
    ids, (left, mask) = _right(prompts), _left(prompts)
    with torch.no_grad():
        texts = tiny.inner(model).generate(left, attention_mask=mask, max_new_tokens=LENGTH, do_sample=False)  # type: ignore[operator]  # transformers types it as a tensor's method
    assert torch.equal(_logits(model, ids), _logits(tiny.inner(model), ids))
    assert _written(model, prompts) == texts[:, left.shape[1] :].tolist()
