"""Items are lm-eval's items: same questions, same prompts, same scores; and none of lm-eval's traps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.evaluator import evaluate as lm_eval_evaluate
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from editgate.compat import lm_eval as compat
from editgate.errors import IntegrityError, NonFiniteModel
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.documents import LocalDocuments
from editgate.inputs.lm_tasks import load
from editgate.measure.answered import Known
from editgate.measure.evaluate import evaluate
from editgate.measure.items import Evaluation, pair
from editgate.measure.prepare import NO_ANSWER, Prepared, prepare
from meta.support import toy


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> LocalDocuments:
    return LocalDocuments(toy.write_documents(tmp_path_factory.mktemp("documents")))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> LocalDocuments:
    return LocalDocuments(toy.write_documents(tmp_path_factory.mktemp("many"), size=100))


_PREPARED: dict[tuple[str, bool, Path], Prepared] = {}


def _prepared(name: str, source: LocalDocuments, *, bos: bool = True) -> Prepared:
    """Prepared once, as the suite does it."""
    key = (name, bos, source.folder)
    if key not in _PREPARED:
        _PREPARED[key] = prepare(BENCHMARKS[name], source, toy.tokenizer(bos=bos))
    return _PREPARED[key]


@cache
def _hflm(family: str, *, bos: bool) -> HFLM:
    with compat.quiet():
        return HFLM(
            pretrained=toy.model(family), tokenizer=toy.tokenizer(bos=bos), batch_size=8, softmax_dtype="float32"
        )


def _by_lm_eval(name: str, source: LocalDocuments, lm: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any lm-eval model
    """lm-eval's own samples for this row, with the row's filter, in order."""
    row = BENCHMARKS[name]
    with compat.quiet():
        results = lm_eval_evaluate(lm, {"tasks": load(row, source)}, bootstrap_iters=0, log_samples=True)
    samples = results["samples"]
    return [sample for task in sorted(samples) for sample in samples[task] if sample["filter"] == row.filter]


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize(
    ("family", "bos"), [("llama", True), ("llama", False), ("gpt2", True), ("gpt2", False)],
    ids=["llama-bos", "llama", "gpt2-bos", "gpt2"],
)  # fmt: skip
def test_items_are_lm_evals(name: str, family: str, bos: bool, source: LocalDocuments) -> None:  # noqa: FBT001 - a parameter
    """Documents, prompts and scores equal those of lm-eval's evaluator with HFLM, item by item."""
    found = evaluate(_prepared(name, source, bos=bos), toy.model(family))
    wanted = _by_lm_eval(name, source, _hflm(family, bos=bos))
    assert [item.doc_hash for item in found.items] == [sample["doc_hash"] for sample in wanted]
    assert [item.prompt_hash for item in found.items] == [sample["prompt_hash"] for sample in wanted]
    scores = [float(sample[BENCHMARKS[name].metric]) for sample in wanted]
    assert [item.score for item in found.items] == pytest.approx(scores, abs=1e-5)
    if found.kind == "generated":
        assert [item.answer for item in found.items] == [sample["filtered_resps"][0] for sample in wanted]


@pytest.mark.parametrize("name", ["commonsenseqa", "gsm8k", "mmlu"])
def test_few_shot_examples_do_not_drift(name: str, source: LocalDocuments) -> None:
    """Preparing twice gives the same prompts: lm-eval's sampler would draw other examples the second time."""
    first, second = (prepare(BENCHMARKS[name], source, toy.tokenizer(bos=True)) for _ in range(2))
    assert first.digest == second.digest
    assert first.pairs == second.pairs
    assert first.completions == second.completions


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_same_model_gives_the_same_items_again(name: str, source: LocalDocuments) -> None:
    """Nothing is left over from one evaluation to the next, in whatever order models are asked."""
    ready, model = _prepared(name, source), toy.model()
    first = evaluate(ready, model)
    evaluate(ready, toy.model(seed=1))
    assert evaluate(ready, model) == first
    assert len(pair(first, evaluate(ready, toy.model("gpt2")))) == first.n


def test_a_wrapper_gives_the_same_items(source: LocalDocuments) -> None:
    """The way through HFLM ends in the same items as the fast one."""
    for name in ("mmlu", "triviaqa", "truthfulqa"):
        ready, model = _prepared(name, source), toy.model()
        assert evaluate(ready, toy.Wrapper(model)) == evaluate(ready, model)


