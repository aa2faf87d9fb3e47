"""From a benchmark to prepared items: prompts, few-shot examples and tokens, which do not depend on the weights.

Done once, so that every checkpoint of a trajectory is asked exactly the same questions.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.utils import handle_non_serializable, hash_string

from editgate.compat.lm_eval import apply_filter, templates_compiled_once
from editgate.errors import ConfigError, NoItemsScored
from editgate.inference.backend import Completion
from editgate.inference.tokenize import Pair, PairTokenizer, Tokenizer
from editgate.inputs.benchmarks import Benchmark, Document, one_of_the_answers
from editgate.inputs.documents import DocumentSource
from editgate.inputs.lm_tasks import FEWSHOT_SEED, load
from editgate.measure.items import Item, shorten

NO_ANSWER = "[invalid]"  # what lm-eval's regex filters return when they find no answer
SAMPLE_SEED = 1234
DOCUMENTS_AN_ANSWER = 10  # so many a right answer, and the answers are a closed list


@dataclass(frozen=True, slots=True)
class PreparedItem:
    """One document as a model will be asked it.

    Attributes:
        document: lm-eval's document.
        instances: lm-eval's requests for it, one per option, or a single one for a generation.
        outline: the item without its answer, label and score.
        choices: the options' texts; empty for generations.
        labels: the class of each option in a label distribution.
        chance: what guessing scores.
    """

    document: dict[str, Any]
    instances: tuple[Instance, ...]
    outline: Item
    choices: tuple[str, ...]
    labels: tuple[str, ...]
    chance: float


@dataclass(frozen=True)
class Prepared:
    """A benchmark, ready for any model that uses this tokenizer.

    Attributes:
        items: by lm-eval task, in lm-eval's order.
        pairs: tokens of all (context, option) pairs, in the order of the items; empty for generations.
        completions: the generations to be made; empty for choices.
        digest: changes with any prompt, option, right answer, metric or length; part of the store's key.
    """

    benchmark: Benchmark
    tokenizer: Tokenizer
    tasks: dict[str, ConfigurableTask]
    items: dict[str, list[PreparedItem]]
    pairs: list[Pair] = field(repr=False)
    completions: list[Completion] = field(repr=False)
    digest: str

    @property
    def chance(self) -> float:
        """What guessing scores on average."""
        chances = [item.chance for items in self.items.values() for item in items]
        return sum(chances) / len(chances)


def count(benchmark: Benchmark, source: DocumentSource, limit: int | None = None) -> int:
    """Return how many items `prepare` would find, without tokenizing them.

    Raises:
        ConfigError: the source's documents or settings are malformed.
    """
    tasks, _ = _tasks(benchmark, source, limit)
    found = sum(len(task.eval_docs) for task in tasks.values())
    return found if limit is None else min(found, limit)


def prepare(
    benchmark: Benchmark, source: DocumentSource, tokenizer: Tokenizer, limit: int | None = None, *, after: int = 0
) -> Prepared:
    """Build and tokenize all requests of a benchmark.

    Args:
        benchmark: a row of the table.
        source: where its documents come from.
        tokenizer: of the models to be evaluated.
        limit: at most so many items, drawn by a fixed seed, evenly over subtasks and right answers, and from the
            source's reserve only where the rest is not enough; the sample for a smaller limit is part of that for a
            larger one. lm-eval's own limit takes the first. None: all but the reserve.
        after: leave out the sample for this smaller limit: it has been asked.

    Raises:
        ConfigError: the source's documents or settings are malformed.
        NoItemsScored: there is no item.
    """
    with templates_compiled_once():
        tasks, tests = _tasks(benchmark, source, limit)
        asked = {name: set(found) for name, found in _sample(tasks, tests, after).items()} if after else {}
        sample = {
            name: [index for index in found if index not in asked.get(name, ())]
            for name, found in _sample(tasks, tests, limit).items()
        }
        items = {name: _items(benchmark, tasks[name], sample[name]) for name in tasks if sample[name]}
    if not items:
        raise NoItemsScored(f"{benchmark.name}: no question in {source} at a limit of {limit}.")
    instances = [instance for group in items.values() for item in group for instance in item.instances]
    pairs: list[Pair] = []
    completions: list[Completion] = []
    if benchmark.kind != "generated":
        pairs = PairTokenizer(tokenizer).pairs([instance.args for instance in instances])
    else:
        texts = [text for text, _ in (instance.args for instance in instances)]
        turns = [_user_turn(tokenizer, text) for text in texts] if benchmark.chat else texts
        for instance, tokens in zip(instances, PairTokenizer(tokenizer).prompts(turns), strict=True):
            text, settings = instance.args
            completions.append(Completion(text, tokens, tuple(settings["until"]), settings["max_gen_toks"]))
    digest = _digest(benchmark, items, pairs or completions)
    return Prepared(benchmark, tokenizer, tasks, items, pairs, completions, digest)


def _user_turn(tokenizer: Tokenizer, text: str) -> str:
    """The text as a user's turn of the model's own chat template, up to where the assistant begins."""
    turns = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _items(row: Benchmark, task: ConfigurableTask, sample: list[int]) -> list[PreparedItem]:
    """Build lm-eval's requests for these documents, grouped by document."""
    task.set_fewshot_seed(FEWSHOT_SEED)  # or a second call would draw other examples
    whole = len(sample) == len(task.eval_docs)
    task.build_all_requests(samples=None if whole else sample)
    by_document: dict[int, list[Instance]] = defaultdict(list)
    for instance in task.instances:
        by_document[instance.doc_id].append(instance)
    items = [_item(row, task, sorted(group, key=lambda i: i.idx)) for group in by_document.values()]
    return _one_of_few(row, task, items)


