"""The engine gives lm-eval's numbers, whatever the batch, and refuses what cannot be scored."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from editgate.compat import lm_eval as compat
from editgate.errors import EvaluationError, NonFiniteModel
from editgate.inference.backend import Completion
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.kv_cache import PreallocatedCacheLayer
from editgate.inference.prefix_groups import PADDING, packed_mask, shared_prefixes
from editgate.inference.select_backend import backend, runs_on_engine
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.tokenize import PairTokenizer
from editgate.measure.weight_changes import fingerprint
from meta.support import tiny_models, toy
from meta.support.devices import several_devices, spread
from meta.support.placed import offload

FAMILIES = ("llama", "gpt2", "gpt_neox", "mistral")
HEADER = "red blue green cat dog sun moon gold. " * 6
STOPS = ("\n", ".", "sun")


def _texts(count: int) -> list[str]:
    rng = random.Random(5)
    return [" ".join(rng.choices(toy.WORDS, k=rng.randint(1, 12))) for _ in range(count)]


@cache
def _pairs() -> list[tuple[str, str]]:
    """Options of one word and of many, shared headers, no context at all, a space at the context's end."""
    pairs = [(HEADER + text, option) for text in _texts(20) for option in (" A", " B", " gold iron tea", " cat")]
    pairs += [(text, " " + text) for text in _texts(8)]
    return [*pairs, ("", "red blue"), ("moon ", "cat dog"), ("<s>moon", " cat"), ("moon ", "cat dog")]


def _hflm(model: PreTrainedModel, *, bos: bool) -> HFLM:
    with compat.quiet():
        return HFLM(pretrained=model, tokenizer=toy.tokenizer(bos=bos), batch_size=8, softmax_dtype="float32")


def _completions(texts: list[str], *, bos: bool, length: int = 14) -> list[Completion]:
    prompts = PairTokenizer(toy.tokenizer(bos=bos)).prompts(texts)
    return [Completion(text, prompt, STOPS, length) for text, prompt in zip(texts, prompts, strict=True)]


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no-bos"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_likelihoods_are_those_of_hflm(family: str, bos: bool) -> None:  # noqa: FBT001 - a parameter
    """Sums of log-probabilities agree to 1e-4 and the greedy flags exactly, for every kind of pair."""
    model = toy.model(family)
    assert runs_on_engine(model)
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in _pairs()]
    wanted = _hflm(model, bos=bos).loglikelihood(requests, disable_tqdm=True)
    tokenizer = toy.tokenizer(bos=bos)
    scores = SharedPrefixBackend(model, tokenizer, "toy").score(PairTokenizer(tokenizer).pairs(_pairs()))
    assert [flag for _, flag in scores] == [flag for _, flag in wanted]
    assert [value for value, _ in scores] == pytest.approx([value for value, _ in wanted], abs=1e-4)


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no-bos"])
@pytest.mark.parametrize("family", FAMILIES)
def test_generations_are_those_of_hflm(family: str, bos: bool) -> None:  # noqa: FBT001 - a parameter
    """Texts agree character by character, stop strings and ends included."""
    model = toy.model(family)
    settings_ = {"until": list(STOPS), "max_gen_toks": 14, "do_sample": False}
    texts = [*_texts(20), HEADER, HEADER + "moon", "red\n"]
    requests = [Instance("generate_until", {}, (text, settings_), 0) for text in texts]
    wanted = _hflm(model, bos=bos).generate_until(requests, disable_tqdm=True)
    completions = _completions(texts, bos=bos)
    generations = SharedPrefixBackend(model, toy.tokenizer(bos=bos), "toy").generate(completions)
    assert [generation.text for generation in generations] == wanted
    assert len(set(wanted)) > 5, "the toy must write different things, or this shows nothing"


def test_finished_rows_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that end early are dropped from the batch, and the others go on as if they were alone."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    free = [replace(c, until=("never",)) for c in _completions(_texts(24), bos=True)]
    asked = [replace(c, until=_common_letters(model, free)) for c in free]
    kept: list[int] = []
    selected = PreallocatedCacheLayer.selected

    def counted(layer: PreallocatedCacheLayer, rows: Tensor) -> PreallocatedCacheLayer:
        kept.append(len(rows))
        return selected(layer, rows)

    monkeypatch.setattr(PreallocatedCacheLayer, "selected", counted)
    together = backend(model, tokenizer, "toy").generate(asked)
    assert len(set(kept)) >= 2, "rows must leave at several moments, or this shows nothing"
    assert together == backend(model, tokenizer, "toy", max_tokens=1).generate(asked)