@pytest.mark.parametrize("name", ["truthfulqa", "toxigen", "gsm8k"])
def test_a_nan_model_is_not_scored(name: str, source: LocalDocuments) -> None:
    """lm-eval gives a model of NaNs 1.00 on truthfulqa_mc1; here it is an error that names the benchmark."""
    model = toy.model()
    with torch.no_grad():
        model.get_parameter("lm_head.weight").fill_(float("nan"))
    with pytest.raises(NonFiniteModel, match=name):
        evaluate(_prepared(name, source), model)


def _indifferent() -> PreTrainedModel:
    """All logits are 0: every option is as likely as any other of its length, and argmax takes the first."""
    model = toy.model()
    with torch.no_grad():
        model.get_parameter("lm_head.weight").zero_()
    return model


def test_always_the_first_option_scores_chance(many: LocalDocuments) -> None:
    """Who takes the first option wherever options tie is right by luck only, on TruthfulQA too."""
    ready = _prepared("truthfulqa", many)
    always_first = [
        question.outline.expected == question.choices[0] for questions in ready.items.values() for question in questions
    ]
    assert sum(always_first) / len(always_first) == pytest.approx(ready.chance, abs=0.12)
    indifferent = evaluate(_prepared("toxigen", many), _indifferent())
    assert indifferent.label_distribution == {"No": 1.0}


def test_mc2_survives_probabilities_that_underflow(source: LocalDocuments) -> None:
    """With all options below exp(-745) lm-eval's own formula is 0/0; shifted, it is a share again."""
    model = toy.model()
    with torch.no_grad():
        model.get_parameter("lm_head.weight").mul_(1000)
    evaluation = evaluate(_prepared("truthfulqa_mc2", source), model)
    assert all(0 <= item.score <= 1 for item in evaluation.items)


