"""From a benchmark and a model to items: lm-eval asks the questions and judges the answers, we run the model.

`prepare` does once what does not depend on the weights (prompts, few-shot examples, tokens); `evaluate` then
serves every checkpoint of a trajectory with exactly the same questions.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.utils import handle_non_serializable, hash_string

from editgate.compat.lm_eval import apply_filter, templates_compiled_once
from editgate.errors import IntegrityError, NoItemsScored
from editgate.inference.backend import Backend, Completion, Model
from editgate.inference.select_backend import backend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.tokenize import Pair, PairTokenizer, Tokenizer
from editgate.inputs.benchmarks import Benchmark, Document
from editgate.inputs.documents import Source
from editgate.inputs.lm_tasks import FEWSHOT_SEED, load
from editgate.measure.items import Evaluation, Item, shorten
from editgate.measure.weight_changes import changed_since, fingerprint

Shared = dict[Pair, tuple[float, bool]]  # what one model has answered
NOT_FOUND = "[invalid]"  # what lm-eval's regex filters return when they find no answer
SAMPLE_SEED = 1234


@dataclass(frozen=True, slots=True)
class PreparedItem:
    """One document as it is asked: what any answer to it will be compared with.

    Attributes:
        instances: lm-eval's requests for it, one per option, or a single one for a generation.
        outline: the item but for the answer.
        choices: the options' texts; empty for generations.
        labels: what to call each option in a label balance.
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
        questions: by lm-eval task, in lm-eval's order.
        pairs: tokens of all (context, option) pairs, in the order of the questions; empty for generations.
        completions: the generations asked for; empty for choices.
        digest: changes with any prompt, option, right answer, metric or length; part of the store's key.
    """

    benchmark: Benchmark
    tokenizer: Tokenizer
    tasks: dict[str, ConfigurableTask]
    questions: dict[str, list[PreparedItem]]
    pairs: list[Pair] = field(repr=False)
    completions: list[Completion] = field(repr=False)
    digest: str

    @property
    def chance(self) -> float:
        """What guessing scores on average."""
        chances = [question.chance for questions in self.questions.values() for question in questions]
        return sum(chances) / len(chances)


def prepare(benchmark: Benchmark, source: Source, tokenizer: Tokenizer, limit: int | None = None) -> Prepared:
    """Builds and tokenizes all requests of a benchmark.

    Args:
        benchmark: a row of the table.
        source: where its documents come from.
        tokenizer: of the models to be evaluated.
        limit: at most so many questions, drawn by a fixed seed, evenly over subtasks and right answers; the
            sample for a smaller limit is part of that for a larger one. lm-eval's own limit takes the first.

    Raises:
        ConfigError: the source's documents or settings are malformed.
        NoItemsScored: there is no question.
    """
    with templates_compiled_once():
        tasks = load(benchmark, source)
        chosen = _sample(tasks, limit)
        questions = {name: _ask(benchmark, tasks[name], chosen[name]) for name in tasks if chosen[name]}
    if not questions:
        raise NoItemsScored(f"{benchmark.name}: no question in {source} at a limit of {limit}.")
    instances = [i for group in questions.values() for question in group for i in question.instances]
    cutter = PairTokenizer(tokenizer)
    pairs: list[Pair] = []
    completions: list[Completion] = []
    if benchmark.kind == "choice":
        pairs = cutter.pairs([instance.args for instance in instances])
    else:
        texts = [instance.args[0] for instance in instances]
        prompts = cutter.prompts([_turn(tokenizer, text) for text in texts] if benchmark.chat else texts)
        completions = [_completion(i, prompt) for i, prompt in zip(instances, prompts, strict=True)]
    digest = _digest(benchmark, questions, pairs or completions)
    return Prepared(benchmark, tokenizer, tasks, questions, pairs, completions, digest)


def _turn(tokenizer: Tokenizer, text: str) -> str:
    """The text as a user's turn of the model's own chat template, up to where the assistant begins."""
    turns = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def evaluate(
    prepared: Prepared, model: Model, *, max_tokens: int | None = None, shared: Shared | None = None
) -> Evaluation:
    """Asks the model all questions; lm-eval's filters and metrics judge the answers.

    Args:
        prepared: what to ask.
        model: anything with config, device, forward and generate.
        max_tokens: new tokens per forward pass; the scores do not depend on it.
        shared: what this very model has answered to other benchmarks; those that ask the same are not asked again.

    Raises:
        NonFiniteModel: logits are NaN or infinite.
        EvaluationError: a prompt does not fit into the model's context.
        IntegrityError: evaluating changed the model's parameters.
    """
    name = prepared.benchmark.name
    before = fingerprint(model)
    lm = backend(model, prepared.tokenizer, name, max_tokens=max_tokens)
    empty = 0
    answers: Sequence[object]
    if prepared.pairs:
        plain = isinstance(lm, SharedPrefixBackend)  # one with a memory remembers its base's answers itself
        answers = _scored(prepared.pairs, lm, shared if plain and shared is not None else {})
    else:
        written = lm.generate(prepared.completions)
        answers = [answer.text for answer in written]
        empty = sum(not answer.text.strip() for answer in written)
    if changed := changed_since(before, model):
        raise IntegrityError(
            f"{name}: evaluating changed {changed[0]} (and {len(changed) - 1} more). A forward pass must "
            "leave the parameters alone; look for hooks or buffers that the editor left behind."
        )
    items = _judge(prepared, answers)
    return Evaluation(
        benchmark=name,
        metric=prepared.benchmark.metric_key,
        chance=prepared.chance,
        items=tuple(items),
        kind=prepared.benchmark.kind,
        parse_failures=sum(item.answer == NOT_FOUND for item in items),
        empty=empty,
        routed=lm.routed,
    )


def _scored(pairs: Sequence[Pair], lm: Backend, shared: Shared) -> list[tuple[float, bool]]:
    """The answers to all pairs: TruthfulQA's two metrics, for one, read the same options."""
    new = [each for each in dict.fromkeys(pairs) if each not in shared]
    if new:
        shared.update(zip(new, lm.score(new), strict=True))
    return [shared[each] for each in pairs]


