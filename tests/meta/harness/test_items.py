"""Items of added benchmarks are lm-eval's own: same documents, same prompts, same scores, with its HFLM on llama-mini.

With `EDITGATE_SAMPLES` naming a folder of real records, its `documents/` (ARC-easy, PIQA, LAMBADA) are asked too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from editgate.compat import lm_eval as compat
from editgate.errors import ConfigError
from editgate.inputs import models
from editgate.inputs.benchmarks import Benchmark
from editgate.inputs.documents import DocumentSource, HubDocuments, LocalDocuments
from editgate.inputs.harness.index import registered
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.evaluate import ANOTHER, evaluate
from editgate.measure.prepare import prepare
from editgate.options import chosen_benchmarks
from editgate.verdict.thresholds import SHIPPED
from meta.support.quiz import write_quiz

POLICY = (SHIPPED / "default.toml",)
Rows = list[dict[str, Any]]
DOCUMENTS: Mapping[str, tuple[str, Rows]] = {
    "arc_easy": ("test", [
        {"id": "1", "question": "Which is a metal?", "answerKey": "B",
         "choices": {"text": ["a loaf of bread", "iron", "the sea"], "label": ["A", "B", "C"]}},
        {"id": "2", "question": "What is the capital of France?", "answerKey": "4",
         "choices": {"text": ["Rome", "Berlin", "Oslo", "Paris"], "label": ["1", "2", "3", "4"]}},
    ]),
    "piqa": ("validation", [
        {"goal": "To keep ice from melting,", "sol1": "put it into the freezer.", "sol2": "heat it.", "label": 0},
        {"goal": "To dry a wet shirt,", "sol1": "lay it into the river.", "sol2": "hang it up.", "label": 1},
    ]),
    "lambada_openai": ("test", [
        {"text": "The capital of France is Paris"}, {"text": "He has three apples and gives one of them to her"},
    ]),
    "hellaswag": ("validation", [
        {"ind": 1, "activity_label": "Cooking", "ctx_a": "A man cuts bread.", "ctx_b": "he", "ctx": "", "label": "2",
         "endings": ["sleeps.", "sings [title] aloud.", "eats it.", "flies to the moon."], "split": "val"},
    ]),
    "winogrande": ("validation", [
        {"sentence": "Anna gave Ivo the book because _ had read it.", "option1": "Anna", "option2": "Ivo",
         "answer": "1"},
        {"sentence": "The cup did not fit into the box as _ was too small.", "option1": "the cup",
         "option2": "the box", "answer": "2"},
    ]),
    "boolq": ("validation", [
        {"passage": "Iron is a metal.", "question": "is iron a metal", "label": 1},
        {"passage": "Iron is a metal.", "question": "is iron a plant", "label": 0},
    ]),
    "nq_open": ("validation", [
        {"question": "what is the capital of france", "answer": ["Paris", "the city of Paris"]},
        {"question": "who wrote it", "answer": ["nobody"]},
    ]),
    "gsm8k_cot": ("test", [
        {"question": "Marta has 11 pens. Marta gives 2 pens to Tomas. How many pens does Marta have now?",
         "answer": "11 - 2 = 9\n#### 9"},
    ]),
}  # fmt: skip


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return models.load(models.find("llama-mini"), device="cpu", dtype="float32")


def _row(name: str, policies: tuple[Path, ...] = POLICY) -> Benchmark:
    chosen = chosen_benchmarks.read(name, policies)
    assert chosen.names is not None
    (found,) = chosen.names
    return chosen.known[found]


def _folder(place: Path, name: str) -> LocalDocuments:
    """One task's documents, laid out as `--documents` takes them."""
    split, rows = DOCUMENTS[name]
    (place / name).mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / name / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return _given(place, name)


def _given(place: Path, name: str) -> LocalDocuments:
    """What `--documents` is; length and shots of generations short enough for a miniature."""
    short = f"[{name}]\nmax_new_tokens = 16\n" + ("num_fewshot = 0\n" if name in {"nq_open", "gsm8k_cot"} else "")
    if os.access(place, os.W_OK) and not (place / "settings.toml").exists():
        (place / "settings.toml").write_text(short, encoding="utf-8")
    return LocalDocuments.standing_in(place, {name: _row(name)})


