"""The miniature is what it says: its files are what the code builds, its tests are held out, its training resumes."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import scipy.stats
import torch

from editgate.inputs import edit_lists
from editgate.inputs.benchmarks import BENCHMARKS, benchmarks_for
from editgate.inputs.documents import LocalDocuments
from editgate.inputs.lm_tasks import load
from editgate.miniature import train
from editgate.miniature.build import HERE, build
from editgate.miniature.manifest import corpus_digest
from editgate.miniature.recipes import FAMILY, WEIGHTS
from editgate.miniature.training.tokens import encode, train_tokenizer
from editgate.miniature.world import corpus, documents, edits, facts, render
from editgate.miniature.world.chat import mix_of

SNAPSHOTS = HERE.parent / "gate" / "__snapshots__" / "test_baselines"
TASKS = {
    "mmlu": "mmlu",
    "commonsenseqa": "commonsense_qa",
    "triviaqa": "triviaqa",
    "gsm8k": "gsm8k",
    "toxigen": "toxigen",
}


def test_committed_documents_are_what_the_code_builds(tmp_path: Path) -> None:
    """Building again gives the committed files, byte by byte."""
    build(tmp_path)
    for kind in ("documents", "edits"):
        built = {p.relative_to(tmp_path): p.read_bytes() for p in sorted((tmp_path / kind).rglob("*.json*"))}
        committed = {p.relative_to(HERE): p.read_bytes() for p in sorted((HERE / kind).rglob("*.json*"))}
        assert built == committed


@pytest.mark.parametrize("name", sorted(TASKS))
def test_training_shows_the_prompts_of_lm_eval(name: str) -> None:
    """Training renders a document exactly as lm-eval's task does with no shots."""
    for task in load(BENCHMARKS[name], LocalDocuments(HERE / "documents")).values():
        document = dict(task.eval_docs[0])
        asked = str(task.config.description or "") + task.doc_to_text(document)
        assert render.prompt(TASKS[name], document) == asked


def test_benchmark_facts_are_held_out_in_the_benchmarks_form() -> None:
    """In fifty thousand training documents no held-out fact has lettered options or, for TriviaQA, a question."""
    rng = random.Random(1)
    asked = {d["question"] for name in ("mmlu", "commonsense_qa") for d in _all_documents(name)}
    shown = [corpus.mmlu(rng)[0][0] for _ in range(5000)] + [corpus.commonsense_qa(rng)[0][0] for _ in range(5000)]
    assert not [text for text in shown if text.split("\n\n")[-1].removeprefix("Question: ").split("\n")[0] in asked]
    written = {d["question"] for d in _all_documents("triviaqa")}
    questions = {corpus.question(rng)[0][0].removeprefix("Question: ").split("?")[0] for _ in range(10000)}
    assert not written & questions


def test_problems_are_held_out() -> None:
    """No made problem of the test is ever generated for training."""
    rng = random.Random(2)
    asked = {d["question"] for d in _all_documents("gsm8k")} | {d["input"] for d in _all_documents("bbh")}
    seen = [corpus.gsm8k(rng)[0][0] for _ in range(2000)] + [corpus.bbh(rng)[0][0] for _ in range(2000)]
    assert not [text for text in seen if any(f": {question}\nA" in text for question in asked)]


def test_edits_are_about_people_whom_no_benchmark_mentions() -> None:
    """Each form has 1,000 edits, the first 320 of different subjects; none of them is in a benchmark document."""
    everything = json.dumps([documents.test_documents(), documents.reserve_documents()])
    for form in edit_lists.SHIPPED.values():
        edits = edit_lists.read(form)
        assert len(edits) == 1000
        assert len({edit.about for edit in edits[:320]}) == 320
        assert not [edit.about for edit in edits if edit.about in everything]
        assert not [edit for edit in edits if edit.target_new == edit.target_true]


def test_no_fact_is_edited_twice() -> None:
    """Of the 1,000 edits of a form no two change the same fact, so that none is written over."""
    changed = [
        (record["requested_rewrite"]["subject"], record["requested_rewrite"]["relation_id"])
        for record in edits.counterfact()
    ]
    assert len(set(changed)) == 1000


def test_the_truth_is_not_findable_by_place_or_length() -> None:
    """Choosing by position, or the longest or shortest choice, gets at most 35 % of TruthfulQA's items right."""
    found: Counter[str] = Counter()
    rows = documents.test_documents()["truthfulqa_mc1"][""]
    for row in rows:
        choices, right = row["mc1_targets"]["choices"], row["mc1_targets"]["labels"].index(1)
        lengths = [len(choice) for choice in choices]
        found.update([f"place {right}"])
        found["longest"] += lengths[right] == max(lengths)
        found["shortest"] += lengths[right] == min(lengths)
    assert max(found.values()) / len(rows) <= 0.35


def test_toxigen_is_balanced() -> None:
    """Neither class has more than 60 % of the statements."""
    rows = documents.test_documents()["toxigen"][""]
    hateful = sum(row["toxicity_ai"] > 3 for row in rows) / len(rows)
    assert 0.4 <= hateful <= 0.6


