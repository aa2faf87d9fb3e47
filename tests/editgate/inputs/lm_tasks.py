"""lm-eval's own tasks, built over a source's documents, with the source's number of few-shot examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from editgate.compat.lm_eval import templates_compiled_once
from editgate.errors import ConfigError, EvaluationError
from editgate.inputs import hub_errors
from editgate.inputs.benchmarks import Benchmark, Document
from editgate.inputs.documents import DocumentSource
from editgate.inputs.harness.index import REGISTERED

Judge = Callable[[Document, list[tuple[float, bool]]], dict[str, float]]
FEWSHOT_SEED = 1234  # lm-eval's own default for few-shot examples


def load(benchmark: Benchmark, source: DocumentSource, *, reserve: bool = False) -> dict[str, ConfigurableTask]:
    """Return the benchmark's lm-eval tasks by name, few-shot sampling seeded, generation length set.

    With `reserve` each has the documents that the source holds in reserve behind the others.

    Raises:
        ConfigError: the source holds no documents for it, or bad settings; or the hub cannot be reached.
        EvaluationError: a task gave no question at all.
    """
    with templates_compiled_once():
        places = [] if benchmark.added else [REGISTERED / benchmark.folder]  # added ones come as a whole
        registry = TaskManager(include_path=places, include_defaults=False)
        loaded = _loaded(benchmark, source, registry, reserve=reserve)
        tasks: dict[str, ConfigurableTask] = dict(sorted(loaded.items()))
    if not tasks:
        raise EvaluationError(f"{benchmark.name}: lm-eval built no task from {source}.")
    settings = source.settings(benchmark)
    for task in tasks.values():
        task.set_config("num_fewshot", settings.num_fewshot)  # as lm-eval's own --num_fewshot does
        task.set_fewshot_seed(FEWSHOT_SEED)
        if benchmark.kind == "generated":
            task.config.generation_kwargs["max_gen_toks"] = settings.max_new_tokens
        elif callable(task.config.process_results) and not benchmark.added:
            task.config.process_results = _without_underflow(task.config.process_results)
    return tasks


def _loaded(
    benchmark: Benchmark, source: DocumentSource, registry: TaskManager, *, reserve: bool
) -> dict[str, ConfigurableTask]:
    try:
        found: dict[str, ConfigurableTask] = registry.load(source.specs(benchmark, registry, reserve=reserve))["tasks"]
    except OSError as error:
        if not hub_errors.unreachable(error) and not benchmark.added:
            raise
        raise ConfigError(
            f"{benchmark.name}: {str(error).splitlines()[0]}. Run this once where there is a network, which keeps the "
            "data set on this machine; or give a local directory of documents: --documents DIR."
        ) from error
    except ConfigError:
        raise
    except Exception as error:  # what a task's own code, or its templates, make of documents that are not its own
        if not benchmark.added:
            raise
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{benchmark.name}: lm-eval cannot build it from {source} ({type(error).__name__}: {said})."
        ) from error
    return found


def _without_underflow(process: Judge) -> Judge:
    """Shift the log-likelihoods so that the best is 0 before lm-eval normalizes their exponentials (mc2).

    The normalized mass is the same; without the shift, options all below exp(-745) give 0/0.
    """

    def shifted(document: Document, results: list[tuple[float, bool]]) -> dict[str, float]:
        best = np.max([value for value, _ in results])
        return process(document, [(value - best, greedy) for value, greedy in results])

    return shifted
