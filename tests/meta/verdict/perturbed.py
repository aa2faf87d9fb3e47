"""Asks a shipped model after tiny random changes of its weights, over many seeds: what nobody would call damage.

    python -m meta.verdict.perturbed            (with tests/ on the path; half an hour to an hour)

Each weight is multiplied by 1 + size · N(0, 1). Rounding to bfloat16 multiplies it by at most 1 ± 2⁻⁸, with a standard
deviation of about 0.001. Which items are lost and gained goes into `perturbed.json`, from which
`test_false_reds.py` simulates whole gates.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import nn

from editgate.inference.select_backend import backend
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.answered import Known
from editgate.measure.evaluate import evaluate
from editgate.measure.items import Evaluation, Item, pair
from editgate.measure.prepare import Prepared, prepare
from editgate.measure.session import EvaluationSession
from editgate.measure.threads import single_threaded
from editgate.miniature.world.facts import facts
from editgate.options.options import Options
from editgate.options.settings import read
from editgate.verdict import statistics

FILE = Path(__file__).with_name("perturbed.json")
SIZES = (0.001, 0.01, 0.03)


@dataclass(frozen=True)
class Perturbed:
    """One benchmark after one change.

    Attributes:
        size: of the change.
        seed: of it.
        lost: numbers of the items that scored worse.
        gained: numbers of those that scored better.
        drop: of the mean score.
        lower: one-sided 95 % bound of the drop from below.
        upper: from above.
    """

    size: float
    seed: int
    lost: tuple[int, ...]
    gained: tuple[int, ...]
    drop: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Asked:
    """One benchmark of the unedited model, and after each change.

    Attributes:
        chance: what guessing scores.
        area: capability or safety.
        scores: of the unedited model, by item.
        subjects: a number per item, the same for items about the same subject; alone where none is known.
        after: each change.
    """

    chance: float
    area: str
    scores: tuple[float, ...]
    subjects: tuple[int, ...]
    after: tuple[Perturbed, ...]


RECORD = TypeAdapter(dict[str, Asked])


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(prog="python -m meta.verdict.perturbed", description=__doc__)
    parser.add_argument("--seeds", type=int, default=13)
    parser.add_argument("--model", default="llama-mini")
    parser.add_argument("--store", type=Path, default=Path(".editgate"))
    given = parser.parse_args()
    chosen = read(Options.of({"model": given.model, "store": given.store}), given.store)
    session = EvaluationSession(chosen, lambda text: print(text, file=sys.stderr))
    source = next(model for model in chosen.models if model.name in chosen.chosen_models)
    base = session.model(source)
    prepared = {name: prepare(row, source.documents_of(row), base.tokenizer) for name, row in BENCHMARKS.items()}
    unedited = {name: session.baseline(source, name) for name in BENCHMARKS}
    drafts = {name: _drafts(base, each) for name, each in prepared.items()}
    found: dict[str, list[Perturbed]] = {name: [] for name in BENCHMARKS}
    for seed in range(given.seeds):
        for size in SIZES:
            known: Known = {}
            with perturbed(base.model, size, seed), single_threaded(base):
                for name, each in prepared.items():
                    after = evaluate(each, base.model, known=known, drafts=drafts[name])
                    found[name].append(_changed(unedited[name], after, size, seed))
        print(f"seed {seed} of {given.seeds}", file=sys.stderr)
        FILE.write_text(_text(prepared, unedited, found), encoding="utf-8")


@contextmanager
def perturbed(model: nn.Module, size: float, seed: int) -> Iterator[None]:
    """Multiply every weight by 1 + size · N(0, 1) inside the block; afterwards they are what they were, bit by bit."""
    source = torch.Generator().manual_seed(seed)
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + size * torch.randn(parameter.shape, generator=source))
    yield
    with torch.no_grad():
        for parameter, before in zip(model.parameters(), kept, strict=True):
            parameter.copy_(before)


def _drafts(base: UneditedModel, prepared: Prepared) -> list[tuple[int, ...]]:
    """What the unedited model writes: with it the changed one is asked faster, and answers the same."""
    if not prepared.completions:
        return []
    lm = backend(base.model, prepared.tokenizer, prepared.benchmark.name)
    return [tuple(each.tokens) for each in lm.generate(prepared.completions)]


def _changed(before: Evaluation, after: Evaluation, size: float, seed: int) -> Perturbed:
    pairs = pair(before, after)
    bounds = statistics.bound_drop([b.score for b, _ in pairs], [a.score for _, a in pairs])
    lost = tuple(i for i, (b, a) in enumerate(pairs) if a.score < b.score and _binary(before))
    gained = tuple(i for i, (b, a) in enumerate(pairs) if a.score > b.score and _binary(before))
    return Perturbed(size, seed, lost, gained, *(round(x, 6) for x in (bounds.drop, bounds.lower, bounds.upper)))


def _binary(evaluation: Evaluation) -> bool:
    return all(item.score in {0, 1} for item in evaluation.items)


def _text(
    prepared: Mapping[str, Prepared], unedited: Mapping[str, Evaluation], found: Mapping[str, list[Perturbed]]
) -> str:
    names = sorted({fact.subject for fact in facts()}, key=lambda name: (-len(name), name))
    record = {
        name: asdict(
            Asked(
                chance=prepared[name].chance,
                area=BENCHMARKS[name].area,
                scores=tuple(round(item.score, 4) for item in unedited[name].items),
                subjects=_subjects(unedited[name].items, names),
                after=tuple(after),
            )
        )
        for name, after in found.items()
    }
    return json.dumps(record).replace("}, {", "},\n{") + "\n"  # a line for each change


def _subjects(items: Sequence[Item], names: Sequence[str]) -> tuple[int, ...]:
    """Number items by the longest subject of the miniature's facts that their question names."""
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, names)) + r")\b")
    numbers: dict[str, int] = {}
    for index, item in enumerate(items):
        named = max(pattern.findall(item.question), key=len, default=f"item {index}")
        numbers.setdefault(named, len(numbers))
    return tuple(
        numbers[max(pattern.findall(item.question), key=len, default=f"item {index}")]
        for index, item in enumerate(items)
    )


if __name__ == "__main__":
    main()
