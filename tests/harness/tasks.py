"""Builds lm-eval's own tasks over two kinds of documents: files in a folder, or the data sets on the hub.

A local source replaces nothing but the documents: each task is the registered one (prompt, metric, filters,
stop strings) with its data set overridden by rows read from disk. They are handed over in memory, so nothing
is written to a cache and nothing is asked of the hub.

Layout of a folder of documents, in the fields of the original data sets (.jsonl, or .json holding a list):

    settings.toml                          optional; [mmlu] num_fewshot = 2, [bbh] max_new_tokens = 96, ...
    mmlu/<subject>/test.jsonl              cais/mmlu; dev.jsonl beside it holds the worked examples
    bbh/<subtask>/test.jsonl               SaylorTwift/bbh; dev.jsonl beside it holds the worked examples
    gsm8k/test.jsonl                       openai/gsm8k; train.jsonl holds the worked examples
    commonsense_qa/validation.jsonl        tau/commonsense_qa; likewise train.jsonl
    triviaqa/validation.jsonl              mandarjoshi/trivia_qa (rc.nocontext)
    truthfulqa_mc1/validation.jsonl        truthfulqa/truthful_qa (multiple_choice); serves mc1 and mc2
    toxigen/test.jsonl                     skg/toxigen-data (annotated)

Without worked examples in the folder a task is asked with none, whatever the row of the table says. A folder that
stands in for the hub (`--documents`) is asked as the hub would be: with the row's number of worked examples, BBH with
those that lm-eval brings, and where some are missing it is refused. BBH's original files (`{"canary", "examples"}`)
are read as they are: `bbh/<subtask>/test.json`. Keep their canary line, and the folder out of any repository.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import datasets
import lm_eval.tasks
import numpy as np
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from tests.harness import hub
from tests.harness.benchmarks import BENCHMARKS, Benchmark, Document
from tests.harness.document_files import read_rows, read_toml, splits
from tests.harness.errors import EvaluationError, UsageProblem
from tests.harness.quiet import lm_eval_quick

Spec = dict[str, Any]
Judge = Callable[[Document, list[tuple[float, bool]]], dict[str, float]]
REGISTERED = Path(lm_eval.tasks.__file__).parent
FEWSHOT_SEED = 1234  # lm-eval's own default for few-shot examples
EXAMPLES = ("dev", "train")  # splits that hold worked examples, never test items


@dataclass(frozen=True, slots=True)
class Settings:
    """What a source may choose about a benchmark: worked examples, and where a generation is cut."""

    num_fewshot: int
    max_new_tokens: int


class Source(Protocol):
    """Where a benchmark's documents come from."""

    def settings(self, benchmark: Benchmark) -> Settings:
        """Shots and generation length for this benchmark from this source."""

    def specs(self, benchmark: Benchmark, registry: TaskManager) -> list[Spec | str]:
        """What lm-eval's task manager is to load."""

    def digest(self, benchmark: Benchmark) -> str:
        """Changes whenever the documents or their settings do."""

    def holds(self, benchmark: Benchmark) -> bool:
        """Whether there are documents for this benchmark."""


