"""Runs a model on a prepared benchmark: lm-eval asks the questions and scores the answers, editgate runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from editgate.compat.lm_eval import apply_filter, templates_compiled_once
from editgate.errors import EvaluationError, IntegrityError
from editgate.inference.backend import Model
from editgate.inference.memory_backend import MemoryBackend
from editgate.inference.select_backend import backend
from editgate.inference.tokenize import Tokens
from editgate.measure.answered import Known
from editgate.measure.items import Evaluation, Item
from editgate.measure.prepare import NO_ANSWER, Prepared
from editgate.measure.probes import evaluate_probe
from editgate.measure.weight_changes import Fingerprint, changed_since, fingerprint

ANOTHER = "another continuation"  # of a model that would not write the right one; which it is nobody asked


def evaluate(
    prepared: Prepared,
    model: Model,
    *,
    max_tokens: int | None = None,
    known: Known | None = None,
    siblings: Sequence[Prepared] = (),
    drafts: Sequence[Tokens] = (),
    base: Model | None = None,
) -> Evaluation:
    """Ask the model all questions; lm-eval's filters and metrics score the answers.

    Args:
        prepared: what to ask.
        model: anything with config, device, forward and generate.
        max_tokens: new tokens per forward pass; the scores do not depend on it.
        known: what this very model has answered to other benchmarks, and what it answers now.
        siblings: benchmarks of the same documents, whose options are asked together with these: TruthfulQA's two
            metrics read the same. Rounding depends on what stands in one batch, so no score may depend on who is first.
        drafts: what the unedited model wrote, for each completion; only speed depends on it.
        base: the unedited model, for probes that compare with it; the model itself unless given.

    Raises:
        NonFiniteModel: logits are NaN or infinite.
        EvaluationError: a prompt does not fit into the model's context.
        IntegrityError: evaluating changed the model's parameters.
    """
    name = prepared.benchmark.name
    before = fingerprint(model)
    if prepared.benchmark.probe:
        found = evaluate_probe(prepared, model, model if base is None else base)
        _check_unchanged(name, before, model)
        return found
    lm = backend(model, prepared.tokenizer, name, max_tokens=max_tokens)
    answers: Sequence[object]
    if prepared.pairs:
        if known is None or isinstance(lm, MemoryBackend):  # that one remembers its base's answers, and counts the rest
            known = {}
        if any(pair not in known for pair in prepared.pairs):
            asked = sorted({pair for each in (prepared, *siblings) for pair in each.pairs})
            known.update(zip(asked, lm.score(asked), strict=True))
        answers = [known[pair] for pair in prepared.pairs]
    else:
        drafted = zip(prepared.completions, drafts or [()] * len(prepared.completions), strict=True)
        answers = [written.text for written in lm.generate([replace(each, draft=draft) for each, draft in drafted])]
    _check_unchanged(name, before, model)
    return judged_by_lm_eval(prepared, answers, routed=lm.routed)


def _check_unchanged(name: str, before: Fingerprint, model: Model) -> None:
    if changed := changed_since(before, model):
        raise IntegrityError(
            f"{name}: evaluating changed {changed[0]} (and {len(changed) - 1} more). A forward pass must "
            "leave the parameters alone; look for hooks or buffers that the editor left behind."
        )


def judged_by_lm_eval(prepared: Prepared, answers: Sequence[object], *, routed: int = 0) -> Evaluation:
    """Return the scored items.

    Args:
        prepared: what was asked.
        answers: for each pair its log-likelihood and whether it is greedy, for each completion its text.
        routed: prompts that an editor's memory answered.
    """
    items = _score(prepared, answers)
    return Evaluation(
        benchmark=prepared.benchmark.name,
        metric=prepared.benchmark.metric_key,
        chance=prepared.chance,
        items=tuple(items),
        kind=prepared.benchmark.kind,
        parse_failures=sum(item.answer == NO_ANSWER for item in items),
        empty=sum(isinstance(answer, str) and not answer.strip() for answer in answers),
        routed=routed,
    )


def _chosen(metric: str, choices: Sequence[str], scores: Sequence[float]) -> int:
    """The number of the option that a metric takes for the answer, as lm-eval's `process_results` chooses it."""
    conditional = np.array(scores[: len(choices)])  # unconditional ones may follow
    if metric == "acc_norm":
        return int(np.argmax(conditional / np.array([float(len(choice)) for choice in choices])))
    if metric == "acc_bytes":
        return int(np.argmax(conditional / np.array([float(len(choice.encode())) for choice in choices])))
    if metric == "acc_mutual_info":
        return int(np.argmax(conditional - np.array(scores[len(choices) :])))
    return int(np.argmax(conditional))


def _score(prepared: Prepared, answers: Sequence[object]) -> list[Item]:
    """Give each answer to its lm-eval instance, then filter and score as lm-eval's evaluator does."""
    scored: list[Item] = []
    remaining = iter(answers)
    row = prepared.benchmark
    with templates_compiled_once():
        for name, items in prepared.items.items():
            task = prepared.tasks[name]
            instances = [instance for item in items for instance in item.instances]
            for instance in instances:
                instance.resps, instance.filtered_resps = [next(remaining)], {}
            apply_filter(task, row.filter, instances)
            for item in items:
                filtered = [instance.filtered_resps[row.filter] for instance in item.instances]
                score = float(task.process_results(item.document, filtered)[row.metric])
                if row.added and not 0 <= score <= 1:
                    raise EvaluationError(
                        f"{row.name}: {row.metric_key} is {score:g} for an item. Judged are shares, from 0 to 1: name "
                        f"another metric in [benchmarks.{row.name}] of a file of thresholds."
                    )
                answer, label = str(filtered[0]), ""
                if item.choices:
                    best = _chosen(row.metric, item.choices, [value for value, _ in filtered])
                    answer, label = item.choices[best], item.labels[best]
                elif row.kind == "continuation":
                    answer = item.outline.expected if filtered[0][1] else ANOTHER
                scored.append(replace(item.outline, score=score, answer=answer, label=label))
    return scored