def _judge(prepared: Prepared, answers: Sequence[object]) -> list[Item]:
    """Hands each answer to its lm-eval instance, then filters and scores as lm-eval's evaluator does."""
    items, left = [], iter(answers)
    row = prepared.benchmark
    with templates_compiled_once():
        for name, questions in prepared.questions.items():
            task = prepared.tasks[name]
            instances = [instance for question in questions for instance in question.instances]
            for instance in instances:
                instance.resps, instance.filtered_resps = [next(left)], {}
            apply_filter(task, row.filter, instances)
            items += [_item(row, task, question) for question in questions]
    return items


def _item(row: Benchmark, task: ConfigurableTask, question: PreparedItem) -> Item:
    filtered = [instance.filtered_resps[row.filter] for instance in question.instances]
    score = float(task.process_results(question.document, filtered)[row.metric])
    answer, label = str(filtered[0]), ""
    if question.choices:
        best = int(np.argmax([value for value, _ in filtered]))
        answer, label = question.choices[best], question.labels[best]
    return replace(question.outline, score=score, answer=answer, label=label)


def _ask(row: Benchmark, task: ConfigurableTask, samples: list[int]) -> list[PreparedItem]:
    """lm-eval's requests for these documents, grouped by document."""
    task.set_fewshot_seed(FEWSHOT_SEED)  # or a second call would draw other examples
    whole = len(samples) == len(task.eval_docs)
    task.build_all_requests(samples=None if whole else samples)
    by_document: dict[int, list[Instance]] = defaultdict(list)
    for instance in task.instances:
        by_document[instance.doc_id].append(instance)
    fixed = isinstance(task.config.doc_to_choice, list)
    return [_question(row, task, sorted(group, key=lambda i: i.idx), fixed) for group in by_document.values()]


def _question(row: Benchmark, task: ConfigurableTask, instances: list[Instance], fixed: bool) -> PreparedItem:  # noqa: FBT001 - internal
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
        question=shorten(document[row.question]),
    )
    labels = choices if fixed else tuple(f"option {i}" for i in range(1, len(choices) + 1))
    return PreparedItem(document, tuple(instances), outline, choices, labels, row.chance(document, choices))


def _expected(row: Benchmark, task: ConfigurableTask, document: Document, choices: Sequence[str]) -> str:
    """What a person would call the right answer: an option's text, or the target as the filter reads it."""
    if row.metric == "acc" and callable(task.config.process_results):  # mc2: every true option
        labels = document["mc2_targets"]["labels"]
        return " | ".join(choice for choice, label in zip(choices, labels, strict=True) if label)
    target = task.doc_to_target(document)
    if choices:
        return target if isinstance(target, str) else choices[int(target)]
    text = str(target[0] if isinstance(target, list) else target)
    trial = Instance("generate_until", document, ("", {}), 0, resps=[text])
    apply_filter(task, row.filter, [trial])
    read = str(trial.filtered_resps[row.filter])
    return text if read == NOT_FOUND else read


def _sample(tasks: dict[str, ConfigurableTask], limit: int | None) -> dict[str, list[int]]:
    """Indices of the documents to ask, by task.

    Each stratum (task, and right answer where options are fixed) is shuffled, its k-th of n documents placed
    at (k + 1/2) / n, and the `limit` first over all strata are taken.
    """
    chosen = {name: list(range(len(task.eval_docs))) for name, task in tasks.items()}
    if limit is None or limit >= sum(map(len, chosen.values())):
        return chosen
    random_source = random.Random(SAMPLE_SEED)
    places: list[tuple[float, float, str, int]] = []
    for name, task in tasks.items():
        strata: dict[str, list[int]] = defaultdict(list)
        for index, document in enumerate(task.eval_docs):
            fixed = isinstance(task.config.doc_to_choice, list)
            strata[str(task.doc_to_target(document)) if fixed else ""].append(index)
        for members in strata.values():
            random_source.shuffle(members)
            places += [
                ((k + 0.5) / len(members), random_source.random(), name, index) for k, index in enumerate(members)
            ]
    taken = sorted(places)[:limit]
    return {name: sorted(index for *_, task, index in taken if task == name) for name in tasks}


def _completion(instance: Instance, prompt: tuple[int, ...]) -> Completion:
    text, settings = instance.args
    return Completion(text, prompt, tuple(settings["until"]), settings["max_gen_toks"])


def _digest(row: Benchmark, questions: dict[str, list[PreparedItem]], requests: Sequence[object]) -> str:
    """Of what is asked, and of what counts as right: a corrected answer is in no prompt."""
    digest = hashlib.sha256(f"{row.name}|{row.task}|{row.metric_key}".encode())
    left = iter(requests)
    for task, group in questions.items():
        for question in group:
            digest.update(repr((task, question.outline, question.labels, question.chance)).encode())
            for instance in question.instances:
                digest.update(repr((instance.args, next(left))).encode())
    return digest.hexdigest()
