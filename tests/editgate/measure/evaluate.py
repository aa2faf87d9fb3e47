"""Runs a model on a prepared benchmark: lm-eval asks the questions and scores the answers, editgate runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from editgate.compat.lm_eval import apply_filter, templates_compiled_once
from editgate.errors import IntegrityError
from editgate.inference.backend import Model
from editgate.inference.select_backend import backend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.tokenize import Pair
from editgate.measure.items import Evaluation, Item
from editgate.measure.prepare import NO_ANSWER, Prepared
from editgate.measure.weight_changes import changed_since, fingerprint

Shared = dict[Pair, tuple[float, bool]]  # what one model has answered


def evaluate(
    prepared: Prepared, model: Model, *, max_tokens: int | None = None, shared: Shared | None = None
) -> Evaluation:
    """Ask the model all questions; lm-eval's filters and metrics score the answers.

    Args:
        prepared: what to ask.
        model: anything with config, device, forward and generate.
        max_tokens: new tokens per forward pass; the scores do not depend on it.
        shared: what this very model has answered to other benchmarks, and what it answers now: TruthfulQA's two
            metrics, for one, read the same options.

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
        # A backend with a memory remembers its base's answers itself.
        known = shared if shared is not None and isinstance(lm, SharedPrefixBackend) else {}
        new = [pair for pair in dict.fromkeys(prepared.pairs) if pair not in known]
        if new:
            known.update(zip(new, lm.score(new), strict=True))
        answers = [known[pair] for pair in prepared.pairs]
    else:
        generations = lm.generate(prepared.completions)
        answers = [generation.text for generation in generations]
        empty = sum(not generation.text.strip() for generation in generations)
    if changed := changed_since(before, model):
        raise IntegrityError(
            f"{name}: evaluating changed {changed[0]} (and {len(changed) - 1} more). A forward pass must "
            "leave the parameters alone; look for hooks or buffers that the editor left behind."
        )
    items = _score(prepared, answers)
    return Evaluation(
        benchmark=name,
        metric=prepared.benchmark.metric_key,
        chance=prepared.chance,
        items=tuple(items),
        kind=prepared.benchmark.kind,
        parse_failures=sum(item.answer == NO_ANSWER for item in items),
        empty=empty,
        routed=lm.routed,
    )


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
                answer, label = str(filtered[0]), ""
                if item.choices:
                    best = int(np.argmax([value for value, _ in filtered]))
                    answer, label = item.choices[best], item.labels[best]
                scored.append(replace(item.outline, score=score, answer=answer, label=label))
    return scored
