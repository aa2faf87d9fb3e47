"""Prints how cost grows: with edits, with items, with the size of the model; and the exponent that fits each.

    PYTHONPATH=tests:. python -m meta.speed.growth edits items sizes

One thread. Seconds are CPU seconds and depend on the machine; tokens that go forward and bytes that are stored do not,
and `test_growth.py` holds those to what they should be. An exponent is the slope of log(cost) over log(amount), by
least squares: 1 means that twice as much costs twice as much.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from time import process_time

import torch
from scipy.stats import linregress
from transformers import LlamaConfig, LlamaForCausalLM

from editgate.cache.weight_differences import pack
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inputs import models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.measure.prepare import prepare
from editors import create
from meta.speed.counting import counting
from meta.speed.rigs import CONTEXTS, llama_mini

METHODS = ("rome", "memit", "alphaedit", "ftl", "grace", "wise", "ultraedit")
EDITS = (1, 10, 100, 1000)
ITEMS = (50, 100, 200, 400)
SHAPES = ((64, 4), (128, 6), (256, 8), (512, 12), (768, 16))  # hidden size, blocks: 0.5 to 154 million parameters
PROMPTS, LENGTH = 16, 64  # of random tokens, asked of each size
SEARCH = {"v_num_grad_steps": 5, "v_weight_decay": 0.5, "clamp_norm_factor": 4.0}


@dataclass(frozen=True)
class Point:
    """What an amount of something costs.

    Attributes:
        of: the method, the benchmark, or the kind of work.
        amount: edits, items, or parameters of the model.
        seconds: of CPU.
        tokens: that went forward through the whole model, padding included.
        stored: bytes of the checkpoint; 0 where there is none.
    """

    of: str
    amount: int
    seconds: float
    tokens: float
    stored: int = 0


def of_edits(method: str, counts: Sequence[int] = EDITS) -> Iterator[Point]:
    """Yield what the first N edits cost in all, for each N."""
    rig = llama_mini()
    base = {name: value.clone() for name, value in rig.model.named_parameters()}
    editor, seconds = rig.editor(method), 0.0
    assert editor is not None
    with counting(rig.model) as passes:
        for number, edit in enumerate(rig.edits[: max(counts)], start=1):
            began = process_time()
            editor.apply(edit)
            seconds += process_time() - began
            if number in counts:
                stored = sum(tensor.nbytes for tensor in pack(editor.state(), base).values())
                yield Point(method, number, seconds, passes.tokens, stored)


def of_items(benchmark: str, limits: Sequence[int] = ITEMS) -> Iterator[Point]:
    """Yield what it costs to ask a benchmark's first items."""
    base = models.load(models.find("llama-mini"), device="cpu", dtype="float32")
    for limit in limits:
        asked = prepare(BENCHMARKS[benchmark], base.source.documents, base.tokenizer, limit)
        lm = SharedPrefixBackend(base.model, base.tokenizer, benchmark)
        with counting(base.model) as passes:
            began = process_time()
            lm.score(asked.pairs) if asked.pairs else lm.generate(asked.completions)
            yield Point(benchmark, limit, process_time() - began, passes.tokens)


def of_sizes(shapes: Sequence[tuple[int, int]] = SHAPES) -> Iterator[Point]:
    """Yield what prompts and one edit of ROME cost on random Llamas of several sizes."""
    rig = llama_mini()
    vocabulary = len(rig.tokenizer)
    for width, blocks in shapes:
        config = LlamaConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=blocks, num_attention_heads=width // 32,
            vocab_size=vocabulary, tie_word_embeddings=True,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = LlamaForCausalLM(config).eval()
            ids = torch.randint(10, vocabulary, (PROMPTS, LENGTH))
        size = sum(weight.numel() for weight in model.parameters())
        with counting(model) as passes, torch.inference_mode():
            began = process_time()
            model(ids)
        yield Point("prompts", size, process_time() - began, passes.tokens)
        layer = blocks // 2
        moment = {f"model.layers.{layer}.mlp.down_proj": torch.eye(4 * width)}
        given = {"covariances": moment, "contexts": CONTEXTS, "corpus": rig.corpus}
        editor = create("rome", model, rig.tokenizer, **given, layers=[layer], **SEARCH)
        editor.prepare()
        base = {name: value.clone() for name, value in model.named_parameters()}
        with counting(model) as passes:
            began = process_time()
            editor.apply(rig.edits[0])
            seconds = process_time() - began
        stored = sum(tensor.nbytes for tensor in pack(editor.state(), base).values())
        yield Point("rome", size, seconds, passes.tokens, stored)


def exponents(points: Sequence[Point]) -> dict[str, float]:
    """Return the fitted exponent of each cost that is not 0; of seconds, tokens and bytes."""
    costs = {name: [float(getattr(point, name)) for point in points] for name in ("seconds", "tokens", "stored")}
    amounts = [log(point.amount) for point in points]
    return {
        name: float(linregress(amounts, [log(value) for value in values]).slope)
        for name, values in costs.items()
        if all(values)
    }


def _print(points: Sequence[Point]) -> None:
    for point in points:
        stored = f"{point.stored / 1e6:10.2f}" if point.stored else " " * 10
        print(f"{point.of:14} {point.amount:>11,} {point.seconds:>10.2f} {point.tokens:>12,.0f} {stored}", flush=True)
    found = ", ".join(f"{name} {value:.2f}" for name, value in exponents(points).items())
    print(f"{points[0].of:14} exponents: {found}")


def main() -> None:
    """Print a line for each amount, and one with the exponents."""
    kinds: dict[str, Callable[[], Iterator[Sequence[Point]]]] = {
        "edits": lambda: (list(of_edits(method, counts)) for method in given.editor or METHODS),
        "items": lambda: (list(of_items(name)) for name in BENCHMARKS),
        "sizes": lambda: _by_kind(list(of_sizes())),
    }
    parser = argparse.ArgumentParser(description="How cost grows.")
    parser.add_argument("kinds", choices=kinds, nargs="*")
    parser.add_argument("--editor", action="append", choices=METHODS)
    parser.add_argument("--edit-counts", default=",".join(map(str, EDITS)), help="Default: %(default)s")
    given = parser.parse_args()
    counts = [int(count) for count in given.edit_counts.split(",")]
    torch.set_num_threads(1)
    for kind in given.kinds or kinds:
        print(f"\n{kind:14} {'amount':>11} {'CPU s':>10} {'tokens':>12} {'MB stored':>10}")
        for points in kinds[kind]():
            _print(points)


def _by_kind(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    for kind in dict.fromkeys(point.of for point in points):
        yield [point for point in points if point.of == kind]


if __name__ == "__main__":
    main()
