"""Batches of a small model run side by side on the threads that it leaves idle; no number depends on it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from editgate.errors import NonFiniteModel
from editgate.inference.backend import Completion
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.side_by_side import mapper, spare_threads
from editgate.inference.tokenize import PairTokenizer
from editgate.measure.threads import single_threaded
from editors.core.progress import listening
from meta.support import tiny_runs, toy

SECONDS = 20.0  # for two threads to meet


def _texts(count: int) -> list[str]:
    rng = random.Random(3)
    return ["red blue green cat " + " ".join(rng.choices(toy.WORDS, k=rng.randint(1, 30))) for _ in range(count)]


def _asked(threads: int) -> tuple[list[tuple[float, bool]], list[tuple[str, tuple[int, ...]]]]:
    """Scores and texts of a toy, forty rows each in batches of at most 64 tokens."""
    tokenizer = toy.tokenizer(bos=True)
    with spare_threads(threads):
        lm = SharedPrefixBackend(toy.model(), tokenizer, "toy", max_tokens=64)
    pairs = PairTokenizer(tokenizer).pairs([(text, option) for text in _texts(40) for option in (" gold", " iron tea")])
    prompts = PairTokenizer(tokenizer).prompts(_texts(40))
    asked = [Completion(text, prompt, (".",), 12) for text, prompt in zip(_texts(40), prompts, strict=True)]
    return lm.score(pairs), [(each.text, each.tokens) for each in lm.generate(asked)]


def test_no_bit_depends_on_the_number_of_threads() -> None:
    """Scores and texts with three batches at a time are those with one, to the bit."""
    assert _asked(3) == _asked(1)


def test_two_batches_run_at_the_same_time() -> None:
    """Each of two batches waits inside for the other one."""
    both = threading.Barrier(2)

    def run(batch: int) -> int:
        both.wait(SECONDS)
        return 10 * batch

    with spare_threads(2):
        assert list(mapper(toy.model())(run, [1, 2])) == [10, 20]


def test_batches_are_made_as_they_are_needed() -> None:
    """Of many batches few are there at once: their prefixes would fill the memory."""
    made: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with spare_threads(2):
        found = mapper(toy.model())(lambda batch: batch, batches())
    assert next(found) == 0
    assert len(made) <= 5


def _hooked() -> PreTrainedModel:
    model = toy.model()
    model.get_submodule("model.layers.1.mlp").register_forward_hook(lambda *_: None)
    return model


class _Remembers(nn.Linear):
    """Somebody's own module, which may keep something between passes."""


def _patched() -> PreTrainedModel:
    model = toy.model()
    model.get_submodule("model.layers.1.mlp").down_proj = _Remembers(4, 4)
    return model


def _offloaded() -> PreTrainedModel:
    accelerate = pytest.importorskip("accelerate", reason="accelerate moves weights")
    model = toy.model()
    accelerate.cpu_offload(model.get_submodule("model.layers.1"))  # its weights are there in a pass only
    return model


def _dynamic() -> PreTrainedModel:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    config = AutoConfig.for_model("llama", **toy.COMMON, vocab_size=400, pad_token_id=1, rope_parameters=rope)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


@pytest.mark.parametrize("make", [_hooked, _patched, _offloaded, _dynamic])
def test_what_may_keep_something_runs_one_batch_after_another(make: Callable[[], PreTrainedModel]) -> None:
    """A hook, a module of nobody's library, weights that come for a pass, frequencies that follow the length."""
    with spare_threads(4):
        assert mapper(make()) is map
        assert mapper(toy.model()) is not map


def test_nan_is_refused_by_name_on_threads_too() -> None:
    """The error of one batch is the error of the benchmark."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    with torch.no_grad():
        model.get_parameter("model.layers.0.mlp.down_proj.weight")[0, 0] = float("nan")
    with spare_threads(3):
        lm = SharedPrefixBackend(model, tokenizer, "truthfulqa", max_tokens=8)
    with pytest.raises(NonFiniteModel, match="truthfulqa"):
        lm.score([((0, 5, n), (9,)) for n in range(20, 60)])


def test_progress_is_told_on_the_thread_that_asked() -> None:
    """Who listens need not be safe on threads, and hears of every prompt."""
    heard: list[tuple[int, threading.Thread]] = []
    with spare_threads(3):
        lm = SharedPrefixBackend(toy.model(), toy.tokenizer(bos=True), "toy", max_tokens=8)
    with listening(lambda _what, done, _total: heard.append((done, threading.current_thread()))):
        lm.score([((0, 5, n), (9,)) for n in range(20, 60)])
    assert heard[-1][0] == 40
    assert {thread for _, thread in heard} == {threading.current_thread()}


def test_a_small_model_leaves_its_threads_to_batches(tmp_path: Path) -> None:
    """Inside `single_threaded`, nested too, an operation has one thread, and as many batches run as it had threads."""
    base, before = tiny_runs.loaded(tmp_path), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with single_threaded(base), single_threaded(base):
            assert torch.get_num_threads() == 1
            assert mapper(base.model).args == (3,)  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert mapper(base.model) is map
