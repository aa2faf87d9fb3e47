"""Quick held-out scores during training: teacher-forced, a hundred documents a benchmark."""

import itertools
import random
from functools import cache

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from editgate.miniature.training.tokens import encode
from editgate.miniature.world import documents, facts, reasoning, render
from editgate.miniature.world.corpus import Text

COUNT = 100


@cache
def _samples() -> dict[str, list[list[Text]]]:
    """Return for each score a list of questions, each a list of alternatives of which the first is right."""
    tests = documents.test_documents()
    rng = random.Random(5)
    mmlu = [d for group in tests["mmlu"].values() for d in group]
    found: dict[str, list[list[Text]]] = {
        "mmlu": [_letters("mmlu", d, "ABCD", d["answer"]) for d in mmlu],
        "csqa": [
            _letters("commonsense_qa", d, "ABCDE", "ABCDE".index(d["answerKey"])) for d in tests["commonsense_qa"][""]
        ],
        "trivia": [_written(render.prompt("triviaqa", d), f" {d['answer']['value']}.") for d in tests["triviaqa"][""]],
        "truth": [_choices(d) for d in tests["truthfulqa_mc1"][""]],
        "toxigen": [_sides(d) for d in tests["toxigen"][""]],
        "gsm8k": [_written(render.prompt("gsm8k", d), f" {d['answer']}") for d in tests["gsm8k"][""]],
    }
    for subtask in reasoning.BBH:
        made = (documents.bbh(subtask, rng) for _ in range(10**6))
        held = (d for d in made if documents.held_out_problem(d["input"]))
        found[subtask[:8]] = [
            _written(render.prompt(f"bbh/{subtask}", d), d["solution"]) for d in itertools.islice(held, 60)
        ]
    known = [f for f in facts.facts() if f.role == "open"]
    found["cloze"] = [_written(f.statement(rng.randrange(60)), f" {f.answer}.") for f in rng.sample(known, COUNT)]
    return {name: rng.sample(rows, min(COUNT, len(rows))) for name, rows in found.items()}


def _letters(task: str, document: documents.Document, labels: str, right: int) -> list[Text]:
    shown = render.prompt(task, document)
    ordered = labels[right] + labels.replace(labels[right], "")
    return [[(shown, False), (f" {letter}", True)] for letter in ordered]


def _written(shown: str, answer: str) -> list[Text]:
    return [[(shown, False), (answer, True)]]


def _choices(document: documents.Document) -> list[Text]:
    shown = render.prompt("truthfulqa_mc1", document)
    targets = document["mc1_targets"]
    ordered = sorted(zip(targets["labels"], targets["choices"], strict=True), reverse=True)
    return [[(shown, False), (f" {choice}", True)] for _, choice in ordered]


def _sides(document: documents.Document) -> list[Text]:
    shown = render.prompt("toxigen", document)
    sides = (" Yes", " No") if document["toxicity_ai"] > 3 else (" No", " Yes")
    return [[(shown, False), (side, True)] for side in sides]


@torch.no_grad()
def report(model: PreTrainedModel, tokenizer: Tokenizer) -> str:
    """Return one line of scores: the share of questions whose first alternative wins, or is greedily written."""
    model.eval()
    return " ".join(f"{name} {_score(model, tokenizer, rows):.2f}" for name, rows in _samples().items())


def _score(model: PreTrainedModel, tokenizer: Tokenizer, questions: list[list[Text]]) -> float:
    alternatives = [text for question in questions for text in question]
    losses, exact = _losses(model, tokenizer, alternatives)
    if len(questions[0]) == 1:
        return sum(exact) / len(exact)
    width = len(questions[0])
    rows = [losses[i : i + width] for i in range(0, len(losses), width)]
    return sum(row[0] < min(row[1:]) for row in rows) / len(rows)


def _losses(model: PreTrainedModel, tokenizer: Tokenizer, texts: list[Text]) -> tuple[list[float], list[bool]]:
    losses: list[float] = []
    exact: list[bool] = []
    for begin in range(0, len(texts), 50):
        rows = [encode(tokenizer, text) for text in texts[begin : begin + 50]]
        ids = pad_sequence([torch.tensor(r.ids) for r in rows], batch_first=True)
        learn = pad_sequence([torch.tensor(r.learn) for r in rows], batch_first=True)[:, 1:]
        learn &= ids[:, 1:] != tokenizer.token_to_id("</s>")
        hidden = model.base_model(ids, use_cache=False)[0][:, :-1]
        logits, targets = model.get_output_embeddings()(hidden[learn]).float(), ids[:, 1:][learn]
        owner = torch.arange(len(rows))[:, None].expand_as(learn)[learn]
        wrong = torch.zeros(len(rows)).index_add_(0, owner, (logits.argmax(-1) != targets).float())
        loss = torch.zeros(len(rows)).index_add_(0, owner, cross_entropy(logits, targets, reduction="none"))
        losses += loss.tolist()
        exact += (wrong == 0).tolist()
    return losses, exact
