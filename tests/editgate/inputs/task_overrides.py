"""Overrides of lm-eval's registered tasks: other documents, and corrections of known errors."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import RESERVE, Benchmark
from editgate.inputs.files.document_io import read_dataset
from editgate.inputs.harness.index import REGISTERED

if TYPE_CHECKING:
    import datasets

Spec = dict[str, Any]


def shuffled_choices(document: Mapping[str, Any]) -> dict[str, Any]:
    """TruthfulQA mc1 with its options in an order drawn from the question.

    The data set always lists the truth first and lm-eval's task says so (`doc_to_target: 0`). As `argmax`
    takes the first of equals, a model that returns NaN, or that ranks all options alike, scores 1.00. The
    order of options is in no prompt (each is scored as a continuation of its own), so shuffling changes no
    log-likelihood: it only takes the prize from position.
    """
    targets = document["mc1_targets"]
    order = list(range(len(targets["choices"])))
    random.Random(document["question"]).shuffle(order)
    return {**document, "mc1_targets": {key: [column[i] for i in order] for key, column in targets.items()}}


def _shuffled(rows: datasets.Dataset) -> datasets.Dataset:
    import datasets  # noqa: PLC0415 - a second to import, and only where a benchmark is asked

    return datasets.Dataset.from_list([shuffled_choices(row) for row in rows])


def corrections(benchmark: Benchmark) -> Spec:
    """Return what must differ from the registered task; see `shuffled_choices`."""
    if benchmark.task != "truthfulqa_mc1":
        return {}
    return {"process_docs": _shuffled, "doc_to_target": "{{mc1_targets.labels.index(1)}}"}


def in_memory(benchmark: Benchmark, files: Mapping[str, Path]) -> Spec:
    """Return lm-eval's `custom_dataset`: a function that returns the splits, read when the task is built."""
    import datasets  # noqa: PLC0415 - as in `_shuffled`

    asked = "test" if "test" in files else "validation"

    def read(**_: object) -> datasets.DatasetDict:
        found = {split: read_dataset(path, benchmark) for split, path in files.items()}
        if (reserve := found.pop(RESERVE, None)) is not None:
            found[asked] = datasets.concatenate_datasets([found[asked], reserve])
        return datasets.DatasetDict(found)

    override: Spec = {"custom_dataset": read, "dataset_kwargs": None}
    for kind, split in (("training", "train"), ("validation", "validation"), ("test", "test")):
        override[f"{kind}_split"] = split if split in files else None  # a task may name one that is not in the folder
    if "dev" in files:
        override |= {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n", "split": "dev"}}
    elif "train" not in files:
        override["fewshot_split"] = None
    return override


def brings_examples(benchmark: Benchmark, subtask: str) -> bool:
    """Return whether lm-eval's own file of a subtask contains its few-shot examples, as BBH's do."""
    from editgate.compat.lm_eval import load_task_file  # noqa: PLC0415 - lm-eval takes a second to import

    file = REGISTERED / benchmark.folder / f"{subtask}.yaml"
    return file.is_file() and "samples" in (load_task_file(file, functions=False).get("fewshot_config") or {})


def unregistered(benchmark: Benchmark, subtask: str) -> Spec:
    """Return a task for an MMLU subject that lm-eval does not have, by lm-eval's own MMLU template."""
    from editgate.compat.lm_eval import load_task_file  # noqa: PLC0415 - as in `brings_examples`

    template = REGISTERED / benchmark.folder / "_default_template_yaml"
    if not template.exists():
        raise ConfigError(
            f"{benchmark.name}: lm-eval has no task {benchmark.subtasks.format(subtask)!r} for the folder "
            f"{subtask!r}; only MMLU takes new subjects."
        )
    subject = subtask.replace("_", " ")
    spec: Spec = load_task_file(template, functions=True)
    return spec | {
        "description": f"The following are multiple choice questions (with answers) about {subject}.\n\n",
        "task_alias": subtask,
    }