def _item(row: Benchmark, task: ConfigurableTask, instances: list[Instance]) -> PreparedItem:
    document = instances[0].doc
    choices = tuple(task.doc_to_choice(document)) if row.kind == "choice" else ()
    text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
    outline = Item(
        task=task.config.task,
        doc_hash=hash_string(text),
        prompt_hash=hash_string(instances[0].arguments[0]),
        score=0.0,
        answer="",
        expected=_expected(row, task, document, choices),
        question=shorten(document[row.question] if row.question else _asked(task, document, instances)),
    )
    numbered = tuple(f"option {i}" for i in range(1, len(choices) + 1))
    labels = choices if _same_choices(task) else numbered
    return PreparedItem(document, tuple(instances), outline, choices, labels, row.chance(document, choices))


def _one_of_few(row: Benchmark, task: ConfigurableTask, items: list[PreparedItem]) -> list[PreparedItem]:
    """Make 1/k the chance of generated answers of which k are right somewhere, with tenfold more documents than that.

    Yes or no, a letter, a label: one of a closed list is hit by luck, a free answer is not.
    """
    if row.chance is not one_of_the_answers:
        return items
    right = [str(task.doc_to_target(document)).strip().casefold() for document in task.eval_docs]
    kinds = len(set(right))
    if kinds < 2 or len(right) < DOCUMENTS_AN_ANSWER * kinds:  # of one alone, the task's scoring does not read it
        return items
    return [replace(item, chance=1 / kinds) for item in items]


def _expected(row: Benchmark, task: ConfigurableTask, document: Document, choices: Sequence[str]) -> str:
    """The right answer for people: an option's text, or the target as the filter reads it."""
    if row.name == "truthfulqa_mc2":  # every true option
        labels = document["mc2_targets"]["labels"]
        return " | ".join(choice for choice, label in zip(choices, labels, strict=True) if label)
    target = task.doc_to_target(document)
    if row.kind == "continuation":
        return str(target)
    if choices:
        return _right_options(row, task.doc_to_text(document) if task.multiple_input else target, choices)
    if isinstance(target, int) and task.config.doc_to_choice is not None:
        target = task.doc_to_choice(document)[target]
    text = str(target[0] if isinstance(target, list) and target else target)
    trial = Instance("generate_until", document, ("", {}), 0, resps=[text])
    apply_filter(task, row.filter, [trial])
    answer = str(trial.filtered_resps[row.filter])
    return text if answer == NO_ANSWER else answer


