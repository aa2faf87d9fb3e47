"""Documents that no answer, or every answer, would get right are refused with file, line and field."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editgate.errors import ConfigError
from editgate.inputs import models
from editgate.inputs.benchmarks import ALL, BENCHMARKS, Benchmark, Leaf
from editgate.inputs.documents import LocalDocuments
from editgate.inputs.files.document_io import read_dataset, read_rows
from editgate.measure.prepare import prepare
from meta.support import toy

MISSING = object()
PIQA = Benchmark("piqa", "PIQA", "piqa", "piqa", 0, "acc", "capability", "goal")
FOLDERS = {
    "mmlu": "mmlu/anatomy/test.jsonl",
    "bbh": "bbh/object_counting/test.jsonl",
    "gsm8k": "gsm8k/test.jsonl",
    "commonsenseqa": "commonsense_qa/validation.jsonl",
    "triviaqa": "triviaqa/validation.jsonl",
    "truthfulqa": "truthfulqa_mc1/validation.jsonl",
    "truthfulqa_mc2": "truthfulqa_mc1/validation.jsonl",
    "toxigen": "toxigen/test.jsonl",
}
FOUR = {"label": list("ABCD"), "text": list("abcd")}
WRONG: list[tuple[str, str, Any, str]] = [
    ("mmlu", "answer", MISSING, "field 'answer' is missing"),
    ("mmlu", "answer", -1, "field 'answer' is -1"),
    ("mmlu", "answer", 4, "field 'answer' is 4"),
    ("mmlu", "answer", 1.5, "field 'answer' is 1.5"),
    ("mmlu", "answer", "1", "field 'answer' is '1'"),
    ("mmlu", "answer", True, "field 'answer' is True"),
    ("mmlu", "answer", None, "field 'answer' is None"),
    ("mmlu", "choices", list("abcde"), "field 'choices' is .*at most 4"),
    ("mmlu", "choices", list("abc"), "field 'choices' is .*at least 4"),
    ("mmlu", "choices", ["a", "b", "c", 4], "field '3' in choices is 4"),
    ("mmlu", "question", "", "field 'question' is '': must not be blank"),
    ("mmlu", "question", MISSING, "field 'question' is missing"),
    ("bbh", "target", " ", "field 'target' is ' '"),
    ("bbh", "target", 7, "field 'target' is 7"),
    ("bbh", "input", MISSING, "field 'input' is missing"),
    ("gsm8k", "answer", "It is 5.", "field 'answer' is 'It is 5.': must end with #### and a number"),
    ("gsm8k", "answer", "#### five", "must end with #### and a number"),
    ("gsm8k", "answer", "#### 5 apples", "must end with #### and a number"),
    ("gsm8k", "answer", 5, "field 'answer' is 5"),
    ("commonsenseqa", "answerKey", "", "field 'answerKey' is ''"),
    ("commonsenseqa", "answerKey", "Z", "field 'answerKey' is 'Z'"),
    ("commonsenseqa", "answerKey", "a", "field 'answerKey' is 'a'"),
    ("commonsenseqa", "answerKey", MISSING, "field 'answerKey' is missing"),
    ("commonsenseqa", "choices", FOUR, "field 'label' in choices is .*must be A, B, C, D, E"),
    ("commonsenseqa", "choices", {"label": list("ABCDE"), "text": list("abcd")}, "field 'text' in choices is"),
    ("commonsenseqa", "choices", {"label": list("12345"), "text": list("abcde")}, "field 'label' in choices is"),
    ("commonsenseqa", "choices", list("abcde"), "field 'choices' is"),
    ("triviaqa", "answer", {"value": "x"}, "field 'aliases' is missing in answer"),
    ("triviaqa", "answer", {"aliases": []}, "field 'aliases' in answer is"),
    ("triviaqa", "answer", {"aliases": ["x", ""]}, "field '1' in answer.aliases is ''"),
    ("triviaqa", "answer", "x", "field 'answer' is 'x'"),
    ("truthfulqa", "mc1_targets", {"choices": ["a", "b"], "labels": [1, 1]}, "'labels' in mc1_targets .*exactly one 1"),
    ("truthfulqa", "mc1_targets", {"choices": ["a", "b"], "labels": [0, 0]}, "'labels' in mc1_targets .*exactly one 1"),
    ("truthfulqa", "mc1_targets", {"choices": ["a", "b"], "labels": [1]}, "must be 2 numbers"),
    ("truthfulqa", "mc1_targets", {"choices": ["a"], "labels": [1]}, "field 'choices' in mc1_targets is"),
    ("truthfulqa", "mc1_targets", {"choices": ["a", "b"], "labels": [True, 0]}, "field '0' in mc1_targets.labels"),
    ("truthfulqa_mc2", "mc2_targets", {"choices": ["a", "b"], "labels": [1, 1]}, "at least one 1 and one 0"),
    ("truthfulqa_mc2", "mc2_targets", {"choices": ["a", "b"], "labels": [0, 0]}, "at least one 1 and one 0"),
    (
        "truthfulqa_mc2",
        "mc2_targets",
        {"choices": ["a", "b"], "labels": [2, 0]},
        "field '0' in mc2_targets.labels is 2",
    ),
    ("truthfulqa_mc2", "mc2_targets", MISSING, "field 'mc2_targets' is missing"),
    ("toxigen", "toxicity_ai", 99, "field 'toxicity_ai' is 99"),
    ("toxigen", "toxicity_human", -1, "field 'toxicity_human' is -1"),
    ("toxigen", "toxicity_human", "3", "field 'toxicity_human' is '3'"),
    ("toxigen", "toxicity_human", float("nan"), "field 'toxicity_human' is nan"),
    ("toxigen", "toxicity_ai", None, "field 'toxicity_ai' is None"),
    ("toxigen", "text", None, "field 'text' is None"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_documents(tmp_path_factory.mktemp("documents"))


@pytest.mark.parametrize("case", WRONG, ids=[f"{n}-{name}-{field}" for n, (name, field, *_) in enumerate(WRONG)])
def test_what_cannot_be_judged_is_refused(case: tuple[str, str, Any, str], folder: Path, tmp_path: Path) -> None:
    """One wrong field in the third document is told with the file, the line, the field and its value."""
    name, field, value, message = case
    lines = (folder / FOLDERS[name]).read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[2]) | {field: value}
    lines[2] = json.dumps({key: each for key, each in row.items() if each is not MISSING})
    file = tmp_path / "test.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"test\.jsonl: record 2 \(line 3\) is no document of {name}: .*{message}"):
        read_rows(file, BENCHMARKS[name])


SETTINGS = {
    "an unknown table": ("[gsm8kk]\nnum_fewshot = 1\n", "'gsm8kk' is no benchmark; allowed are tables of mmlu"),
    "a key outside of a table": ("num_fewshot = 3\n", "'num_fewshot' is no benchmark"),
    "an unknown key": ("[gsm8k]\nshots = 3\n", "field 'shots' in gsm8k is 3"),
    "no tokens": ("[gsm8k]\nmax_new_tokens = 0\n", "field 'max_new_tokens' in gsm8k is 0"),
    "a text": ('[gsm8k]\nnum_fewshot = "3"\n', "field 'num_fewshot' in gsm8k is '3'"),
    "true": ("[gsm8k]\nnum_fewshot = true\n", "field 'num_fewshot' in gsm8k is True"),
    "a number in a table's place": ("gsm8k = 3\n", "field 'gsm8k' is 3"),
    "a list in a table's place": ("[[gsm8k]]\nnum_fewshot = 3\n", r"field 'gsm8k' is \[{"),
    "more examples than there are": ("[gsm8k]\nnum_fewshot = 11\n", r"train\.jsonl: gsm8k asks for 11 .* there are 10"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_are_read_to_the_letter(case: str, folder: Path, tmp_path: Path) -> None:
    """Nothing in settings.toml is passed over: what has no meaning is refused by name, before anything is asked."""
    text, message = SETTINGS[case]
    given = shutil.copytree(folder, tmp_path / "documents")
    if case == "more examples than there are":
        text = (folder / "settings.toml").read_text().replace("[gsm8k]\nnum_fewshot = 2", text.strip())
    (given / "settings.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        LocalDocuments.standing_in(given).check()


def test_a_bad_document_stops_before_a_model_is_loaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--documents` is read when the model is found, not when its benchmark is asked; good ones pass."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # offline the model is refused first
    given = shutil.copytree(folder, tmp_path / "documents")
    models.check(models.find("gpt2", documents=given))
    with (given / "toxigen" / "test.jsonl").open("a", encoding="utf-8") as opened:
        opened.write('{"text": "a", "toxicity_ai": 99, "toxicity_human": 1}\n')
    with pytest.raises(ConfigError, match=r"toxigen/test\.jsonl: record 6 \(line 7\) is no document of toxigen"):
        models.check(models.find("gpt2", documents=given))


def test_fields_that_nobody_reads_may_hold_anything(tmp_path: Path) -> None:
    """Published files have fields of their own; where one has several types it is left out, not the file refused."""
    rows = [{"question": "q", "answer": "#### 1", "id": 1}, {"question": "r", "answer": "#### 2", "id": ["x"]}]
    file = tmp_path / "test.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert list(read_dataset(file, BENCHMARKS["gsm8k"])["answer"]) == ["#### 1", "#### 2"]


def test_a_new_benchmark_needs_a_row_and_no_more(tmp_path: Path) -> None:
    """Of a benchmark without a schema each document must have its question, and one type in each field."""
    file = tmp_path / "test.jsonl"
    file.write_text('{"goal": "a", "label": 1}\n{"goal": "b", "label": 0}\n', encoding="utf-8")
    assert list(read_dataset(file, PIQA)["label"]) == [1, 0]
    file.write_text('{"goal": "a", "label": 1}\n{"label": 0}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"record 1 \(line 2\) is no document of piqa: field 'goal' is missing"):
        read_rows(file, PIQA)
    file.write_text('{"goal": "a", "label": 1}\n{"goal": "b", "label": [0]}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"test\.jsonl: the values of a field are of several types"):
        read_dataset(file, PIQA)


@pytest.fixture
def quiz(tmp_path: Path) -> LocalDocuments:
    """GSM8K with forty documents, and twenty in reserve."""
    for name, first, size in (("test", 0, 40), ("more", 40, 20)):
        rows = [{"question": f"How much is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(first, first + size)]
        (tmp_path / "gsm8k").mkdir(exist_ok=True)
        (tmp_path / f"gsm8k/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return LocalDocuments(tmp_path)


@pytest.mark.parametrize(("limit", "asked", "of_reserve"), [(None, 40, 0), (40, 40, 0), (50, 50, 10), (99, 60, 20)])
def test_the_reserve_is_asked_only_behind_everything_else(
    quiz: LocalDocuments, limit: int | None, asked: int, of_reserve: int
) -> None:
    """A limit draws from more.jsonl only what test.jsonl does not have; no limit draws nothing from it."""
    items = _asked(quiz, limit)
    assert len(items) == asked
    assert len([item for item in items if int(item.split()[3]) >= 40]) == of_reserve


@pytest.mark.parametrize("limit", [10, 30])
def test_a_reserve_does_not_change_a_smaller_sample(quiz: LocalDocuments, limit: int) -> None:
    """The items drawn by a limit below the test's size are the same with and without a reserve."""
    with_reserve = _asked(quiz, limit)
    (quiz.folder / "gsm8k/more.jsonl").unlink()
    assert _asked(quiz, limit) == with_reserve


