"""The table of benchmarks and the tasks built from it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import BENCHMARKS, Benchmark, benchmark
from editgate.inputs.documents import DocumentSettings, HubDocuments, LocalDocuments
from editgate.inputs.lm_tasks import load
from editgate.inputs.task_overrides import shuffled_choices
from meta.support import toy

PAPER_SHOTS = {"mmlu": 5, "bbh": 3, "gsm8k": 8, "commonsenseqa": 7, "triviaqa": 0, "truthfulqa": 0, "toxigen": 0}
ORIGINALS = {
    "gsm8k": ("openai/gsm8k", "main"),
    "commonsenseqa": ("tau/commonsense_qa", None),
    "triviaqa": ("mandarjoshi/trivia_qa", "rc.nocontext"),
    "truthfulqa": ("truthfulqa/truthful_qa", "multiple_choice"),
    "truthfulqa_mc2": ("truthfulqa/truthful_qa", "multiple_choice"),
    "toxigen": ("skg/toxigen-data", "annotated"),
}
rows = pytest.mark.parametrize("row", BENCHMARKS.values(), ids=list(BENCHMARKS))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> LocalDocuments:
    return LocalDocuments(toy.write_documents(tmp_path_factory.mktemp("documents")))


def test_shots_are_the_papers() -> None:
    """The table states the paper's number of few-shot examples for each of its seven benchmarks."""
    assert {name: BENCHMARKS[name].num_fewshot for name in PAPER_SHOTS} == PAPER_SHOTS


@rows
def test_a_row_names_what_lm_eval_has(row: Benchmark, documents: LocalDocuments) -> None:
    """Metric, filter, question field and kind of each row exist in the task that lm-eval builds for it."""
    for task in load(row, documents).values():
        assert row.metric in {metric["metric"] for metric in task.config.metric_list}
        assert row.filter in {ensemble.name for ensemble in task._filters}
        assert row.question in task.features
        assert (task.OUTPUT_TYPE == "multiple_choice") == (row.kind == "choice")
        assert (row.max_new_tokens > 0) == (row.kind == "generated")


def test_an_unknown_benchmark_lists_the_known() -> None:
    """The message names what was asked and what there is."""
    with pytest.raises(ConfigError, match=r"'hellaswag' is unknown; known: mmlu, bbh, gsm8k"):
        benchmark("hellaswag")


def test_guessing_scores_what_the_row_says() -> None:
    """1/k with options, 0 without; BBH by the form of the answer; mc2 by the share of true options."""
    bbh = BENCHMARKS["bbh"].chance
    assert BENCHMARKS["mmlu"].chance({}, list("ABCD")) == 1 / 4
    assert BENCHMARKS["gsm8k"].chance({}, []) == 0
    assert bbh({"input": "Who?\nOptions:\n(A) red\n(B) blue\n(C) pink", "target": "(A)"}, []) == 1 / 3
    assert bbh({"input": "True and False is", "target": "False"}, []) == 1 / 2
    assert bbh({"input": "How many?", "target": "7"}, []) == 0
    assert BENCHMARKS["truthfulqa_mc2"].chance({"mc2_targets": {"labels": [1, 1, 0, 0, 0]}}, []) == 2 / 5