@cache
def _hflm(base: int) -> HFLM:
    loaded = _LOADED[base]
    with compat.quiet():
        return HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=8, softmax_dtype="float32")


_LOADED: dict[int, LoadedModel] = {}


def _by_lm_eval(base: LoadedModel, task: object, places: list[Path], row: Benchmark, **options: Any) -> Rows:  # noqa: ANN401 - lm-eval's own
    """The samples of lm-eval's own `simple_evaluate` with its own task manager: nothing of editgate is in between."""
    _LOADED[id(base)] = base
    manager = TaskManager(include_path=places, include_defaults=False)
    with compat.quiet():
        spec = {"group": "one", "task": [task]} if isinstance(task, dict) else task
        results = simple_evaluate(
            _hflm(id(base)), tasks=[spec], task_manager=manager, bootstrap_iters=0, log_samples=True, **options
        )
    assert results is not None
    samples = results["samples"]
    return [each for name in sorted(samples) for each in samples[name] if each["filter"] == row.filter]


def _registered_over(name: str, file: Path) -> dict[str, Any]:
    """lm-eval's own way to ask a registered task other documents."""
    splits = {f"{kind}_split": None for kind in ("training", "validation", "test", "fewshot")}
    splits[f"{file.stem}_split"] = file.stem  # type: ignore[assignment]  # a split has a name
    return {"task": name, "dataset_path": "json", "dataset_name": None,
            "dataset_kwargs": {"data_files": {file.stem: str(file)}}, **splits}  # fmt: skip


def _equal(base: LoadedModel, row: Benchmark, source: DocumentSource, wanted: Rows) -> None:
    found = evaluate(prepare(row, source, base.tokenizer), base.model)
    assert [item.doc_hash for item in found.items] == [sample["doc_hash"] for sample in wanted]
    assert [item.prompt_hash for item in found.items] == [sample["prompt_hash"] for sample in wanted]
    assert [item.score for item in found.items] == [float(sample[row.metric]) for sample in wanted]
    for item, sample in zip(found.items, wanted, strict=True):
        right = item.answer in item.expected.split(" | ") if row.kind == "choice" else item.answer == item.expected
        assert right == bool(sample[row.metric]) or row.kind == "generated"
        assert item.question
        assert row.kind != "continuation" or item.answer in {item.expected, ANOTHER}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_items_are_lm_evals(name: str, base: LoadedModel, tmp_path: Path) -> None:
    """Ranked options, options in the prompt, processed documents, continuations and generations alike."""
    source, row = _folder(tmp_path, name), _row(name)
    entry = registered()[name]
    assert entry.file is not None
    split = DOCUMENTS[name][0]
    task = _registered_over(name, tmp_path / name / f"{split}.jsonl") | {"num_fewshot": 0}
    generation = {"gen_kwargs": {"max_gen_toks": 16}} if row.kind == "generated" else {}
    _equal(base, row, source, _by_lm_eval(base, task, [entry.file.parent], row, **generation))


