"""What lm-eval is to build of a benchmark that is not in the table: its tasks in full, judged by one metric."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import EXAMPLES, Benchmark, Leaf

if TYPE_CHECKING:
    from editgate.inputs.task_overrides import Spec

TEMPLATES = ("doc_to_text", "doc_to_target", "doc_to_choice")
LOCAL = frozenset({"json", "csv", "parquet", "text", "arrow"})  # builders of `datasets` that read files
OPTIONAL = " is defined"  # in a template: a field that it names may be missing


def as_defined(benchmark: Benchmark) -> list[Spec | str]:
    """Return the tasks with the data sets that they name."""
    return [_judged(benchmark, leaf) for leaf in benchmark.leaves]


def over_files(benchmark: Benchmark, subtask: str, files: Mapping[str, Path]) -> Spec:
    """Return one task over documents on disk, by split.

    Raises:
        ConfigError: the benchmark has no task that is called like this folder.
    """
    from editgate.inputs.task_overrides import in_memory  # noqa: PLC0415 - it reads files, whose reader needs `fields`

    leaf = leaf_of(benchmark, subtask)
    own = leaf.config.get("fewshot_split")
    examples = next((split for split in (own, *EXAMPLES) if split in files), None)
    spec = {**_judged(benchmark, leaf), "dataset_name": None, **in_memory(benchmark, files), "fewshot_split": examples}
    configured = leaf.config.get("fewshot_config")
    spec["fewshot_config"] = {**configured, "split": examples} if isinstance(configured, dict) else None
    return spec


def leaf_of(benchmark: Benchmark, subtask: str) -> Leaf:
    """Return the task of a subfolder; that of the benchmark where it has no subfolders.

    Raises:
        ConfigError: there is none.
    """
    if not subtask:
        return benchmark.leaves[0]
    found = next((leaf for leaf in benchmark.leaves if leaf.task == subtask), None)
    if found is None:
        names = ", ".join(leaf.task for leaf in benchmark.leaves)
        raise ConfigError(f"{benchmark.name}: a folder of documents is called {subtask!r}. Allowed: {names}.")
    return found


def brings_examples(benchmark: Benchmark, subtask: str) -> bool:
    """Return whether a task's own configuration contains its few-shot examples."""
    configured = leaf_of(benchmark, subtask).config.get("fewshot_config")
    return isinstance(configured, dict) and bool(configured.get("samples"))


def fields(benchmark: Benchmark, folder: str) -> list[str]:
    """Return the fields that a document of an added benchmark must have: those that its task's templates name.

    A task that makes other documents of those in the files (`process_docs`) does not say what must be in them.
    """
    if not benchmark.added:
        return []
    from jinja2 import Environment, TemplateSyntaxError, meta  # noqa: PLC0415 - here alone

    config = leaf_of(benchmark, folder if benchmark.subtasks else "").config
    texts = [text for text in (config.get(key) for key in TEMPLATES) if isinstance(text, str)]
    if config.get("process_docs") is not None or config.get("use_prompt") or any(OPTIONAL in text for text in texts):
        return []
    named: set[str] = set()
    for text in texts:
        try:
            named |= meta.find_undeclared_variables(Environment().parse(text))  # noqa: S701 - nothing is rendered
        except TemplateSyntaxError:  # lm-eval's own filters and tests; building the task says what is wrong
            continue
    return sorted(named)


def is_local(benchmark: Benchmark) -> bool:
    """Return whether all of a benchmark's tasks name files on this machine."""
    return benchmark.added and all(
        leaf.config.get("dataset_path") in LOCAL or leaf.config.get("custom_dataset") is not None
        for leaf in benchmark.leaves
    )


def _judged(benchmark: Benchmark, leaf: Leaf) -> dict[str, Any]:
    """Return a task's configuration with the one metric that counts: lm-eval need not compute, nor load, the others."""
    entries = leaf.config.get("metric_list") or [{"metric": benchmark.metric}]
    kept = [
        entry for entry in entries if str(getattr(entry["metric"], "__name__", entry["metric"])) == benchmark.metric
    ]
    return deepcopy({**leaf.config, "metric_list": kept})