@dataclass(frozen=True)
class LocalDocuments:
    """Documents in a folder; the layout stands at the top of this module.

    Attributes:
        folder: where they lie.
        for_hub: whether they stand in for the data sets on the hub, so that nothing but their place may differ.
    """

    folder: Path
    for_hub: bool = False

    @classmethod
    def standing_in(cls, folder: Path) -> LocalDocuments:
        """Return what `--documents` names.

        Raises:
            UsageProblem: it is no directory with documents of any benchmark.
        """
        expected = sorted({row.documents_folder for row in BENCHMARKS.values()})
        if not any((folder / name).is_dir() for name in expected):
            raise UsageProblem(
                f"--documents {str(folder)!r} is no directory with documents. Allowed: one that holds any of "
                f"{', '.join(f'{name}/' for name in expected)}, laid out as tests/harness/tasks.py says."
            )
        return cls(folder.resolve(), for_hub=True)

    def holds(self, benchmark: Benchmark) -> bool:
        """Whether the folder has one for this benchmark."""
        return (self.folder / benchmark.documents_folder).is_dir()

    def settings(self, benchmark: Benchmark) -> Settings:
        """The folder's settings.toml over the table's row; no worked examples without documents for them."""
        chosen = {"num_fewshot": benchmark.num_fewshot, "max_new_tokens": benchmark.max_new_tokens}
        chosen |= self._settings_file(benchmark)
        has_examples = all(self._has_examples(benchmark, *each) for each in self._subtasks(benchmark).items())
        if self.for_hub and chosen["num_fewshot"] and not has_examples:
            raise UsageProblem(
                f"{benchmark.name} asks for {chosen['num_fewshot']} worked examples, but "
                f"{self.folder / benchmark.documents_folder} has none. Add {' or '.join(EXAMPLES)}.jsonl, or set "
                f"num_fewshot = 0 below [{benchmark.name}] in {self.folder / 'settings.toml'}."
            )
        return Settings(chosen["num_fewshot"] if has_examples else 0, chosen["max_new_tokens"])

    def _has_examples(self, benchmark: Benchmark, subtask: str, files: Mapping[str, Path]) -> bool:
        return bool(set(EXAMPLES) & set(files)) or (self.for_hub and _brings_examples(benchmark, subtask))

    def specs(self, benchmark: Benchmark, registry: TaskManager) -> list[Spec | str]:
        """One group of registered tasks, and in full each MMLU subject that lm-eval does not know."""
        children: list[Spec] = []
        alone: list[Spec | str] = []
        for subtask, files in self._subtasks(benchmark).items():
            name = benchmark.subtasks.format(subtask) or benchmark.task
            override = {"task": name, "dataset_name": None, **_in_memory(files)}
            if name in registry.task_index:
                children.append(override | _corrections(benchmark))
            else:
                alone.append(_unregistered(benchmark, subtask) | override)
        grouped: list[Spec | str] = [{"group": benchmark.name, "task": children}] if children else []
        return grouped + alone

    def digest(self, benchmark: Benchmark) -> str:
        """SHA-256 over settings, file names and contents."""
        digest = hashlib.sha256(repr(self.settings(benchmark)).encode())
        for subtask, files in self._subtasks(benchmark).items():
            for split, path in files.items():
                digest.update(f"|{subtask}|{split}|".encode() + path.read_bytes())
        return digest.hexdigest()

    def _subtasks(self, benchmark: Benchmark) -> dict[str, dict[str, Path]]:
        """Files by split, by subtask; benchmarks without subtasks have the one subtask ""."""
        top = self.folder / benchmark.documents_folder
        folders = sorted(p for p in top.glob("*") if p.is_dir()) if benchmark.subtasks else [top]
        found = {p.name if benchmark.subtasks else "": splits(p) for p in folders}
        if not any(set(files) - set(EXAMPLES) for files in found.values()):
            raise UsageProblem(
                f"{benchmark.name}: no documents in {top}; expected "
                f"{'<subtask>/' * bool(benchmark.subtasks)}test.jsonl or validation.jsonl."
            )
        return found

    def _settings_file(self, benchmark: Benchmark) -> dict[str, int]:
        path = self.folder / "settings.toml"
        if not path.exists():
            return {}
        table = read_toml(path).get(benchmark.name, {})
        unknown = set(table) - {"num_fewshot", "max_new_tokens"}
        if unknown or not all(type(value) is int and value >= 0 for value in table.values()):
            raise UsageProblem(
                f"{path}: [{benchmark.name}] holds {table}; allowed are num_fewshot and max_new_tokens, "
                "each a whole number of at least 0."
            )
        return dict(table)


@dataclass(frozen=True)
class HubDocuments:
    """The original data sets, through lm-eval's registered tasks; cached where `datasets` caches."""

    def holds(self, benchmark: Benchmark) -> bool:
        """Whether the hub has them; those of chat models are this suite's own."""
        return not benchmark.chat

    def settings(self, benchmark: Benchmark) -> Settings:
        """The row of the table, as it stands."""
        return Settings(benchmark.num_fewshot, benchmark.max_new_tokens)

    def specs(self, benchmark: Benchmark, registry: TaskManager) -> list[Spec | str]:  # noqa: ARG002 - as in `Source`
        """The registered task or group by name, or with what must differ from it."""
        corrections = _corrections(benchmark)
        if not corrections:
            return [benchmark.task]
        return [{"group": benchmark.name, "task": [{"task": benchmark.task, **corrections}]}]

    def digest(self, benchmark: Benchmark) -> str:
        """Name and settings; whether the hub served the same documents, the items' hashes tell."""
        return hashlib.sha256(f"hub|{benchmark.task}|{self.settings(benchmark)}".encode()).hexdigest()