def _common_letters(model: PreTrainedModel, requests: list[Completion]) -> tuple[str, ...]:
    """Three letters that many of the model's texts contain, so that they stop at different places."""
    texts = [written.text for written in backend(model, toy.tokenizer(bos=True), "toy").generate(requests)]
    shares = Counter(letter for text in texts for letter in set(text) if letter.isalpha())
    return tuple(letter for letter, _ in shares.most_common(3))


@pytest.mark.parametrize("max_tokens", [1, 37, 100_000])
def test_the_size_of_a_batch_changes_nothing(max_tokens: int) -> None:
    """One row at a time, odd batches, or all at once: same log-likelihoods to 1e-4, same texts."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    pairs, completions = PairTokenizer(tokenizer).pairs(_pairs()), _completions(_texts(24), bos=True)
    usual = backend(model, tokenizer, "toy")
    other = backend(model, tokenizer, "toy", max_tokens=max_tokens)
    values = [value for value, _ in usual.score(pairs)]
    assert [value for value, _ in other.score(pairs)] == pytest.approx(values, abs=1e-4)
    assert other.generate(completions) == usual.generate(completions)


def test_a_wrapper_gives_the_same_numbers() -> None:
    """What is no plain model goes through HFLM and agrees with the engine."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    wrapped = backend(toy.Wrapper(model), tokenizer, "toy")
    assert isinstance(wrapped, HflmBackend)
    pairs, completions = PairTokenizer(tokenizer).pairs(_pairs()), _completions(_texts(6), bos=True)
    plain = backend(model, tokenizer, "toy")
    assert [v for v, _ in wrapped.score(pairs)] == pytest.approx([v for v, _ in plain.score(pairs)], abs=1e-4)
    texts = [written.text for written in plain.generate(completions)]
    assert [written.text for written in wrapped.generate(completions)] == texts


class _Odd(LlamaForCausalLM):
    """Somebody's own class, whose forward pass may do anything."""


def test_only_plain_models_take_the_fast_path() -> None:
    """A hook on the model, a replaced forward, a class of one's own, capped logits, a wrapper: none is plain."""
    hooked, patched, plain = toy.model(), toy.model(), toy.model()
    hooked.register_forward_hook(lambda *_: None)
    patched.forward = plain.forward
    shape = toy.COMMON | {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 400, "pad_token_id": 1}
    capped = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma2", **shape))
    for model in (hooked, patched, _Odd(cast("LlamaConfig", plain.config)), capped, toy.Wrapper(plain), None):
        assert not runs_on_engine(model)
    assert runs_on_engine(plain)


@pytest.mark.parametrize("wrapped", [False, True], ids=["engine", "hflm"])
def test_an_edited_head_is_not_tied_again(wrapped: bool) -> None:  # noqa: FBT001 - a parameter
    """HFLM's constructor would silently put the embedding back in the place of an edited, untied head."""
    model, tokenizer = toy.model(tied=True), toy.tokenizer(bos=True)
    head = torch.nn.Linear(32, 400, bias=False)
    model.lm_head = head
    before = fingerprint(model)
    lm = HflmBackend(model, tokenizer, "toy") if wrapped else SharedPrefixBackend(model, tokenizer, "toy")
    ids = torch.tensor([[0, 5, 9]])
    with torch.no_grad():
        wanted = head(model.model(ids).last_hidden_state)[0, 1].log_softmax(-1)[9]
    assert lm.score([((0, 5), (9,))])[0][0] == pytest.approx(float(wanted), abs=1e-5)
    assert fingerprint(model) == before
    assert "tie_weights" not in vars(model)