def test_local_documents_touch_neither_hub_nor_cache(
    documents: LocalDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No task with local documents calls `load_dataset`, which would write a cache and may ask the hub."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("load_dataset was called")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    for row in BENCHMARKS.values():
        assert load(row, documents)


def test_a_subject_of_ones_own_is_asked_like_lm_evals(documents: LocalDocuments) -> None:
    """An MMLU subject that lm-eval does not know has its template, and its description but for the name."""
    tasks = load(BENCHMARKS["mmlu"], documents)
    known, own = tasks["mmlu_anatomy"].config, tasks["mmlu_toy_colors"].config
    assert own.doc_to_text == known.doc_to_text
    assert own.description == known.description.replace("anatomy", "toy colors")
    assert own.num_fewshot == known.num_fewshot == 2


def test_a_strange_bbh_subtask_is_refused(tmp_path: Path) -> None:
    """Only MMLU can take subtasks that lm-eval has no prompt for."""
    toy.write_documents(tmp_path)
    (tmp_path / "bbh" / "chess").mkdir()
    (tmp_path / "bbh" / "chess" / "test.jsonl").write_text('{"input": "e4", "target": "e5"}\n')
    with pytest.raises(ConfigError, match=r"bbh_cot_fewshot_chess.*'chess'"):
        load(BENCHMARKS["bbh"], LocalDocuments(tmp_path))


def test_without_examples_no_shots(tmp_path: Path) -> None:
    """A folder without few-shot examples is asked without, whatever its settings and the table say."""
    source = LocalDocuments(toy.write_documents(tmp_path, examples=False))
    assert source.settings(BENCHMARKS["mmlu"]) == DocumentSettings(num_fewshot=0, max_new_tokens=0)
    assert source.settings(BENCHMARKS["gsm8k"]) == DocumentSettings(num_fewshot=0, max_new_tokens=12)
    assert all(load(row, source) for row in BENCHMARKS.values())


def test_generation_length_is_the_sources(documents: LocalDocuments) -> None:
    """The length in settings.toml reaches the task; on the hub it is the row's."""
    (task,) = load(BENCHMARKS["gsm8k"], documents).values()
    assert task.config.generation_kwargs["max_gen_toks"] == 12
    assert HubDocuments().settings(BENCHMARKS["gsm8k"]) == DocumentSettings(num_fewshot=8, max_new_tokens=256)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("toxigen/test.jsonl", '{"text": "a"}\n{"text"\n', r"test.jsonl: record 1 \(line 2\): not JSON"),
        ("toxigen/test.jsonl", "", "at least one"),
        ("toxigen/test.jsonl", "[1]\n", "record 0: expected a document, a JSON object"),
        ("settings.toml", "[toxigen]\nshots = 2\n", "field 'shots' in toxigen is 2.*Allowed are num_fewshot"),
        ("settings.toml", "[toxigen]\nnum_fewshot = -1\n", "at least 0"),
        ("settings.toml", "[toxigen\n", "settings.toml: not TOML"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    """The message says which file, and which line or what is allowed."""
    toy.write_documents(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(BENCHMARKS["toxigen"], LocalDocuments(tmp_path))


def test_a_missing_folder_says_what_is_expected(tmp_path: Path) -> None:
    """The message names the folder and the layout."""
    with pytest.raises(ConfigError, match=r"no documents in .*mmlu; expected <subtask>/test.jsonl"):
        load(BENCHMARKS["mmlu"], LocalDocuments(tmp_path))


def test_truth_is_not_always_first(tmp_path: Path) -> None:
    """In the data set the truth comes first; as asked it stands anywhere, with its label, the same at each call."""
    source = LocalDocuments(toy.write_documents(tmp_path, size=60))
    (task,) = load(BENCHMARKS["truthfulqa"], source).values()
    raw = [json.loads(line) for line in (tmp_path / "truthfulqa_mc1/validation.jsonl").read_text().splitlines()]
    places = Counter[int]()
    for document, original in zip(task.eval_docs, raw, strict=True):
        truth = original["mc1_targets"]["choices"][0]
        target = task.doc_to_target(document)
        assert task.doc_to_choice(document)[target] == truth
        assert document["mc1_targets"] == shuffled_choices(original)["mc1_targets"]
        places[target] += 1
    assert len(places) >= 4
    assert places[0] < 40


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_hub_is_asked_for_the_original_data(
    name: str, documents: LocalDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hub tasks load the registered data set with the paper's shots; mc1's options are shuffled there too."""
    asked: list[tuple[str, str | None]] = []
    row = BENCHMARKS[name]
    files = {path.stem: path for path in (documents.folder / row.documents_folder).glob("*.jsonl")}
    local = {split: [json.loads(line) for line in path.read_text().splitlines()] for split, path in files.items()}

    def serve(path: str, name: str | None = None, **_: object) -> datasets.DatasetDict:
        asked.append((path, name))
        splits = {"train": next(iter(local.values())), **local}
        return datasets.DatasetDict({s: datasets.Dataset.from_list(docs) for s, docs in splits.items()})

    monkeypatch.setattr(datasets, "load_dataset", serve)
    (task,) = load(row, HubDocuments()).values()
    assert asked == [ORIGINALS[name]]
    assert (task.config.num_fewshot, task.config.task) == (row.num_fewshot, row.task)
    if name == "truthfulqa":
        assert {task.doc_to_target(document) for document in task.eval_docs} != {0}


def test_hub_groups_reach_every_subtask(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMLU and BBH are groups of 57 and 27 tasks; each gets the paper's shots and keeps its own name and data."""
    asked: list[str | None] = []

    def serve(path: str, name: str | None = None, **_: object) -> datasets.DatasetDict:
        asked.append(name)
        document = {"question": "q", "choices": list("abcd"), "answer": 0}
        document |= {"input": "q", "target": "a"} if "bbh" in path else {}
        shown = datasets.Dataset.from_list([document] * 6)
        return datasets.DatasetDict(dict.fromkeys(("dev", "test"), shown))

    monkeypatch.setattr(datasets, "load_dataset", serve)
    for name, count in (("mmlu", 57), ("bbh", 27)):
        asked.clear()
        tasks = load(BENCHMARKS[name], HubDocuments())
        assert len(tasks) == len(set(asked)) == count
        assert {task.config.num_fewshot for task in tasks.values()} == {BENCHMARKS[name].num_fewshot}
