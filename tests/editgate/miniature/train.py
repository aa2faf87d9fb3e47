"""Trains a miniature from scratch: `python -m editgate.miniature.train llama-mini`.

Two stages: the curriculum, then some hundred steps that also widen the keys (`training.spread`).
Deterministic given the seed (on one kind of processor), resumable (it continues from the last checkpoint in
`--work`), with a progress bar and held-out scores on the way. The result is a Hugging Face directory with 16-bit
weights and a manifest under `tests/editgate/miniature/weights/`.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import PreTrainedModel

from editgate.miniature.manifest import publish
from editgate.miniature.recipes import FAMILY, WEIGHTS, Recipe
from editgate.miniature.training import progress
from editgate.miniature.training.architectures import begin_from, build_model
from editgate.miniature.training.muon import Muon
from editgate.miniature.training.spread import keys_of, penalty, redraw_dormant
from editgate.miniature.training.tokens import Row, encode, train_tokenizer
from editgate.miniature.world import corpus
from editgate.miniature.world.chat import mix_of
from editors.models.architecture import Architecture

SAVE_EVERY, SCORE_EVERY = 100, 200


def optimizers(model: PreTrainedModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden matrices and AdamW for embeddings and norms."""
    blocks = Architecture(model).family.blocks
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith(blocks)]
    other = [p for n, p in model.named_parameters() if p.ndim != 2 or not n.startswith(blocks)]
    muon = Muon(hidden, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, precision=recipe.muon_precision)
    adam = torch.optim.AdamW(other, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adam]


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the factor on the learning rates: in each stage linear warm-up, flat, then linearly down over 45 %."""
    if step >= recipe.steps:
        return recipe.spread_rate * _ramp(step - recipe.steps, recipe.spread_steps, recipe.warmup)
    return _ramp(step, recipe.steps, recipe.warmup)


def _ramp(step: int, steps: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup, (steps - step) / (0.45 * steps))


class Batches:
    """The corpus as packed rows: documents side by side, each seeing only itself."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, start: int) -> None:
        self.recipe, self.tokenizer, self.step = recipe, tokenizer, start
        rng = random.Random(f"{recipe.seed}|{start // SAVE_EVERY}")
        self._rows = self._encoded(rng)
        self._next = next(self._rows)

    def _encoded(self, rng: random.Random) -> Iterator[Row]:
        held: list[Row] = []

        def measure(text: corpus.Text) -> int:
            held.append(encode(self.tokenizer, text))
            return len(held[-1].ids)

        for _ in corpus.stream(rng, measure, self._done, mix_of(self.recipe)):
            yield held.pop()

    def _done(self) -> float:
        """How far into the curriculum the next document is."""
        begins = self.recipe.begins_at
        return min(1.0, begins + (1 - begins) * self.step / self.recipe.steps)

    def __next__(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return token ids, labels (-100 where nothing is learned) and document numbers, each [rows, row_tokens]."""
        ids, labels, numbers = (
            torch.full((self.recipe.rows_per_step, self.recipe.row_tokens), fill) for fill in (0, -100, -1)
        )
        for row in range(self.recipe.rows_per_step):
            used, number = 0, 0
            while used + len(self._next.ids) <= self.recipe.row_tokens:
                here = slice(used, used + len(self._next.ids))
                ids[row, here] = torch.tensor(self._next.ids)
                kept = torch.tensor(self._next.learn)
                labels[row, here] = torch.where(kept, ids[row, here], -100)
                numbers[row, here] = number
                used, number = here.stop, number + 1
                self._next = next(self._rows)
        self.step += 1
        return ids, labels, numbers


def loss_of(model: PreTrainedModel, batch: tuple[Tensor, Tensor, Tensor], precision: str) -> Tensor:
    """Return the mean loss over learned tokens; logits are computed for those alone."""
    ids, labels, numbers = batch
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    visible = (numbers[:, :, None] == numbers[:, None, :]) & causal
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    first = torch.zeros_like(ids)
    first[:, 1:] = torch.where(numbers[:, 1:] != numbers[:, :-1], positions[:, 1:], 0)
    positions = positions - first.cummax(1).values
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        hidden = model.base_model(ids, attention_mask=visible[:, None], position_ids=positions, use_cache=False)[0]
        wanted = labels[:, 1:] != -100
        logits = model.get_output_embeddings()(hidden[:, :-1][wanted])
    return cross_entropy(logits.float(), labels[:, 1:][wanted])


def train(
    recipe: Recipe, name: str, work: Path, *, threads: int, weights: Path = WEIGHTS, second_stage_of: Path | None = None
) -> None:
    """Train a miniature, checkpointing in `work`, and publish it below `weights`.

    Args:
        recipe: what is done.
        name: of the miniature.
        work: where checkpoints are kept.
        threads: torch's.
        weights: where the result goes.
        second_stage_of: where a model of this name lies that has the first stage behind it; None: begin with that.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    # A twentieth of the time, and nothing here reads such memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    first_stage = second_stage_of / name if second_stage_of else None
    parent = WEIGHTS / recipe.begins_from if recipe.begins_from else None
    tokenizer = tokenizer_of(recipe, folder, first_stage or parent)
    model = build_model(recipe, tokenizer)
    if begins := first_stage or parent:
        begin_from(model, begins)
    optims = optimizers(model, recipe)
    start = _resume(folder, model, optims) or (recipe.steps if first_stage else 0)
    end = recipe.steps + recipe.spread_steps
    batches = Batches(recipe, tokenizer, start)
    for step in (bar := tqdm(range(start, end), initial=start, total=end, desc=name, mininterval=5)):
        if step % SAVE_EVERY == 0 and step > start:
            _save(folder, step, model, optims)
            batches = Batches(recipe, tokenizer, step)
        if step == recipe.steps:
            tqdm.write(f"{_redraw(model, recipe, next(batches))} dormant units are drawn anew")
        loss = _update(model, optims, recipe, step, next(batches))
        bar.set_postfix(loss=f"{loss:.3f}")
        if (step + 1) % SCORE_EVERY == 0:
            tqdm.write(f"{step + 1}: {progress.report(model, tokenizer)}")
    publish(name, recipe, model, tokenizer, weights / name)


def _update(
    model: PreTrainedModel,
    optims: list[torch.optim.Optimizer],
    recipe: Recipe,
    step: int,
    batch: tuple[Tensor, Tensor, Tensor],
) -> float:
    model.train()
    base_rates = (recipe.muon_lr, recipe.adam_lr)
    for optimizer, rate in zip(optims, base_rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate * learning_rate(step, recipe)
    if step < recipe.steps:
        loss = whole = loss_of(model, batch, recipe.precision)
    else:
        with keys_of(model) as keys:
            loss = loss_of(model, batch, recipe.precision)
            whole = loss + recipe.spread * penalty(keys, read=batch[2] >= 0)
    whole.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optims:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _redraw(model: PreTrainedModel, recipe: Recipe, batch: tuple[Tensor, Tensor, Tensor]) -> int:
    with torch.no_grad(), keys_of(model) as keys:
        loss_of(model, batch, recipe.precision)
    return redraw_dormant(model, keys, batch[2] >= 0, torch.Generator().manual_seed(recipe.seed))


def tokenizer_of(recipe: Recipe, folder: Path, begins: Path | None) -> Tokenizer:
    """Return the tokenizer of the weights that it begins from, or one that is trained once."""
    if begins:
        return Tokenizer.from_file(str(begins / "tokenizer.json"))
    file = folder / "tokenizer.json"
    if not file.exists():
        train_tokenizer(recipe.vocab_size, recipe.seed).save(str(file))
    return Tokenizer.from_file(str(file))


def _save(folder: Path, step: int, model: PreTrainedModel, optims: list[torch.optim.Optimizer]) -> None:
    """Write the checkpoint under a temporary name first, so that a killed run never leaves half of one."""
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    for number, optimizer in enumerate(optims):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optim.{number}.{index}.{key}": value.clone() for key, value in state.items()}
    temporary = folder / "checkpoint.tmp"
    save_file(tensors, temporary, metadata={"step": str(step)})
    temporary.replace(folder / "checkpoint.safetensors")
    (folder / "step").write_text(str(step), encoding="utf-8")


def _resume(folder: Path, model: PreTrainedModel, optims: list[torch.optim.Optimizer]) -> int:
    file = folder / "checkpoint.safetensors"
    if not file.exists():
        return 0
    tensors = load_file(file)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for number, optimizer in enumerate(optims):
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optim.{number}."):
                _, _, index, field = key.split(".", 3)
                state.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int((folder / "step").read_text(encoding="utf-8"))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train a miniature from scratch.")
    parser.add_argument("name", choices=sorted(FAMILY))
    parser.add_argument(
        "--work", type=Path, default=Path(".editgate/training"), help="checkpoints; Default: %(default)s"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the result goes; Default: %(default)s")
    parser.add_argument(
        "--second-stage-of", type=Path, metavar="WEIGHTS", help="take the first stage from the model published there"
    )
    parser.add_argument("--spread", type=float, help="another weight of the penalty on narrow keys than the recipe's")
    options = parser.parse_args()
    recipe = FAMILY[options.name]
    if options.spread is not None:
        recipe = replace(recipe, spread=options.spread)
    print(asdict(recipe))
    places = {"weights": options.weights, "second_stage_of": options.second_stage_of}
    train(recipe, options.name, options.work, threads=options.threads, **places)


if __name__ == "__main__":
    main()
