"""How long the engine takes for a benchmark beside lm-eval's HFLM, in one run on one machine. Only read, not asserted.

    pytest tests/meta/speed -k inference

Each line is one benchmark of the shipped llama-mini, all prompts of `LIMIT` items, the best of `ROUNDS`. "dynamic
cache" is the engine with transformers' own cache layer instead of `PreallocatedCacheLayer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import process_time

import pytest
import torch
from torch import Tensor

from editgate.compat.transformers import DynamicLayer
from editgate.inference import engine
from editgate.inference.backend import Backend
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inputs import models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.models import LoadedModel
from editgate.measure.prepare import Prepared, prepare
from meta.speed.conftest import InferenceLine

LIMIT = 100  # items
ROUNDS = 2


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """The shipped miniature."""
    return models.load(models.find("llama-mini"), device="cpu", dtype="float32")


class ConcatenatingCacheLayer(DynamicLayer):
    """transformers' own layer, which copies all keys and values at every step, with what the engine calls."""

    def __init__(self, _capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as transformers leaves it

    @property
    def used(self) -> int:
        """Tokens that are there."""
        return int(self.get_seq_length())

    def repeated(self, rows: int, _more: int) -> ConcatenatingCacheLayer:
        """See `PreallocatedCacheLayer`."""
        layer = ConcatenatingCacheLayer(0)
        assert self.keys is not None
        assert self.values is not None
        layer.update(self.keys.expand(rows, -1, -1, -1), self.values.expand(rows, -1, -1, -1))
        return layer

    def select_rows(self, rows: Tensor) -> None:
        """See `PreallocatedCacheLayer`."""
        self.batch_select_indices(rows)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, so that CPU seconds are seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _run(prepared: Prepared, lm: Backend) -> tuple[float, list[float], list[object]]:
    """CPU seconds of the fastest round, log-likelihoods, and greedy flags or texts."""
    seconds, values, answers = [], list[float](), list[object]()
    for _ in range(ROUNDS):
        start = process_time()
        scores = lm.score(prepared.pairs) if prepared.pairs else []
        generations = lm.generate(prepared.completions) if prepared.completions else []
        seconds.append(process_time() - start)
        values = [value for value, _ in scores]
        answers = [*(greedy for _, greedy in scores), *(generation.text for generation in generations)]
    return min(seconds), values, answers


@pytest.mark.parametrize("row", ["mmlu", "commonsenseqa", "truthfulqa", "gsm8k", "bbh", "triviaqa"])
def test_inference(
    row: str, base: LoadedModel, report_inference: Callable[[InferenceLine], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine gives HFLM's answers; how much sooner is for reading."""
    prepared = prepare(BENCHMARKS[row], base.source.documents, base.tokenizer, LIMIT)
    slow, values, answers = _run(prepared, HflmBackend(base.model, base.tokenizer, row))
    fast, *found = _run(prepared, SharedPrefixBackend(base.model, base.tokenizer, row))
    monkeypatch.setattr(engine, "PreallocatedCacheLayer", ConcatenatingCacheLayer)
    copying, *again = _run(prepared, SharedPrefixBackend(base.model, base.tokenizer, row))
    report_inference(InferenceLine(row, len(prepared.pairs or prepared.completions), slow, fast, copying))
    assert found == again == [pytest.approx(values, abs=1e-3), answers]