class _Meddler(toy.Wrapper):
    """A wrapper whose forward pass changes the weights, as a forgotten hook may."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - handed through
        with torch.no_grad():
            self.model.get_parameter("model.embed_tokens.weight")[7].add_(1)
        return super().__call__(*args, **kwargs)


def test_evaluating_must_not_change_the_model(source: LocalDocuments) -> None:
    """A forward pass that writes into a parameter is an error that names the parameter."""
    with pytest.raises(IntegrityError, match=r"toxigen: evaluating changed .*embed_tokens"):
        evaluate(_prepared("toxigen", source), _Meddler(toy.model()))


def test_a_sample_is_even_and_nested(many: LocalDocuments) -> None:
    """A limit keeps the proportions of subjects and right answers, and a smaller sample is part of a larger."""

    def asked(limit: int) -> tuple[set[tuple[str, str]], Counter[str], Counter[str]]:
        ready = prepare(BENCHMARKS["mmlu"], many, toy.tokenizer(bos=True), limit)
        outlines = [item.outline for group in ready.items.values() for item in group]
        keys = {(outline.task, outline.doc_hash) for outline in outlines}
        return keys, Counter(o.task for o in outlines), Counter(o.expected for o in outlines)

    small, large = asked(20), asked(40)
    assert (len(small[0]), len(large[0])) == (20, 40)
    assert small[0] < large[0]
    assert set(large[1].values()) <= {19, 20, 21}
    assert max(large[2].values()) - min(large[2].values()) <= 6
    assert small[0] == asked(20)[0]


@pytest.mark.parametrize(
    ("name", "file", "field", "value"),
    [
        ("mmlu", "mmlu/anatomy/test.jsonl", "answer", lambda old: (old + 1) % 4),
        ("bbh", "bbh/object_counting/test.jsonl", "target", lambda old: f"{old}1"),
        ("gsm8k", "gsm8k/test.jsonl", "answer", lambda old: f"{old}1"),
        ("commonsenseqa", "commonsense_qa/validation.jsonl", "answerKey", lambda old: "B" if old == "A" else "A"),
        ("triviaqa", "triviaqa/validation.jsonl", "answer", lambda old: {**old, "aliases": ["other"]}),
        ("truthfulqa_mc2", "truthfulqa_mc1/validation.jsonl", "mc2_targets",
         lambda old: {**old, "labels": old["labels"][::-1]}),
        ("toxigen", "toxigen/test.jsonl", "toxicity_human", lambda old: 6.0 - old),
    ],
)  # fmt: skip
def test_another_right_answer_is_another_question(
    name: str, file: str, field: str, value: Callable[[Any], Any], tmp_path: Path
) -> None:
    """A key that was corrected in the documents shows in no prompt; what was scored by the old one is asked again."""
    source = LocalDocuments(toy.write_documents(tmp_path))
    before = prepare(BENCHMARKS[name], source, toy.tokenizer(bos=True)).digest
    rows = [json.loads(line) for line in (tmp_path / file).read_text().splitlines()]
    rows[0][field] = value(rows[0][field])
    (tmp_path / file).write_text("\n".join(map(json.dumps, rows)))
    assert prepare(BENCHMARKS[name], source, toy.tokenizer(bos=True)).digest != before


def test_another_setting_is_another_question(tmp_path: Path) -> None:
    """One changed setting of the folder changes the digest of that benchmark and of no other."""
    source = LocalDocuments(toy.write_documents(tmp_path))

    def digests() -> dict[str, str]:
        return {name: prepare(row, source, toy.tokenizer(bos=True)).digest for name, row in BENCHMARKS.items()}

    before, settings = digests(), tmp_path / "settings.toml"
    settings.write_text(settings.read_text().replace("max_new_tokens = 8", "max_new_tokens = 9"))
    after = digests()
    assert {name for name in before if after[name] != before[name]} == {"triviaqa"}


def test_a_limit_beyond_all_asks_all(source: LocalDocuments) -> None:
    """A limit larger than the benchmark is the benchmark, prompts included."""
    row, tokenizer = BENCHMARKS["commonsenseqa"], toy.tokenizer(bos=True)
    assert prepare(row, source, tokenizer, 10_000).digest == prepare(row, source, tokenizer).digest


def test_what_cannot_be_read_is_counted(source: LocalDocuments) -> None:
    """Generations in which the filter finds nothing, and empty ones, are counted; the target is shown as read."""
    found = evaluate(_prepared("gsm8k", source), toy.model())
    assert found.parse_failures == sum(item.answer == NO_ANSWER for item in found.items) == found.n
    assert all(item.expected.isdigit() for item in found.items)
    assert evaluate(_prepared("triviaqa", source), _indifferent()).empty == found.n


def test_items_say_what_was_asked_and_answered(source: LocalDocuments) -> None:
    """Letters for lettered benchmarks, the option's text and place for TruthfulQA, metric and chance from the row."""
    mmlu, truth = (evaluate(_prepared(name, source), toy.model()) for name in ("mmlu", "truthfulqa"))
    assert {item.task for item in mmlu.items} == {"mmlu_anatomy", "mmlu_toy_colors"}
    assert all({item.answer, item.label, item.expected} <= set("ABCD") for item in mmlu.items)
    assert all(item.label.startswith("option ") and " " in item.answer for item in truth.items)
    assert all((item.score == 1) == (item.answer == item.expected) for item in (*mmlu.items, *truth.items))
    assert (mmlu.metric, mmlu.chance, mmlu.kind) == ("acc,none", 0.25, "choice")
    assert Evaluation.from_json(mmlu.to_json()) == mmlu


def test_what_was_asked_already_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TruthfulQA's two metrics get the same answers, bit by bit, whichever of them asks first or alone."""
    source = LocalDocuments(toy.write_documents(tmp_path))
    one, two = (prepare(BENCHMARKS[name], source, toy.tokenizer(bos=True)) for name in ("truthfulqa", "truthfulqa_mc2"))
    model = toy.model()
    alone = evaluate(two, model, siblings=[one])
    known: Known = {}
    first = evaluate(one, model, known=known, siblings=[two])
    with monkeypatch.context() as patch:
        patch.setattr(SharedPrefixBackend, "score", pytest.fail)
        again = evaluate(two, model, known=known, siblings=[one])
    assert again == alone
    assert first == evaluate(one, model, siblings=[two])
    wanted = [item.score for item in evaluate(two, model).items]
    assert [item.score for item in again.items] == pytest.approx(wanted, abs=1e-5)
