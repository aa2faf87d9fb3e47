"""Prints the memory that a run takes on a large model, beside the weights: step by step, in a process of its own.

    PYTHONPATH=tests:. python -m meta.speed.peak_memory ftl rome
    PYTHONPATH=tests:. python -m meta.speed.peak_memory passes

The model is a random Llama of about 1 GB in float32 (14 blocks, width 1024, 32000 tokens), with the miniature's
tokenizer, documents and edits. Each line is the largest resident set of one step (VmHWM, reset before it), over that
before the model was loaded, in shares of the weights. Pages of the file that are mapped count as resident. All steps
are gone through once before on a model of 9 MB, so that what is imported on the way is not counted.
`passes` compares computing five covariances in one pass over a text with doing so in as many as a run would.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from editgate.cache.store import Store
from editgate.inputs import edit_lists, models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure import weight_changes
from editgate.measure.evaluate import evaluate
from editgate.measure.integrity import trajectory_rules
from editgate.measure.prepare import prepare
from editgate.measure.trajectory import Trajectory
from editors.models import covariance
from editors.models.architecture import Architecture

MB = 2**20
ITEMS = 50
TAUGHT = 64  # training edits, for methods that learn first
SEARCH = {"v_num_grad_steps": 2, "v_weight_decay": 0.5, "clamp_norm_factor": 4.0,
          "context_template_length_params": [[2, 1]]}  # fmt: skip
SPREAD = {"layers": [5, 6, 7, 8, 9], **SEARCH}
SETTINGS: dict[str, dict[str, Any]] = {
    "ftl": {"layers": [7], "num_steps": 2, "norm_constraint": 0.001},
    "rome": {"layers": [7], **SEARCH},
    "memit": {"mom2_update_weight": 20000.0, **SPREAD},
    "pmet": {"mom2_update_weight": 20000.0, **SPREAD},
    "emmet": {"mom2_update_weight": 20000.0, **SPREAD},
    "encore": {"mom2_update_weight": 20000.0, "update_norm_lambda": 10.0, **SPREAD},
    "alphaedit": {"nullspace_threshold": 1e-4, "L2": 10.0, **SPREAD},
    "simie": {"lamHyper": 10000.0, "layers": [7], **SEARCH},
    "grace": {"layer": 7, "matrix": "up", "eps": 3.0, "n_iter": 2},
    "ultraedit": {"lr": 0.004, "inner_params": ["model.layers.7.mlp.down_proj.weight"]},
    "locft": {"layer": 7, "lr": 0.001},
    "kn": {"steps": 20, "adaptive_threshold": 0.8, "lambda_1": 5.0, "lambda_2": 5.0},
    "mend": {"inner_params": [f"model.layers.{at}.mlp.{name}.weight" for at in (11, 12, 13)
                              for name in ("gate_proj", "up_proj", "down_proj")],
             "rank": 64, "accumulate_bs": 10, "max_iters": 2},
    "serac": {"encoder_layers": [0, 7], "scope_steps": 4, "scope_batch": 16, "counterfactual_steps": 2},
    "wise": {"layer": 7, "n_iter": 2, "save_freq": 1, "merge_freq": 2,
             "context_template_length_params": [[2, 1]]},
    "lora": {"num_steps": 2},
    "ike": {},
    "retrieval": {},
}  # fmt: skip


def main() -> None:
    """Make the model, and go through a run's steps."""
    parser = argparse.ArgumentParser(description="Peak memory of a run, step by step.")
    parser.add_argument("method", choices=[*SETTINGS, "all", "passes"], nargs="*", default="all")
    parser.add_argument("--blocks", type=int, default=14)
    parser.add_argument("--rules", action="store_true", help="check two rules of integrity too, which takes longest")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        small, folder = Path(place) / "small-llama", Path(place) / "random-llama"
        _make(folder, given.blocks, width=1024)
        if "passes" in given.method:
            compare_passes(folder)
            return
        methods = [*SETTINGS] if "all" in given.method else given.method
        _make(small, given.blocks, width=32)
        with redirect_stdout(StringIO()):
            measure(Path(place) / "small", small, methods, rules=given.rules)
        measure(Path(place) / "large", folder, methods, rules=given.rules)


