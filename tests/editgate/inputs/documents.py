"""Where a benchmark's documents come from: files in a folder, or the data sets on the hub.

A local source replaces nothing but the documents: each task is the registered one (prompt, metric, filters,
stop strings) with its data set overridden by rows read from disk. They are passed in memory: nothing is
written to a cache, and nothing is requested from the hub.

Layout of a folder of documents, in the fields of the original data sets (.jsonl, or .json holding a list):

    <task>/test.jsonl                      of any other task of lm-eval that --benchmarks names; validation.jsonl where
                                           the task has no test split, train.jsonl or dev.jsonl for few-shot examples
    <group>/<task>/test.jsonl              of any other group
    <task>/more.jsonl                      optional, of the benchmarks below: a reserve, asked only where --limit is
                                           more than the test has
    settings.toml                          optional; [mmlu] num_fewshot = 2, [bbh] max_new_tokens = 96, ...
    mmlu/<subject>/test.jsonl              cais/mmlu; dev.jsonl beside it holds the few-shot examples
    bbh/<subtask>/test.jsonl               SaylorTwift/bbh; dev.jsonl beside it holds the few-shot examples
    gsm8k/test.jsonl                       openai/gsm8k; train.jsonl holds the few-shot examples
    commonsense_qa/validation.jsonl        tau/commonsense_qa; likewise train.jsonl
    triviaqa/validation.jsonl              mandarjoshi/trivia_qa (rc.nocontext)
    truthfulqa_mc1/validation.jsonl        truthfulqa/truthful_qa (multiple_choice); serves mc1 and mc2
    toxigen/test.jsonl                     skg/toxigen-data (annotated)

What each document must hold is in `files/document_schemas.py`; one that does not is refused with its line and field.

Without few-shot examples in the folder a task is asked with none, whatever the row of the table says. A folder that
replaces the hub (`--documents`) is treated as the hub is: with the row's number of few-shot examples, BBH with those
of lm-eval; where some are missing it is rejected. BBH's original files (`{"canary", "examples"}`)
are read as they are: `bbh/<subtask>/test.json`. Keep their canary line, and the folder out of any repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from editgate.cache.digest import digest_files, digest_text
from editgate.errors import ConfigError
from editgate.inputs.benchmarks import ALL, EXAMPLES, RESERVE, Benchmark
from editgate.inputs.files.document_io import read_rows, read_settings, splits
from editgate.inputs.files.user_files import is_dir
from editgate.inputs.harness import specs as harness
from editgate.inputs.task_overrides import Spec, brings_examples, corrections, in_memory, unregistered

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


@dataclass(frozen=True, slots=True)
class DocumentSettings:
    """What a source may set for a benchmark: few-shot examples in the prompt, tokens of a generation."""

    num_fewshot: int
    max_new_tokens: int


class DocumentSource(Protocol):
    """Where a benchmark's documents come from."""

    def settings(self, benchmark: Benchmark) -> DocumentSettings:
        """Return the few-shot examples and the generation length for this benchmark."""

    def specs(self, benchmark: Benchmark, registry: TaskManager, *, reserve: bool = False) -> list[Spec | str]:
        """Return what lm-eval's task manager is to load: the test, with the reserve behind it where that is wanted."""

    def holds(self, benchmark: Benchmark) -> bool:
        """Whether there are documents for this benchmark."""

    def has_reserve(self, benchmark: Benchmark) -> bool:
        """Whether there are documents behind those of the test."""


