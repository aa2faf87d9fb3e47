"""Keeps lm-eval from talking, and from compiling the same template thousands of times."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import lm_eval.api.task
import lm_eval.utils


@contextmanager
def lm_eval_quiet() -> Iterator[None]:
    """Inside, lm-eval's loggers report errors only; what they say otherwise is about our overrides."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def lm_eval_quick() -> Iterator[None]:
    """Inside, lm-eval is quiet, shows no progress bars, and compiles each template once.

    It otherwise compiles it again for each document and each shot, which is most of the time that building
    requests takes. The prompts are the same, character by character.
    """
    environment, progress = lm_eval.utils.env, lm_eval.api.task.tqdm
    before = environment.from_string
    environment.from_string = lru_cache(maxsize=None)(before)
    lm_eval.api.task.tqdm = lambda rows, **_: rows
    try:
        with lm_eval_quiet():
            yield
    finally:
        environment.from_string = before
        lm_eval.api.task.tqdm = progress