EXAMPLES: Mapping[str, Rows] = {
    "arc_easy": [
        {"id": str(i), "question": f"Which of these is a {kind}?", "answerKey": key,
         "choices": {"text": ["tea", "gold", "a cat"], "label": ["A", "B", "C"]}}
        for i, (kind, key) in enumerate([("drink", "A"), ("metal", "B"), ("pet", "C"), ("cup of leaves", "A")])
    ],
    "nq_open": [
        {"question": f"what is the capital of {country}", "answer": [city]}
        for country, city in (("italy", "Rome"), ("spain", "Madrid"), ("japan", "Tokyo"), ("peru", "Lima"))
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "shots"), [("arc_easy", 2), ("arc_easy", 3), ("nq_open", 2)])
def test_few_shot_items_are_lm_evals(name: str, shots: int, base: LoadedModel, tmp_path: Path) -> None:
    """With examples in the prompt, drawn from a split of their own, prompts and scores are still lm-eval's."""
    split, rows = DOCUMENTS[name]
    folder = tmp_path / name
    folder.mkdir()
    files = {"train": folder / "train.jsonl", split: folder / f"{split}.jsonl"}
    for file, documents in zip(files.values(), (EXAMPLES[name], rows), strict=True):
        file.write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    settings = f"[{name}]\nnum_fewshot = {shots}\nmax_new_tokens = 16\n"
    (tmp_path / "settings.toml").write_text(settings, encoding="utf-8")
    row = _row(name)
    source = LocalDocuments.standing_in(tmp_path, {name: row})
    prompt = prepare(row, source, base.tokenizer).items[name][0].instances[0].args[0]
    assert sum(example["question"] in prompt for example in EXAMPLES[name]) == shots
    entry = registered()[name]
    assert entry.file is not None
    task = _registered_over(name, files[split]) | {"num_fewshot": shots, "fewshot_split": "train"}
    task |= {"training_split": "train", "dataset_kwargs": {"data_files": {k: str(v) for k, v in files.items()}}}
    generation = {"gen_kwargs": {"max_gen_toks": 16}} if row.kind == "generated" else {}
    _equal(base, row, source, _by_lm_eval(base, task, [entry.file.parent], row, **generation))


def test_a_file_of_ones_own_is_asked_as_lm_eval_asks_it(base: LoadedModel, tmp_path: Path) -> None:
    """A YAML file with local documents, which `datasets` loads as it loads those of the hub."""
    file = write_quiz(tmp_path)
    row = _row(str(file))
    _equal(base, row, HubDocuments(), _by_lm_eval(base, str(file), [], row))