@dataclass(frozen=True)
class LocalDocuments:
    """Documents in a folder; see the layout at the top of this module.

    Attributes:
        folder: where they are.
        for_hub: whether they replace the data sets on the hub, so that only their location may differ.
        benchmarks: those that a run may ask.
    """

    folder: Path
    for_hub: bool = False
    benchmarks: Mapping[str, Benchmark] = field(default_factory=lambda: ALL, repr=False, compare=False)

    @classmethod
    def standing_in(cls, folder: Path, benchmarks: Mapping[str, Benchmark] = ALL) -> LocalDocuments:
        """Return what `--documents` names.

        Raises:
            ConfigError: it has no documents of any benchmark.
        """
        expected = sorted({row.documents_folder for row in benchmarks.values() if not row.chat})
        if not any(is_dir(folder / name) for name in expected):
            raise ConfigError(
                f"--documents {str(folder)!r} is not a documents directory. Allowed: one that holds any of "
                f"{', '.join(f'{name}/' for name in expected)}, laid out as tests/editgate/inputs/documents.py says."
            )
        return cls(folder.resolve(), for_hub=True, benchmarks=benchmarks)

    def __str__(self) -> str:
        """How a message calls it."""
        return str(self.folder)

    def holds(self, benchmark: Benchmark) -> bool:
        """Whether the folder has one for this benchmark."""
        return (self.folder / benchmark.documents_folder).is_dir()

    def has_reserve(self, benchmark: Benchmark) -> bool:
        """Whether the folder has a `more.jsonl` of it."""
        return any(RESERVE in files for files in self._subtasks(benchmark).values())

    def digest(self, benchmark: Benchmark) -> str:
        """Return a sha256 of everything that the folder says of this benchmark."""
        places = [self.folder / benchmark.documents_folder, self.folder / "settings.toml"]
        return digest_text(f"{self.for_hub}{[digest_files(place) for place in places if place.exists()]}")

    def settings(self, benchmark: Benchmark) -> DocumentSettings:
        """Return the folder's settings.toml over the table's row; no few-shot examples without documents for them."""
        chosen = {"num_fewshot": benchmark.num_fewshot, "max_new_tokens": benchmark.max_new_tokens}
        chosen |= self._settings_file(benchmark)
        has_examples = all(self._has_examples(benchmark, *each) for each in self._subtasks(benchmark).items())
        if self.for_hub and chosen["num_fewshot"] and not has_examples:
            raise ConfigError(
                f"{benchmark.name} asks for {chosen['num_fewshot']} few-shot examples, but "
                f"{self.folder / benchmark.documents_folder} has none. Add {' or '.join(EXAMPLES)}.jsonl, or set "
                f"num_fewshot = 0 below [{benchmark.name}] in {self.folder / 'settings.toml'}."
            )
        return DocumentSettings(chosen["num_fewshot"] if has_examples else 0, chosen["max_new_tokens"])

    def check(self) -> None:
        """Read everything once, before anything is asked.

        Raises:
            ConfigError: a file is malformed, holds something that is no document of its benchmark, or has fewer
                few-shot examples than are asked for; or settings.toml is wrong.
        """
        for benchmark in filter(self.holds, self.benchmarks.values()):
            asked = self.settings(benchmark).num_fewshot
            for files in self._subtasks(benchmark).values():
                rows = {split: len(read_rows(path, benchmark)) for split, path in files.items()}
                examples = next((split for split in EXAMPLES if split in rows), None)
                if examples is not None and rows[examples] < asked:
                    raise ConfigError(
                        f"{files[examples]}: {benchmark.name} asks for {asked} few-shot examples, but there are "
                        f"{rows[examples]}. Add some, or set num_fewshot below [{benchmark.name}] in "
                        f"{self.folder / 'settings.toml'}."
                    )

    def _has_examples(self, benchmark: Benchmark, subtask: str, files: Mapping[str, Path]) -> bool:
        if set(EXAMPLES) & set(files):
            return True
        if benchmark.added:
            return harness.brings_examples(benchmark, subtask)
        return self.for_hub and brings_examples(benchmark, subtask)

    def specs(self, benchmark: Benchmark, registry: TaskManager, *, reserve: bool = False) -> list[Spec | str]:
        """Return one group of registered tasks, and in full each MMLU subject that lm-eval does not have.

        Tasks that are not in the table are returned in full.
        """
        if benchmark.added:
            return [
                harness.over_files(benchmark, subtask, files) for subtask, files in self._subtasks(benchmark).items()
            ]
        children: list[Spec] = []
        alone: list[Spec | str] = []
        for subtask, files in self._subtasks(benchmark).items():
            name = benchmark.subtasks.format(subtask) or benchmark.task
            wanted = {split: path for split, path in files.items() if reserve or split != RESERVE}
            override = {"task": name, "dataset_name": None, **in_memory(benchmark, wanted)}
            if name in registry.task_index:
                children.append(override | corrections(benchmark))
            else:
                alone.append(unregistered(benchmark, subtask) | override)
        grouped: list[Spec | str] = [{"group": benchmark.name, "task": children}] if children else []
        return grouped + alone

    def _subtasks(self, benchmark: Benchmark) -> dict[str, dict[str, Path]]:
        """Return files by split, by subtask; benchmarks without subtasks have the one subtask ""."""
        top = self.folder / benchmark.documents_folder
        folders = sorted(p for p in top.glob("*") if p.is_dir()) if benchmark.subtasks else [top]
        found = {p.name if benchmark.subtasks else "": splits(p) for p in folders}
        if not any(set(files) - {*EXAMPLES, RESERVE} for files in found.values()):
            raise ConfigError(
                f"{benchmark.name}: no documents in {top}; expected "
                f"{'<subtask>/' * bool(benchmark.subtasks)}test.jsonl or validation.jsonl."
            )
        if alone := [path for files in found.values() for path in _without_a_test(benchmark, files)]:
            raise ConfigError(
                f"{alone[0]}: a reserve stands beside a test.jsonl or validation.jsonl of MMLU, BBH, GSM8K, "
                "CommonsenseQA, TriviaQA, TruthfulQA or ToxiGen. Rename it to test.jsonl."
            )
        return found

    def _settings_file(self, benchmark: Benchmark) -> dict[str, int]:
        path = self.folder / "settings.toml"
        table = read_settings(path, self.benchmarks).get(benchmark.name) if path.exists() else None
        return table.model_dump(exclude_none=True) if table else {}


@dataclass(frozen=True)
class HubDocuments:
    """The original data sets, through lm-eval's registered tasks; cached where `datasets` caches."""

    def __str__(self) -> str:
        """How a message calls it."""
        return "the data set that its task names"

    def has_reserve(self, benchmark: Benchmark) -> bool:  # noqa: ARG002 - as in `DocumentSource`
        """Return False: a run asks all."""
        return False

    def holds(self, benchmark: Benchmark) -> bool:
        """Return whether the hub has them; those of chat models are this suite's own."""
        return not benchmark.chat

    def settings(self, benchmark: Benchmark) -> DocumentSettings:
        """Return what the table's row says."""
        return DocumentSettings(benchmark.num_fewshot, benchmark.max_new_tokens)

    def specs(self, benchmark: Benchmark, registry: TaskManager, *, reserve: bool = False) -> list[Spec | str]:  # noqa: ARG002 - as in `DocumentSource`
        """Return the registered task or group by name, or with what must differ from it."""
        if benchmark.added:
            return harness.as_defined(benchmark)
        changed = corrections(benchmark)
        if not changed:
            return [benchmark.task]
        return [{"group": benchmark.name, "task": [{"task": benchmark.task, **changed}]}]


def _without_a_test(benchmark: Benchmark, files: Mapping[str, Path]) -> list[Path]:
    """Return a reserve behind nothing, or of a task whose own code may leave documents out, so that none is known."""
    is_behind_a_test = set(files) - {*EXAMPLES, RESERVE} and not benchmark.added
    return [files[RESERVE]] if RESERVE in files and not is_behind_a_test else []