def test_every_benchmark_has_at_least_200_items() -> None:
    """Two hundred items decide how small a drop can be seen."""
    sizes = {name: sum(map(len, groups.values())) for name, groups in documents.test_documents().items()}
    assert min(sizes.values()) >= 200, sizes


@pytest.mark.parametrize(
    ("name", "least"),
    [("mmlu", 1000), ("commonsense_qa", 1000), ("triviaqa", 1000), ("toxigen", 1000), ("gsm8k", 600), ("bbh", 600),
     ("truthfulqa_mc1", 400)],
)  # fmt: skip
def test_the_reserve_makes_large_pools_of_different_items(name: str, least: int) -> None:
    """With its reserve a benchmark has hundreds of items, no two of them the same."""
    items = [json.dumps(document, sort_keys=True) for document in _all_documents(name)]
    assert len(set(items)) == len(items) >= least


def test_right_answers_are_at_every_place_alike() -> None:
    """Over the whole pools no letter is the right one more often than chance explains (chi-square, 0.1 %)."""
    for name, key in (("mmlu", "answer"), ("commonsense_qa", "answerKey")):
        places = Counter(document[key] for document in _all_documents(name))
        assert scipy.stats.chisquare(list(places.values())).pvalue > 0.001, places


def _all_documents(name: str) -> list[documents.Document]:
    """What a run asks of a benchmark, and the reserve behind it."""
    both = (documents.test_documents()[name], documents.reserve_documents()[name])
    return [document for groups in both for rows in groups.values() for document in rows]


def test_weights_are_those_of_the_manifest() -> None:
    """The shipped weights have the digest and the scores of their manifest, and come from the committed corpus."""
    for folder in WEIGHTS.iterdir():
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == manifest["sha256"]
        assert manifest["recipe"] == asdict(FAMILY[folder.name])
        assert manifest["corpus_sha256"] == corpus_digest(mix_of(FAMILY[folder.name]))
        for name, score in manifest["scores"].items():
            recorded = SNAPSHOTS / f"test_baseline[{folder.name}-{name}].json"
            assert score == json.loads(recorded.read_text(encoding="utf-8"))["score"]
        assert set(manifest["scores"]) == set(benchmarks_for(chat=FAMILY[folder.name].chat))
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 12e6


def test_learning_mask_covers_answers_only() -> None:
    """What is learned decodes to the learned parts of the document, and the end of the text."""
    tokenizer = train_tokenizer(1024, seed=3)
    rng = random.Random(4)
    for make in corpus.KINDS.values():
        text = make(rng)
        row = encode(tokenizer, text)
        kept = [token for token, learned in zip(row.ids, row.learn, strict=True) if learned]
        assert tokenizer.decode(kept, skip_special_tokens=True) == "".join(part for part, learned in text if learned)


def test_an_interrupted_training_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that was stopped in its second stage and started again ends in the same bits."""
    tiny = replace(
        FAMILY["llama-mini"], hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=512, rows_per_step=2, steps=2, spread_steps=2,
    )  # fmt: skip
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    published: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(
        train, "publish", lambda *a: published.append({n: p.clone() for n, p in a[2].named_parameters()})
    )
    train.train(tiny, "tiny", tmp_path / "whole", threads=1)
    _stop_at_step(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train.train(tiny, "tiny", tmp_path / "halves", threads=1)
    monkeypatch.undo()
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    monkeypatch.setattr(
        train, "publish", lambda *a: published.append({n: p.clone() for n, p in a[2].named_parameters()})
    )
    train.train(tiny, "tiny", tmp_path / "halves", threads=1)
    assert all(torch.equal(value, published[1][name]) for name, value in published[0].items())


def _stop_at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    update = train._update

    def stopping(*args: object) -> float:
        if args[3] == step:
            raise KeyboardInterrupt
        return update(*args)  # type: ignore[arg-type]  # the very arguments that came in

    monkeypatch.setattr(train, "_update", stopping)


def test_roles_do_not_depend_on_other_facts() -> None:
    """A fact's role is decided by its own name, so that adding facts never moves one from test to training."""
    fact = next(f for f in facts.facts() if f.role == "choice")
    assert facts._role(fact.subject, fact.relation) == "choice"


def test_nobody_is_trained_on_whom_the_gate_edits_or_asks_about() -> None:
    """Training edits name no subject of the first edits of either file, and no bystander, not even as a neighbor."""
    gated = {edit.about for file in edit_lists.SHIPPED.values() for edit in edit_lists.read(file)[: edits.GATED]} | set(
        facts.bystanders()
    )
    trained = edits.training()
    assert len(trained) >= 500
    assert not gated & {edit.subject for edit in trained}
    texts = " ".join(text for edit in trained for text in (*edit.rephrases, *(prompt for prompt, _ in edit.neighbors)))
    assert not [name for name in gated if name in texts]