@pytest.mark.parametrize("wrapped", [False, True], ids=["engine", "hflm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_by_name(value: float, wrapped: bool) -> None:  # noqa: FBT001 - a parameter
    """NaN or infinite weights raise and name the benchmark, for scores and for texts."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    with torch.no_grad():
        model.get_parameter("model.layers.0.mlp.down_proj.weight")[0, 0] = value
    lm = backend(toy.Wrapper(model) if wrapped else model, tokenizer, "truthfulqa")
    with pytest.raises(NonFiniteModel, match="truthfulqa"):
        lm.score([((0, 5), (9,))])
    with pytest.raises(NonFiniteModel, match="truthfulqa"):
        lm.generate(_completions(["red blue"], bos=True))


def test_a_text_beyond_the_context_is_an_error() -> None:
    """lm-eval would cut the question from the left; here the message says how long it is and how long may be."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    lm = backend(model, tokenizer, "bbh")
    with pytest.raises(EvaluationError, match=r"bbh: the longest text has 1025 tokens.* only 1024"):
        lm.score([((5,) * 1024, (6, 7))])
    with pytest.raises(EvaluationError, match="bbh"):
        lm.generate([Completion("", (5,) * 1024, STOPS, 4)])


def test_a_generation_uses_what_room_is_left() -> None:
    """With five places left, five tokens are written, however many were asked for."""
    lm = backend(toy.model(), toy.tokenizer(bos=True), "toy")
    (written,) = lm.generate([Completion("", (5,) * 1019, ("never",), 50)])
    assert written.capped
    assert len(toy.tokenizer(bos=False)(written.text)["input_ids"]) <= 5


def test_capped_tells_a_text_that_never_stopped() -> None:
    """A text that reached its limit is marked, one that reached a stop string is not."""
    lm = backend(toy.model(), toy.tokenizer(bos=True), "toy")
    asked = _completions(_texts(20), bos=True)
    never = [Completion(c.text, c.prompt, ("never",), 3) for c in asked]
    assert all(written.capped for written in lm.generate(never))
    first = lm.generate(never)[0].text
    stopped = Completion(asked[0].text, asked[0].prompt, (first[0],), 3)
    assert lm.generate([stopped])[0] == type(lm.generate([stopped])[0])("", capped=False)


def test_scoring_leaves_the_model_as_it_was() -> None:
    """Training mode, attention setting and parameters are what they were before."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    model.train()
    before, attention = fingerprint(model), model.config._attn_implementation
    lm = backend(model, tokenizer, "toy")
    lm.score(PairTokenizer(tokenizer).pairs(_pairs()[:4]))
    lm.generate(_completions(_texts(3), bos=True))
    assert model.training
    assert fingerprint(model) == before
    assert model.config._attn_implementation == attention


CONTEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), min_size=1, max_size=60)


@given(contexts=CONTEXTS, cost=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_groups_partition_the_contexts(contexts: list[tuple[int, ...]], cost: int) -> None:
    """Each context is in one group, begins with its group's prefix, and has a token left after it."""
    ordered = sorted(contexts)
    groups = shared_prefixes(ordered, cost)
    assert [i for group in groups for i in range(group.start, group.stop)] == list(range(len(ordered)))
    for group in groups:
        members = ordered[group.start : group.stop]
        assert len({member[: group.prefix] for member in members}) == 1
        assert all(len(member) > group.prefix for member in members)


def test_long_common_headers_make_groups_of_their_own() -> None:
    """Two headers of 200 tokens, twenty questions each, are run once each."""
    contexts = sorted((header,) * 200 + (i, i) for header in (1, 2) for i in range(3, 23))
    assert [group.prefix for group in shared_prefixes(contexts)] == [200, 200]


def test_options_do_not_see_each_other() -> None:
    """In a packed row an option sees its row's own prefix, its context, and itself up to here; nothing more."""
    segments = torch.tensor([[0, 0, 1, 1, 2, PADDING]]).repeat(2, 1)
    shorter, longer = packed_mask(segments, past=torch.tensor([1, 2]), width=2)
    assert longer[:, :2].all()
    assert not shorter[:, 1].any()
    seen = shorter[:, [0, *range(2, 8)]].int().tolist()
    assert seen == [
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0, 1],
    ]


def test_a_model_that_keeps_more_than_keys_and_values_is_run_by_hflm() -> None:
    """LFM2's convolutions have states that the engine's cache does not hold: it is not run by it, and scores."""
    extra = {"layer_types": ["conv", "full_attention", "conv"], "num_key_value_heads": 1, "pad_token_id": 0}
    model = tiny_models.model("lfm2", extra=extra)
    assert not runs_on_engine(model)
    ((value, _),) = backend(model, tiny_models.tokenizer(), "test").score([((5, 6, 7, 8), (9, 10))])
    logits = model(torch.tensor([[5, 6, 7, 8, 9]])).logits[0].log_softmax(-1).detach()
    assert value == pytest.approx(float(logits[3, 9] + logits[4, 10]), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_placed_model_answers_as_the_plain_one(family: str, tmp_path: Path) -> None:
    """With blocks on several devices, and with blocks in main memory and on disk, scores and texts are the same."""
    tokenizer = toy.tokenizer(bos=True)
    pairs, texts = PairTokenizer(tokenizer).pairs(_pairs()), _completions(_texts(6), bos=True)

    def asked(model: PreTrainedModel) -> tuple[object, object]:
        engine = SharedPrefixBackend(model, tokenizer, "toy", max_tokens=2048)  # the same batches on every device
        return engine.score(pairs), engine.generate(texts)

    def eager() -> PreTrainedModel:
        model = toy.model(family)
        model.set_attn_implementation("eager")  # the same kernels on every device
        return model

    wanted = asked(eager())
    assert asked(offload(eager(), tmp_path)) == wanted
    with several_devices():
        assert asked(spread(eager())) == wanted
