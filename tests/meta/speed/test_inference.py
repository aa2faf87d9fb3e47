"""How long the engine takes for a benchmark beside lm-eval's HFLM, in one run on one machine. Only read, not asserted.

    pytest tests/meta/speed -k inference

Each line is one benchmark of the shipped llama-mini, all prompts of `LIMIT` items, the best of `ROUNDS`. "drafted" is
the engine after N edits with MEMIT, with what the unedited model wrote as drafts; no engine takes less than "bare".
EDITGATE_REAL_MODEL=FILE.gguf adds a model that is asked `FEW` items of the same documents, and whose own texts are the
drafts.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from editgate.inference.backend import Backend
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inputs import edit_lists, models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.prepare import Prepared, prepare
from editgate.miniature.world.corpus import covariance_texts
from editors import create
from meta.speed.conftest import InferenceLine
from meta.speed.counting import bare
from meta.speed.rigs import TEXTS

LIMIT = 200  # items
ROUNDS = 2
HFLM_BATCH = 64
COUNTS = (1, 5, 20, 50)  # edits
REAL = os.environ.get("EDITGATE_REAL_MODEL", "")
FEW = 32  # items


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """The shipped miniature."""
    return models.load(models.find("llama-mini"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def edited(base: LoadedModel) -> dict[int, PreTrainedModel]:
    """The miniature after `COUNTS` edits with MEMIT, which ruins it in the end."""
    models_, model = dict[int, PreTrainedModel](), copy.deepcopy(base.model)
    editor = create("memit", model, base.tokenizer, defaults="llama-mini", corpus=covariance_texts()[:TEXTS])
    editor.prepare()
    for number, edit in enumerate(edit_lists.read(edit_lists.SHIPPED["counterfact"])[: max(COUNTS)], start=1):
        editor.apply(edit)
        if number in COUNTS:
            models_[number] = copy.deepcopy(editor.model)
    return models_


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, so that CPU seconds are seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Ran:
    """What a backend made of a benchmark's prompts.

    Attributes:
        seconds: of CPU, of the fastest round.
        values: log-likelihoods.
        answers: greedy flags, or texts.
        read: every prompt with its option or what was written, in tokens.
    """

    seconds: float
    values: list[float]
    answers: list[object]
    read: list[Sequence[int]]


def _run(prepared: Prepared, lm: Backend, rounds: int = ROUNDS) -> Ran:
    seconds, values, answers, read = [], list[float](), list[object](), list[Sequence[int]]()
    for _ in range(rounds):
        start = process_time()
        scores = lm.score(prepared.pairs) if prepared.pairs else []
        generations = lm.generate(prepared.completions) if prepared.completions else []
        seconds.append(process_time() - start)
        values = [value for value, _ in scores]
        answers = [*(greedy for _, greedy in scores), *(generation.text for generation in generations)]
        read = [(*context, *option) for context, option in prepared.pairs]
        read += [(*each.prompt, *text.tokens) for each, text in zip(prepared.completions, generations, strict=True)]
    return Ran(min(seconds), values, answers, read)


@pytest.mark.parametrize("row", ["mmlu", "commonsenseqa", "truthfulqa", "gsm8k", "bbh", "triviaqa"])
def test_inference(row: str, base: LoadedModel, report_inference: Callable[[InferenceLine], None]) -> None:
    """The engine gives HFLM's answers; how much sooner is for reading."""
    prepared = prepare(BENCHMARKS[row], base.source.documents, base.tokenizer, LIMIT)
    hflm = _run(prepared, HflmBackend(base.model, base.tokenizer, row, HFLM_BATCH))
    ours = _run(prepared, SharedPrefixBackend(base.model, base.tokenizer, row))
    report_inference(_line(row, base.model, hflm=hflm, engine=ours))
    assert ours.values == pytest.approx(hflm.values, abs=1e-3)
    assert ours.answers == hflm.answers


@pytest.mark.parametrize("row", ["gsm8k", "bbh", "triviaqa"])
def test_inference_with_drafts(
    row: str, base: LoadedModel, edited: dict[int, PreTrainedModel], report_inference: Callable[[InferenceLine], None]
) -> None:
    """What the unedited model wrote is the draft of what it writes after N edits; the answers are those without."""
    prepared = prepare(BENCHMARKS[row], base.source.documents, base.tokenizer, LIMIT)
    drafted = _drafted(prepared, SharedPrefixBackend(base.model, base.tokenizer, row))
    for count, model in edited.items():
        lm = SharedPrefixBackend(model, base.tokenizer, row)
        hflm = _run(prepared, HflmBackend(model, base.tokenizer, row, HFLM_BATCH))
        plain, ours = _run(prepared, lm), _run(drafted, lm)
        report_inference(_line(row, model, hflm=hflm, engine=plain, drafted=ours, edits=count))
        assert ours.answers == plain.answers
        assert _agreement(ours, hflm) >= 0.99


def _line(
    name: str, model: PreTrainedModel, *, hflm: Ran, engine: Ran, drafted: Ran | None = None, edits: int = 0
) -> InferenceLine:
    seconds = (hflm.seconds, engine.seconds, drafted.seconds if drafted else None, bare(model, engine.read))
    return InferenceLine(name, edits, len(engine.read), *seconds)


def _agreement(one: Ran, other: Ran) -> float:
    """The share of answers that are the same."""
    same = [left == right for left, right in zip(one.answers, other.answers, strict=True)]
    return sum(same) / len(same)


def _drafted(prepared: Prepared, unedited: Backend) -> Prepared:
    """The same completions, with what the unedited model writes as drafts."""
    written = unedited.generate(prepared.completions)
    drafts = zip(prepared.completions, written, strict=True)
    return replace(prepared, completions=[replace(each, draft=text.tokens) for each, text in drafts])


@pytest.fixture(scope="module")
def real() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and the tokenizer in the GGUF file."""
    file = Path(REAL)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval(), tokenizer


@pytest.mark.skipif(not REAL, reason="EDITGATE_REAL_MODEL names no GGUF file")
@pytest.mark.parametrize("row", ["bbh", "gsm8k", "triviaqa"])
def test_inference_of_a_real_model(
    row: str,
    base: LoadedModel,
    real: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    report_inference: Callable[[InferenceLine], None],
) -> None:
    """A model of many times the miniature's size writes the same with the engine, drafted or not, as with HFLM."""
    model, tokenizer = real
    prepared = prepare(BENCHMARKS[row], base.source.documents, tokenizer, FEW)
    lm = SharedPrefixBackend(model, tokenizer, row)
    hflm = _run(prepared, HflmBackend(model, tokenizer, row, HFLM_BATCH), rounds=1)
    plain, ours = _run(prepared, lm, rounds=1), _run(_drafted(prepared, lm), lm, rounds=1)
    report_inference(_line(f"{row}, {Path(REAL).stem}", model, hflm=hflm, engine=plain, drafted=ours))
    assert ours.answers == plain.answers
    assert _agreement(ours, hflm) >= 0.9
