"""From a benchmark to the model's forward pass a reader passes five functions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

import editgate
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.documents import LocalDocuments
from editgate.measure.evaluate import evaluate
from editgate.measure.prepare import prepare
from meta.support import toy

HOME = Path(editgate.__file__).parent


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("mmlu", ["evaluate", "SharedPrefixBackend.score", "Engine.score", "Engine._score_rows"]),
        ("gsm8k", ["evaluate", "SharedPrefixBackend.generate", "Engine.generate", "Engine._generate_rows"]),
    ],
)
def test_five_frames_from_evaluate_to_the_model(row: str, names: list[str], tmp_path: Path) -> None:
    """Scoring and generating: evaluate, the backend, the engine, its rows, the forward pass; to prefixes one more."""
    stacks: list[list[str]] = []

    def look(_module: nn.Module, _args: object) -> None:
        frame, stack = sys._getframe(), []
        while frame is not None and frame.f_back is not None:
            code = frame.f_code
            if Path(code.co_filename).is_relative_to(HOME):
                stack.append(code.co_qualname)
            frame = frame.f_back
        stacks.append([name for name in reversed(stack) if "<" not in name])

    model = toy.model()
    prepared = prepare(BENCHMARKS[row], LocalDocuments(toy.write_documents(tmp_path)), toy.tokenizer(bos=True))
    evaluate(prepared, model)  # the trial of this class of models is over
    model.base_model.register_forward_pre_hook(look)
    evaluate(prepared, model)
    assert [*names, "Engine._forward"] in stacks
    prefixes = [*names[:-1], "batches", "Engine._run_prefixes", "Engine._forward"]
    assert set(map(tuple, stacks)) <= {(*names, "Engine._forward"), tuple(prefixes)}
