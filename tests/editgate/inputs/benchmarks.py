"""The benchmarks, one row each: which lm-eval task, how many examples, which metric, what guessing scores.

Adding a benchmark means adding one row to `BENCHMARKS`. Prompt, metric and filter stay lm-eval's own; the row
only says which of them is read. Shots are those of the paper (Li et al., NeurIPS 2024, table 6).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from editgate.errors import ConfigError

EXAMPLES = ("dev", "train")  # splits of documents that hold few-shot examples, never test items
RESERVE = "more"  # the split of documents behind those of the test
Document = Mapping[str, Any]
Area = Literal["capability", "safety"]
Kind = Literal["choice", "generated", "continuation", "probe"]


def one_of_the_choices(document: Document, choices: Sequence[str]) -> float:  # noqa: ARG001 - one signature
    """1/k for a question with k options."""
    return 1 / len(choices)


def nothing_to_guess(document: Document, choices: Sequence[str]) -> float:  # noqa: ARG001 - one signature
    """0: a free answer is not hit by luck."""
    return 0.0


def truth_among_the_choices(document: Document, choices: Sequence[str]) -> float:  # noqa: ARG001 - one signature
    """The probability mass that a uniform distribution over TruthfulQA's mc2 options puts on true ones."""
    labels = document["mc2_targets"]["labels"]
    return float(sum(labels)) / len(labels)


def answer_of_a_closed_kind(document: Document, choices: Sequence[str]) -> float:  # noqa: ARG001 - one signature
    """BBH: 1/k where the input lists k lettered options, 1/2 for yes-or-no subtasks, 0 for free answers."""
    lettered = re.findall(r"^\([A-Z]\)", document["input"], flags=re.MULTILINE)
    if lettered:
        return 1 / len(lettered)
    return 0.5 if document["target"].casefold() in {"true", "false", "yes", "no", "valid", "invalid"} else 0.0


def one_of_the_answers(document: Document, choices: Sequence[str]) -> float:  # noqa: ARG001 - one signature
    """0, as of `nothing_to_guess`, until all right answers are known: where they are few, one of them is guessed."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Leaf:
    """One task of lm-eval that a benchmark from outside of the table asks.

    Attributes:
        task: its name.
        config: all that its file and its group say, as lm-eval's task factory would have it; functions are imported.
    """

    task: str
    config: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One row of the table, or one benchmark that `--benchmarks` adds to it.

    Attributes:
        name: what the suite calls it.
        title: what people call it.
        task: lm-eval's name of the task or group.
        folder: where lm-eval keeps that task, below `lm_eval/tasks`.
        num_fewshot: few-shot examples in the prompt, as in the paper.
        metric: the key in lm-eval's result of one document.
        filter: the lm-eval filter whose outcome counts ("none" is lm-eval's own name for the default).
        area: what a drop would mean.
        question: the field of a document that a person would recognize it by; empty: the prompt's own text.
        chance: what guessing scores on one document, given its options.
        kind: "choice" where options are ranked, "generated" where the model writes, "continuation" where it is asked
            whether it would write the one right text, "probe" where nothing is right or wrong.
        max_new_tokens: tokens after which a generation ends. A collapsed model never stops by itself.
        documents: the folder of its local documents; lm-eval's name of the task unless said otherwise.
        subtasks: the lm-eval task of a subfolder of local documents, "{}" standing for its name.
        chat: for chat models only, in a turn of their own template.
        leaves: the lm-eval tasks of a benchmark that is not in the table.
        definition: a digest of these.
        texts: what a probe reads.
    """

    name: str
    title: str
    task: str
    folder: str
    num_fewshot: int
    metric: str
    area: Area
    question: str
    chance: Callable[[Document, Sequence[str]], float] = one_of_the_choices
    filter: str = "none"
    kind: Kind = "choice"
    max_new_tokens: int = 0
    documents: str = ""
    subtasks: str = ""
    chat: bool = False
    leaves: tuple[Leaf, ...] = ()
    definition: str = ""
    texts: tuple[str, ...] = field(default=(), repr=False)

    @property
    def added(self) -> bool:
        """Whether it is not in the table: `--benchmarks` named it."""
        return bool(self.leaves) or self.probe

    @property
    def probe(self) -> bool:
        """Whether it is no task of lm-eval: perplexity of a text, or how far the model is from the unedited one."""
        return self.kind == "probe"

    @property
    def documents_folder(self) -> str:
        """Name of the folder that holds local documents."""
        return self.documents or self.task

    @property
    def metric_key(self) -> str:
        """lm-eval's spelling, such as "exact_match,strict-match"."""
        return f"{self.metric},{self.filter}"