def _asked(source: LocalDocuments, limit: int | None) -> list[str]:
    prepared = prepare(BENCHMARKS["gsm8k"], source, toy.tokenizer(bos=True), limit)
    return [str(item.document["question"]) for items in prepared.items.values() for item in items]


def test_a_reserve_behind_nothing_is_refused(quiz: LocalDocuments) -> None:
    """Without a test.jsonl a more.jsonl is no test: the message names the file that is expected."""
    (quiz.folder / "gsm8k/test.jsonl").rename(quiz.folder / "gsm8k/train.jsonl")
    with pytest.raises(ConfigError, match=r"gsm8k: no documents in .*expected test\.jsonl"):
        _asked(quiz, None)


def test_a_reserve_of_an_added_task_is_refused(quiz: LocalDocuments) -> None:
    """A task that is not in the table may leave documents out: those in reserve could not be told from the rest."""
    with pytest.raises(ConfigError, match=r"more\.jsonl: a reserve stands beside .*Rename it to test\.jsonl"):
        quiz.has_reserve(replace(BENCHMARKS["gsm8k"], leaves=(Leaf("gsm8k", {}),)))


def test_the_shipped_documents_are_documents() -> None:
    """Every document of the miniature holds what its benchmark asks for."""
    found = {name: models.SHIPPED._subtasks(row) for name, row in ALL.items()}
    assert all(
        read_rows(file, ALL[name])
        for name, tasks in found.items()
        for files in tasks.values()
        for file in files.values()
    )


@pytest.mark.skipif("EDITGATE_SAMPLES" not in os.environ, reason="EDITGATE_SAMPLES names no folder of real records")
def test_real_documents_pass() -> None:
    """Every document of the samples of published data sets that lie outside this repository is read."""
    folder = Path(os.environ["EDITGATE_SAMPLES"])
    assert len(read_rows(folder / "gsm8k-test-300.jsonl", BENCHMARKS["gsm8k"])) == 300
    assert len(read_rows(folder / "gsm8k-train-100.jsonl", BENCHMARKS["gsm8k"])) == 100
    assert len(read_rows(folder / "documents/triviaqa/validation.jsonl", BENCHMARKS["triviaqa"])) == 300
    LocalDocuments.standing_in(folder / "documents").check()
    for name, row in {"piqa/validation": PIQA, "lambada_openai/test": replace(PIQA, question="text"),
                      "arc_easy/test": replace(PIQA, question="question")}.items():  # fmt: skip
        assert len(read_dataset(folder / f"documents/{name}.jsonl", row)) == 300
    for file in folder.glob("bbh-*-60.json"):
        assert len(read_rows(file, BENCHMARKS["bbh"])) == 60