def measure(place: Path, folder: Path, methods: Sequence[str], *, rules: bool) -> None:
    """Print a line a step."""
    place.mkdir()
    begun = _resident()
    text = place / "text.txt"
    text.write_text(f"{'The river runs to the sea, and the ferry left in the rain. ' * 16}\n" * 8, encoding="utf-8")
    found = models.find(str(folder), documents=models.SHIPPED.folder, covariance_text=text)
    taught = models.find("llama-mini").training()[:TAUGHT]
    source = replace(found, training=lambda: taught)
    with _step("loading", begun, 0) as whole:
        base = models.load(source, device="cpu", dtype="float32")
        whole.append(sum(each.nbytes for each in base.model.parameters()))
    size = whole[0]
    row = BENCHMARKS["toxigen"]
    asked = prepare(row, source.documents_of(row), base.tokenizer, ITEMS)
    with _step(f"baseline, {ITEMS} items", begun, size):
        evaluate(asked, base.model)
    edits = [replace(edit, rephrases=(), neighbors=()) for edit in edit_lists.read(edit_lists.SHIPPED["counterfact"])]
    for method in methods:
        spec = EditorSpec(method, method, settings=SETTINGS[method])
        run = Trajectory(spec, base, edits[:4], (1, 2), Store(place / "store"))
        with _step(f"{method}: 2 edits, checkpoints", begun, size):
            run.model_at(2)
        with _step(f"{method}: edited model, {ITEMS} items", begun, size):
            evaluate(asked, run.model_at(2))
        with _step(f"{method}: growth of weights", begun, size):
            run.norm_ratio(2)
            weight_changes.assert_finite(run.model_at(2))
        for rule in ("only_declared_tensors_change", "undo_gives_back_the_base") if rules else ():
            with _step(f"{method}: {rule}", begun, size):
                trajectory_rules.RULES[rule](run)
        del run
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"weights {size / MB:.0f} MB, before them {begun / MB:.0f} MB, largest resident set {peak / MB:.0f} MB")


def compare_passes(folder: Path) -> None:
    """Print memory and processor time of five covariances, by room for their sums, over one full batch of text."""
    begun = _resident()
    base = models.load(models.find(str(folder)), device="cpu", dtype="float32")
    size, architecture = sum(each.nbytes for each in base.model.parameters()), Architecture(base.model)
    matrices = [architecture.down(layer) for layer in SETTINGS["memit"]["layers"]]
    texts = ["The river runs to the sea, and the ferry left in the rain. " * 16] * 16
    took = {}
    for share in (1, covariance.SHARE):
        covariance.SHARE = share
        told = covariance.cost(architecture, base.tokenizer, texts, matrices)
        with _step(f"{told.matrices} covariances, {told.tokens} tokens, passes: {told.passes}", begun, size):
            started = time.process_time()
            covariance.compute_covariances(architecture, base.tokenizer, texts, matrices, keep=lambda *_: None)
            took[told.passes] = time.process_time() - started
    (one, several), (few, many) = took.values(), took
    print(f"{many} passes take {several / one:.1f} times as long as {few}: {several:.0f} s and {one:.0f} s")


@contextmanager
def _step(name: str, begun: int, size: int) -> Iterator[list[int]]:
    """Print the largest resident set inside the block, and what is left after it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    known = [size] * bool(size)
    yield known
    gc.collect()
    peak, left = _resident("VmHWM"), _resident()
    print(
        f"{name:<42} {(peak - begun) / known[0]:5.2f} M at most, {(left - begun) / known[0]:5.2f} M after it",
        flush=True,
    )


def _resident(field: str = "VmRSS") -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _make(folder: Path, blocks: int, *, width: int) -> None:
    """Write a model in a process of its own, whose memory goes with it."""
    import multiprocessing  # noqa: PLC0415 - only here

    worker = multiprocessing.get_context("spawn").Process(target=_write, args=(folder, blocks, width))
    worker.start()
    worker.join()
    assert worker.exitcode == 0


def _write(folder: Path, blocks: int, width: int) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000, hidden_size=width, intermediate_size=width * 11 // 4, num_hidden_layers=blocks,
        num_attention_heads=16, max_position_embeddings=512, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    models.load(models.find("llama-mini"), device="cpu", dtype="float32").tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