def _right_options(row: Benchmark, target: object, choices: Sequence[str]) -> str:
    """The options that lm-eval counts as right, by their number or text.

    Raises:
        ConfigError: there are none, so that no answer would be right before or after any edit.
    """
    if isinstance(target, str):
        right = [choice for choice in choices if choice == target]
    else:
        numbers = target if isinstance(target, list) else [target]
        right = [
            choices[int(number)]
            for number in numbers
            if isinstance(number, Integral) and 0 <= int(number) < len(choices)
        ]
    if not right:
        raise ConfigError(
            f"{row.name}: a document's right answer is {target!r}, which is none of its {len(choices)} options: "
            f"{shorten(' | '.join(choices))}."
        )
    return " | ".join(right)


def _asked(task: ConfigurableTask, document: Document, instances: Sequence[Instance]) -> str:
    """The question by the task's own template; of a task whose options stand in the prompt, its first prompt."""
    text = task.doc_to_text(document)
    return text if isinstance(text, str) else str(instances[0].args[0])


def _same_choices(task: ConfigurableTask) -> bool:
    """Whether all documents have the same options, such as A to D."""
    return isinstance(task.config.doc_to_choice, list)


def _tasks(
    benchmark: Benchmark, source: DocumentSource, limit: int | None
) -> tuple[dict[str, ConfigurableTask], dict[str, range]]:
    """The lm-eval tasks, and which of each one's documents are the test; the reserve is read if `limit` reaches it."""
    tasks = load(benchmark, source)
    tests = {name: range(len(task.eval_docs)) for name, task in tasks.items()}
    if limit is not None and limit > sum(map(len, tests.values())) and source.has_reserve(benchmark):
        tasks = load(benchmark, source, reserve=True)
    return tasks, tests


def _sample(tasks: dict[str, ConfigurableTask], tests: Mapping[str, range], limit: int | None) -> dict[str, list[int]]:
    """Indices of the documents to ask, by task.

    Each stratum (task, and right answer where options are the same) is shuffled, its k-th of n documents gets the rank
    (k + 1/2) / n, and the `limit` lowest ranks over all strata are taken. The reserve ranks behind everything else.
    """
    sizes = {name: len(task.eval_docs) for name, task in tasks.items()}
    if limit is None or limit >= sum(sizes.values()):
        return {name: list(range(size)) for name, size in sizes.items()}
    behind = {name: range(len(tests[name]), size) for name, size in sizes.items()}
    random_source = random.Random(SAMPLE_SEED)
    ranks: list[tuple[int, float, float, str, int]] = []
    for place, part in enumerate((tests, behind)):
        for name, indices in part.items():
            strata: dict[str, list[int]] = defaultdict(list)
            for index in indices:
                document = tasks[name].eval_docs[index]
                strata[str(tasks[name].doc_to_target(document)) if _same_choices(tasks[name]) else ""].append(index)
            for members in strata.values():
                random_source.shuffle(members)
                for k, index in enumerate(members):
                    ranks.append((place, (k + 0.5) / len(members), random_source.random(), name, index))
    lowest = sorted(ranks)[:limit]
    return {name: sorted(index for *_, task, index in lowest if task == name) for name in tasks}


def _digest(row: Benchmark, items: dict[str, list[PreparedItem]], requests: Sequence[object]) -> str:
    """Digest what is asked, and what counts as right: a corrected answer is in no prompt."""
    digest = hashlib.sha256(f"{row.name}|{row.task}|{row.metric_key}{row.definition}".encode())
    remaining = iter(requests)
    for task, group in items.items():
        for item in group:
            digest.update(repr((task, item.outline, item.labels, item.chance)).encode())
            for instance in item.instances:
                digest.update(repr((instance.args, next(remaining))).encode())
    return digest.hexdigest()
