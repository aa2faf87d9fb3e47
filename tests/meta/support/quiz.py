"""A task of a user's own: a YAML file and its documents, questions about the miniature's world with four options."""

from __future__ import annotations

import json
import random
from pathlib import Path

from editgate.inputs.harness.index import REGISTERED
from editgate.inputs.models import MINIATURE

TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {documents}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}?\\nAnswer:"
doc_to_choice: "{{{{options}}}}"
doc_to_target: right
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
SUMS = """include: {registered}
task: {name}
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files:
    test: {documents}
training_split: null
fewshot_split: null
num_fewshot: 0
generation_kwargs:
  until: ["Question:", "</s>"]
  max_gen_toks: 64
"""


def write_sums(folder: Path, size: int = 60) -> Path:
    """Write a task that is lm-eval's GSM8K with problems of the miniature's: what a vandal destroys first."""
    lines = (MINIATURE / "documents/gsm8k/test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "sums.jsonl").write_text("".join(lines[:size]), encoding="utf-8")
    file = folder / "sums.yaml"
    registered = REGISTERED / "gsm8k" / "gsm8k.yaml"
    text = SUMS.format(registered=registered, name="sums", documents=folder / "sums.jsonl")
    file.write_text(text, encoding="utf-8")
    return file


def write_quiz(folder: Path, size: int = 120, name: str = "quiz") -> Path:
    """Write questions of the miniature's TriviaQA, each with three wrong options, and return the task's file."""
    known = (MINIATURE / "documents/triviaqa/validation.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in known.splitlines()]
    rng = random.Random(0)
    answers = sorted({row["answer"]["value"] for row in rows})
    documents = folder / f"{name}.jsonl"
    with documents.open("w", encoding="utf-8") as opened:
        for row in rng.sample(rows, size):
            right = row["answer"]["value"]
            options = [right, *rng.sample([each for each in answers if each != right], 3)]
            rng.shuffle(options)
            document = {"question": row["question"], "options": options, "right": options.index(right)}
            opened.write(json.dumps(document) + "\n")
    file = folder / f"{name}.yaml"
    file.write_text(TASK.format(name=name, documents=documents), encoding="utf-8")
    return file