def load(benchmark: Benchmark, source: Source) -> dict[str, ConfigurableTask]:
    """The benchmark's lm-eval tasks by name, few-shot sampling seeded, generation length set.

    Raises:
        UsageProblem: the source holds no documents for it, or bad settings; or the hub cannot be reached.
        EvaluationError: a task gave no question at all.
    """
    with lm_eval_quick():
        registry = TaskManager(include_path=[REGISTERED / benchmark.folder], include_defaults=False)
        loaded = _loaded(benchmark, source, registry)
        tasks: dict[str, ConfigurableTask] = dict(sorted(loaded.items()))
    if not tasks:
        raise EvaluationError(f"{benchmark.name}: lm-eval built no task from {source}.")
    settings = source.settings(benchmark)
    for task in tasks.values():
        task.set_config("num_fewshot", settings.num_fewshot)  # as lm-eval's own --num_fewshot does
        task.set_fewshot_seed(FEWSHOT_SEED)
        if benchmark.kind == "generated":
            task.config.generation_kwargs["max_gen_toks"] = settings.max_new_tokens
        elif callable(task.config.process_results):
            task.config.process_results = _without_underflow(task.config.process_results)
    return tasks


def _loaded(benchmark: Benchmark, source: Source, registry: TaskManager) -> dict[str, ConfigurableTask]:
    try:
        found: dict[str, ConfigurableTask] = registry.load(source.specs(benchmark, registry))["tasks"]
    except OSError as error:
        if not hub.unreachable(error):
            raise
        raise UsageProblem(
            f"{benchmark.name}: {str(error).splitlines()[0]}. Run this once where there is a network, which keeps the "
            "data set on this machine; or give a local directory of documents: --documents DIR."
        ) from error
    return found


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
    return datasets.Dataset.from_list([shuffled_choices(row) for row in rows])


def _corrections(benchmark: Benchmark) -> Spec:
    """What must differ from the registered task; see `shuffled_choices`."""
    if benchmark.task != "truthfulqa_mc1":
        return {}
    return {"process_docs": _shuffled, "doc_to_target": "{{mc1_targets.labels.index(1)}}"}


def _without_underflow(process: Judge) -> Judge:
    """Shifts the log-likelihoods so that the best is 0 before lm-eval normalises their exponentials (mc2).

    The normalised mass is the same; without the shift, options all below exp(-745) give 0/0.
    """

    def shifted(document: Document, results: list[tuple[float, bool]]) -> dict[str, float]:
        best = np.max([value for value, _ in results])
        return process(document, [(value - best, greedy) for value, greedy in results])

    return shifted


def _in_memory(files: Mapping[str, Path]) -> Spec:
    """lm-eval's `custom_dataset`: a function that returns the splits, read when the task is built."""

    def read(**_: object) -> datasets.DatasetDict:
        rows = {split: datasets.Dataset.from_list(read_rows(path)) for split, path in files.items()}
        return datasets.DatasetDict(rows)

    override: Spec = {"custom_dataset": read, "dataset_kwargs": None}
    for kind, split in (("training", "train"), ("validation", "validation"), ("test", "test")):
        override[f"{kind}_split"] = split if split in files else None  # a task may name one that is not in the folder
    if "dev" in files:
        override |= {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n", "split": "dev"}}
    elif "train" not in files:
        override["fewshot_split"] = None
    return override


def _brings_examples(benchmark: Benchmark, subtask: str) -> bool:
    """Whether lm-eval's own file of a subtask holds its worked examples, as BBH's do."""
    file = REGISTERED / benchmark.folder / f"{subtask}.yaml"
    return file.is_file() and "samples" in (load_yaml(file, resolve_func=False).get("fewshot_config") or {})


def _unregistered(benchmark: Benchmark, subtask: str) -> Spec:
    """An MMLU subject of one's own: lm-eval's MMLU template, described as lm-eval describes its own."""
    template = REGISTERED / benchmark.folder / "_default_template_yaml"
    if not template.exists():
        raise UsageProblem(
            f"{benchmark.name}: lm-eval has no task {benchmark.subtasks.format(subtask)!r} for the folder "
            f"{subtask!r}; only MMLU takes subjects of one's own."
        )
    subject = subtask.replace("_", " ")
    spec: Spec = load_yaml(template, resolve_func=True)
    return spec | {
        "description": f"The following are multiple choice questions (with answers) about {subject}.\n\n",
        "task_alias": subtask,
    }