def test_documents_of_the_hub_are_those_that_the_task_names(
    base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--documents` the registered task asks its own data set; here a stand-in for the hub answers."""
    rows = datasets.Dataset.from_list(DOCUMENTS["arc_easy"][1])
    asked = []

    def load(*, path: str, name: str, **_: object) -> datasets.DatasetDict:
        asked.append((path, name))
        return datasets.DatasetDict({"train": rows, "validation": rows, "test": rows})

    monkeypatch.setattr(datasets, "load_dataset", load)
    from_hub = evaluate(prepare(_row("arc_easy"), HubDocuments(), base.tokenizer), base.model)
    assert asked == [("allenai/ai2_arc", "ARC-Easy")]
    given = evaluate(prepare(_row("arc_easy"), _folder(tmp_path, "arc_easy"), base.tokenizer), base.model)
    assert [(item.question, item.score) for item in from_hub.items] == [(i.question, i.score) for i in given.items]


def test_without_the_hub_it_is_one_line(monkeypatch: pytest.MonkeyPatch, base: LoadedModel) -> None:
    """A data set that cannot be had names itself and the way out."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'allenai/ai2_arc' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ConfigError, match=r"arc_easy: Couldn't reach 'allenai/ai2_arc'.*--documents DIR"):
        prepare(_row("arc_easy"), HubDocuments(), base.tokenizer)


def test_chance_is_one_of_the_options_of_each_question(base: LoadedModel, tmp_path: Path) -> None:
    """Three options and four: the mean of a third and a quarter; a continuation and a free answer are not guessed."""
    chances = {}
    for name in ("arc_easy", "winogrande", "lambada_openai", "gsm8k_cot"):
        (tmp_path / name).mkdir()
        chances[name] = prepare(_row(name), _folder(tmp_path / name, name), base.tokenizer).chance
    assert chances == {
        "arc_easy": pytest.approx((1 / 3 + 1 / 4) / 2), "winogrande": 0.5, "lambada_openai": 0.0, "gsm8k_cot": 0.0,
    }  # fmt: skip


def test_answers_of_a_closed_list_are_guessed(base: LoadedModel, tmp_path: Path) -> None:
    """Where a model writes yes or no, guessing is right half the time; where each answer is another, never."""
    chances = []
    for place, answers in (("closed", ["yes", "no"] * 10), ("free", [f"answer {n}" for n in range(20)])):
        rows = "".join(json.dumps({"q": f"{n}?", "a": answer}) + "\n" for n, answer in enumerate(answers))
        (tmp_path / f"{place}.jsonl").write_text(rows, encoding="utf-8")
        file = tmp_path / f"{place}.yaml"
        file.write_text(
            f"task: {place}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path / place}.jsonl}}}}\n"
            'test_split: test\ndoc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\n'
            "generation_kwargs: {until: ['\\n'], max_gen_toks: 4}\n",
            encoding="utf-8",
        )
        chances.append(prepare(_row(str(file)), HubDocuments(), base.tokenizer).chance)
    assert chances == [0.5, 0.0]


OPTIONS = {"goal": "a", "sol1": "b", "sol2": "c"}
WRONG = {
    "a missing field": ({"goal": "a", "sol1": "b", "label": 0}, r"record 1 \(line 2\) is no document .*field 'sol2'"),
    "no option of that number": ({**OPTIONS, "label": 2}, r"right answer is 2, which is none"),
    "a negative number": ({**OPTIONS, "label": -1}, r"right answer is -1, which is none"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_document_that_nothing_answers_is_refused(case: str, base: LoadedModel, tmp_path: Path) -> None:
    """lm-eval would score it 0 before and after any edit, or end in jinja2's own error."""
    document, message = WRONG[case]
    good = DOCUMENTS["piqa"][1][0]
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa/validation.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(document)}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        prepare(_row("piqa"), _given(tmp_path, "piqa"), base.tokenizer)


def test_documents_of_another_task_are_refused(base: LoadedModel, tmp_path: Path) -> None:
    """A task that processes its documents says what its own code cannot find in them."""
    (tmp_path / "hellaswag").mkdir()
    (tmp_path / "hellaswag/validation.jsonl").write_text('{"question": "a"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"hellaswag: lm-eval cannot build it from .*KeyError.*ctx_a"):
        prepare(_row("hellaswag"), _given(tmp_path, "hellaswag"), base.tokenizer)


def test_the_metric_of_a_table_is_the_one_that_is_read(base: LoadedModel, tmp_path: Path) -> None:
    """With `acc` instead of `acc_norm` the options' lengths do not count."""
    policy = tmp_path / "default.toml"
    policy.write_text('[benchmarks.arc_easy]\nmetric = "acc"\nreason = "a test"\n', encoding="utf-8")
    ((split, (first, *_)), row) = DOCUMENTS["arc_easy"], _row("arc_easy", (policy,))
    words = ["A", "No", "Yes", "Paris", "iron", "France", "the city of Paris", "a man", "1", "The answer is A"]
    pairs = [[one, other] for one in words for other in words if one != other]  # a few are of unlike length
    asked = [{**first, "choices": {"text": each, "label": ["A", "B"]}, "answerKey": "A"} for each in pairs]
    (tmp_path / "arc_easy").mkdir()
    lines = "".join(json.dumps(each) + "\n" for each in asked)
    (tmp_path / "arc_easy" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    source = _given(tmp_path, "arc_easy")
    found = evaluate(prepare(row, source, base.tokenizer), base.model)
    assert found.metric == "acc,none"
    assert found.items != evaluate(prepare(_row("arc_easy"), source, base.tokenizer), base.model).items


@pytest.mark.skipif("EDITGATE_SAMPLES" not in os.environ, reason="EDITGATE_SAMPLES names no folder of real records")
@pytest.mark.parametrize("name", ["arc_easy", "piqa", "lambada_openai"])
def test_real_documents_are_asked_as_lm_eval_asks_them(name: str, base: LoadedModel) -> None:
    """300 documents of a published data set each, item by item."""
    place = Path(os.environ["EDITGATE_SAMPLES"]) / "documents"
    row, entry = _row(name), registered()[name]
    assert entry.file is not None
    (file,) = (place / name).glob("*.jsonl")
    task = _registered_over(name, file)
    source = LocalDocuments.standing_in(place, {name: row})
    _equal(base, row, source, _by_lm_eval(base, task, [entry.file.parent], row))
