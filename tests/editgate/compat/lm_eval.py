"""What editgate uses of lm-eval's private parts, all as in 0.4.13.

- `lm_eval.utils.env` and `lm_eval.api.task.tqdm`: patched while tasks are built. Without them the same prompts are
  built more slowly, or with progress bars. The miniature's training renders its prompts with the same `env`.
- `ConfigurableTask._filters`: the list of a task's filters. There is no public way to run one of them.
- `lm_eval.tasks._yaml_loader.load_yaml`: reads a task's file with lm-eval's own `!function` and `include`.
- `lm_eval.config.group.GroupConfig`: its fields are the keys of a group's file that are no overrides of its tasks.
- `lm_eval.models.utils`: how HFLM finds the context's length, and ends and cuts a generation.
- `HFLM._loglikelihood_tokens` and `HFLM._model_call`: scoring of tokens, and the one forward pass that it is made of.
- `HFLM.__init__` calls `model.tie_weights()`, which would put the embedding in the place of an edited, untied head.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import lm_eval.api.task
import lm_eval.utils
import torch
from jinja2 import Template
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn

from editgate.compat import require
from editgate.errors import IncompatibleLibrary, NonFiniteModel

UTILS = "lm_eval.models.utils"


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, lm-eval's loggers report errors only; what they say otherwise is about our overrides."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def templates_compiled_once() -> Iterator[None]:
    """Inside, lm-eval is quiet, shows no progress bars, and compiles each template once.

    It otherwise compiles it again for each document and each shot, which is most of the time that building requests
    takes. The prompts are the same, character by character. Where a release has no `env` or no `tqdm` at these places,
    that part is left out.
    """
    changed: list[tuple[Any, str, Any]] = []
    environment: Any = getattr(lm_eval.utils, "env", None)
    if hasattr(environment, "from_string"):
        changed.append((environment, "from_string", lru_cache(maxsize=None)(environment.from_string)))
    if hasattr(lm_eval.api.task, "tqdm"):
        changed.append((lm_eval.api.task, "tqdm", lambda rows, **_: rows))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changed]
    for owner, name, value in changed:
        setattr(owner, name, value)
    try:
        with quiet():
            yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def apply_filter(task: ConfigurableTask, name: str, instances: list[Instance]) -> None:
    """Run the task's filter of that name over the responses; `task.apply_filters` would run them all.

    Raises:
        IncompatibleLibrary: the task has no list of filters.
    """
    filters: list[Any] | None = getattr(task, "_filters", None)
    if filters is None:
        raise IncompatibleLibrary(
            f"lm-eval's {type(task).__name__} has no _filters; editgate needs them to read one filter's answers. "
            "Install the releases of requirements.lock, or a newer editgate."
        )
    for ensemble in filters:
        if ensemble.name == name:
            ensemble.apply(instances)


def compile_template(text: str) -> Template:
    """Return a prompt's Jinja template with lm-eval's own settings and filters.

    Raises:
        IncompatibleLibrary: lm-eval has no such environment.
    """
    template: Template = require("lm_eval.utils.env", "write prompts as lm-eval does").from_string(text)
    return template


def load_task_file(path: Path, *, functions: bool) -> dict[str, Any]:
    """Return an lm-eval task's YAML; with `functions`, what follows `!function` is imported.

    Raises:
        IncompatibleLibrary: lm-eval has no such loader.
    """
    load = require("lm_eval.tasks._yaml_loader.load_yaml", "read a task's few-shot examples")
    content: dict[str, Any] = load(path, resolve_func=functions)
    return content


def group_fields() -> frozenset[str]:
    """Return the keys of a group's file that are about the group; all others override what its tasks say.

    Raises:
        IncompatibleLibrary: lm-eval has no such class.
    """
    config = require("lm_eval.config.group.GroupConfig", "tell a group's own settings from those of its tasks")
    return frozenset(each.name for each in fields(config))


def max_length(config: object, tokenizer: object) -> int:
    """Return the model's context in tokens, as HFLM finds it.

    Raises:
        IncompatibleLibrary: lm-eval has no such function.
    """
    resolve = require(f"{UTILS}.resolve_max_length", "know how long a prompt may be")
    return int(resolve(config, tokenizer))


def stop_sequences(until: Sequence[str], end_of_text: str) -> list[str]:
    """Return the strings that end a generation, as HFLM adds to them.

    Raises:
        IncompatibleLibrary: lm-eval has no such function.
    """
    handle = require(f"{UTILS}.handle_stop_sequences", "stop generations where HFLM stops them")
    return list(handle(list(until), end_of_text))


def cut_generation(text: str, stops: Sequence[str]) -> str:
    """Return the text before its first stop string, as HFLM cuts it.

    Raises:
        IncompatibleLibrary: lm-eval has no such function.
    """
    cut = require(f"{UTILS}.postprocess_generated_text", "cut generations where HFLM cuts them")
    return str(cut(text, list(stops), None))


class CheckedHFLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """HFLM with float32 log-probabilities that refuses NaN instead of scoring it, and ties no weights.

    Args:
        model: anything with config, device, forward and generate.
        tokenizer: its transformers tokenizer; HFLM may add a padding token, so it gets a copy.
        name: what error messages call the work at hand.
        batch_size: rows of one forward pass.

    Raises:
        IncompatibleLibrary: HFLM scores or runs its model by other methods than these, so nothing would be checked.
    """

    def __init__(self, model: object, tokenizer: object, name: str, batch_size: int) -> None:
        for method in ("_model_call", "_loglikelihood_tokens"):
            require(f"lm_eval.models.huggingface.HFLM.{method}", "refuse NaN logits instead of scoring them")
        self.name = name
        with quiet(), _weights_not_tied(model):
            super().__init__(
                pretrained=model,
                tokenizer=copy.deepcopy(tokenizer),
                backend="causal",
                batch_size=batch_size,
                softmax_dtype="float32",
            )

    def _model_call(self, inps: Tensor, *args: object, **kwargs: object) -> Tensor:
        logits: Tensor = super()._model_call(inps, *args, **kwargs)
        if not bool(logits.isfinite().all()):
            raise NonFiniteModel(f"{self.name}: the model's logits are NaN or infinite; no score means anything.")
        return logits

    def check_logits(self, tokens: Sequence[int]) -> None:
        """Run the model on one text, for the check alone: HFLM generates without `_model_call`.

        Raises:
            NonFiniteModel: a logit is NaN or infinite.
        """
        self._model_call(torch.tensor([tokens], device=self.device))

    def score_tokens(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation after its context, and whether greedy decoding writes it."""
        requests = [(("", ""), list(context), list(continuation)) for context, continuation in pairs]
        scores: list[tuple[float, bool]] = self._loglikelihood_tokens(requests, disable_tqdm=True)
        return scores


@contextmanager
def _weights_not_tied(model: object) -> Iterator[None]:
    """Inside, `model.tie_weights()` does nothing."""
    if not isinstance(model, nn.Module):
        yield
        return
    before = vars(model).get("tie_weights")
    vars(model)["tie_weights"] = lambda *_, **__: None
    try:
        yield
    finally:
        del vars(model)["tie_weights"]
        if before is not None:
            vars(model)["tie_weights"] = before