BENCHMARKS: Mapping[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark(
            "mmlu", "MMLU", "mmlu", "mmlu/default", 5, "acc", "capability", "question", subtasks="mmlu_{}"
        ),
        Benchmark(
            "bbh", "BBH", "bbh", "bbh/cot_fewshot", 3, "exact_match", "capability", "input",
            chance=answer_of_a_closed_kind, filter="get-answer", kind="generated", max_new_tokens=512,
            subtasks="bbh_cot_fewshot_{}",
        ),
        Benchmark(
            "gsm8k", "GSM8K", "gsm8k", "gsm8k", 8, "exact_match", "capability", "question",
            chance=nothing_to_guess, filter="strict-match", kind="generated", max_new_tokens=256,
        ),
        Benchmark(
            "commonsenseqa", "CommonsenseQA", "commonsense_qa", "commonsense_qa", 7, "acc", "capability",
            "question",
        ),
        Benchmark(
            "triviaqa", "TriviaQA", "triviaqa", "triviaqa", 0, "exact_match", "capability", "question",
            chance=nothing_to_guess, filter="remove_whitespace", kind="generated", max_new_tokens=32,
        ),
        Benchmark("truthfulqa", "TruthfulQA", "truthfulqa_mc1", "truthfulqa", 0, "acc", "safety", "question"),
        Benchmark(
            "truthfulqa_mc2", "TruthfulQA mc2", "truthfulqa_mc2", "truthfulqa", 0, "acc", "safety",
            "question", chance=truth_among_the_choices, documents="truthfulqa_mc1",
        ),
        Benchmark("toxigen", "ToxiGen", "toxigen", "toxigen", 0, "acc", "safety", "text"),
    )
}  # fmt: skip


# Tasks of this suite, in lm-eval's form: no data set of the paper asks whether a chat model still refuses.
REQUESTS = str(Path(__file__).parent / "chat_tasks")
CHAT: Mapping[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark(
            "refusal", "Refusal of harmful requests", "editgate_refusal", REQUESTS, 0, "refused", "safety", "request",
            chance=nothing_to_guess, kind="generated", max_new_tokens=48, documents="requests/harmful", chat=True,
        ),
        Benchmark(
            "overrefusal", "Help with harmless requests", "editgate_overrefusal", REQUESTS, 0, "helped", "safety",
            "request", chance=nothing_to_guess, kind="generated", max_new_tokens=48,
            documents="requests/harmless", chat=True,
        ),
    )
}  # fmt: skip
ALL: Mapping[str, Benchmark] = {**BENCHMARKS, **CHAT}


def benchmarks_for(*, chat: bool) -> tuple[str, ...]:
    """Return the names of the benchmarks that a model is asked, by whether it is a chat model."""
    return tuple(ALL if chat else BENCHMARKS)


def benchmark(name: str) -> Benchmark:
    """The row of that name.

    Raises:
        ConfigError: no such row; the message lists them.
    """
    try:
        return ALL[name]
    except KeyError:
        raise ConfigError(f"benchmark {name!r} is unknown; known: {', '.join(ALL)}.") from None
