"""Perplexity of a text and the divergence from the unedited model: measured right, judged, and asked by an option."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from editgate.cases import Case
from editgate.errors import ConfigError, TestCannotFail
from editgate.inputs.benchmarks import Benchmark
from editgate.inputs.probes import find
from editgate.measure.evaluate import evaluate
from editgate.measure.items import Evaluation, Item
from editgate.measure.perplexity import sample
from editgate.measure.probes import LONGEST, divergences, prepare_probe
from editgate.measure.session import EvaluationSession
from editgate.verdict.cell import evaluate_cell
from editgate.verdict.outcome import Outcome
from editgate.verdict.statistics import bootstrap_drop
from editgate.verdict.verdict import judge
from meta.support import toy
from meta.support.gate import run_gate
from meta.support.settings_factory import miniature, settings

PROMPTS = [f"{toy.WORDS[i % 18]} {toy.WORDS[i * 5 % 18]} {toy.WORDS[i // 3 % 18]}" for i in range(12)]


@pytest.fixture
def probes(tmp_path: Path) -> str:
    """A text and prompts of the miniature's world, as the option takes them."""
    chosen = settings(tmp_path / "none")
    session = EvaluationSession(chosen, lambda _: None)
    texts = sample(session.model(miniature(chosen)), chosen.store)  # it cannot predict the questions in its corpus
    (tmp_path / "text.txt").write_text("\n".join(texts), encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("\n".join(texts[:20]), encoding="utf-8")
    return f"perplexity:{tmp_path / 'text.txt'},kl:{tmp_path / 'prompts.txt'}"


def _probe(place: Path, name: str, text: str) -> Benchmark:
    place.joinpath("given.txt").write_text(text, encoding="utf-8")
    return find(f"{name}:{place / 'given.txt'}", "capability", "--benchmarks")


def test_perplexity_is_that_of_transformers(tmp_path: Path) -> None:
    """Minus the score is the loss that a transformers model reports, the mean over the tokens of all lines."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    text = "\n".join([*PROMPTS, " ".join(PROMPTS * 9)])
    prepared = prepare_probe(_probe(tmp_path, "perplexity", text), tokenizer, None)
    lines = [torch.tensor([(*first, *rest)]) for first, rest in prepared.pairs]
    assert len(lines) > len(PROMPTS) + 1
    assert max(line.shape[1] for line in lines) == LONGEST + 1
    sizes = [line.shape[1] - 1 for line in lines]
    with torch.no_grad():
        losses = [float(model(line, labels=line).loss) * size for line, size in zip(lines, sizes, strict=True)]
    assert evaluate(prepared, model).score == pytest.approx(-sum(losses) / sum(sizes), rel=1e-5)


def test_divergence_is_that_of_torch(tmp_path: Path) -> None:
    """KL(base || edited) of the next token, mean over a prompt's tokens, is torch's; of a model from itself it is 0."""
    base, edited, tokenizer = toy.model(), toy.model(seed=1), toy.tokenizer(bos=True)
    prepared = prepare_probe(_probe(tmp_path, "kl", "\n".join(PROMPTS)), tokenizer, None)
    texts = [(*first, *rest) for first, rest in prepared.pairs]
    assert [str(tokenizer.decode(list(tokens[1:]))).strip() for tokens in texts] == PROMPTS
    with torch.no_grad():
        wanted = [
            float(
                functional.kl_div(
                    edited(torch.tensor([tokens])).logits[0].log_softmax(-1),
                    base(torch.tensor([tokens])).logits[0].log_softmax(-1),
                    reduction="batchmean",
                    log_target=True,
                )
            )
            for tokens in texts
        ]
    assert divergences(edited, base, tokenizer, texts) == pytest.approx(wanted, rel=1e-4)
    assert divergences(base, base, tokenizer, texts) == [0.0] * len(texts)


def test_a_no_op_keeps_all_and_the_vandal_is_seen(tmp_path: Path, probes: str) -> None:
    """With no change KL is exactly 0 and perplexity exactly as before; the vandal is a regression in both."""
    names = ("editgate.controls:NoOp", "editgate.controls:Vandal")
    chosen = settings(tmp_path, edit_counts="2", editor=names, benchmarks=probes)
    session, model = EvaluationSession(chosen, lambda _: None), miniature(chosen)
    noop, vandal = (spec for spec in chosen.editors if spec.name in {"noop", "vandal"})
    for check in ("perplexity", "kl"):
        kept, lost = (evaluate_cell(session, Case(spec, model, check, 2, chosen.benchmarks)) for spec in (noop, vandal))
        assert (kept.outcome, kept.value, kept.after) == (Outcome.PASS, 1.0, kept.before)
        assert (kept.low, kept.high) == (1.0, 1.0)
        assert lost.outcome is Outcome.REGRESSION
        assert lost.fails
        assert lost.value is not None
        assert lost.value < 0.9
        assert lost.flips[0].question
    divergence = evaluate_cell(session, Case(noop, model, "kl", 2, chosen.benchmarks))
    assert divergence.after == 0.0


def test_the_gate_has_a_test_for_each(pytester: pytest.Pytester, tmp_path: Path, probes: str) -> None:
    """Both have an id, an area and a place in the header; the message says how much, and repeats the option."""
    result = run_gate(
        pytester, "-m", "capability", "--edit-counts=2", f"--benchmarks={probes}",
        "--editor=editgate.controls:Vandal", f"--store={tmp_path / 'store'}", files=("benchmark",),
    )  # fmt: skip
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert "probe perplexity: unedited over edited, of" in text
    assert "probe kl: exp(-KL), every token of" in text
    assert "test_benchmark[vandal-llama-mini-perplexity-n2]" in text
    assert "test_benchmark[vandal-llama-mini-kl-n2]" in text
    assert "times is allowed" in text
    assert "nats a token away from the unedited model on" in text
    assert f"--benchmarks={probes}" in text
    assert "[benchmark.kl] in thresholds/default.toml" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("perplexity", "it needs a text. Allowed: perplexity:FILE."),
        ("kl", "it needs a text with one prompt a line. Allowed: kl:FILE."),
        ("perplexity:nowhere.txt", "nowhere.txt: cannot be read"),
        ("kl:{empty}", "has no text."),
        ("kl:{full},kl:{full}", "kl is named twice"),
    ],
)
def test_what_a_probe_lacks_is_said_at_once(tmp_path: Path, given: str, said: str) -> None:
    """A missing, empty or second file is one line before a model is loaded."""
    places = {"empty": tmp_path / "empty.txt", "full": tmp_path / "full.txt"}
    places["empty"].write_text(" \n", "utf-8")
    places["full"].write_text("a\nb\n", "utf-8")
    with pytest.raises(ConfigError, match=re.escape(said)):
        settings(tmp_path / "store", benchmarks=given.format(**places))


def test_only_the_area_of_a_probe_can_be_said_otherwise(tmp_path: Path, probes: str) -> None:
    """A table of thresholds moves a probe to safety, sets its floor, and may not give it a metric."""
    policy = tmp_path / "default.toml"
    table = '[benchmarks.kl]\narea = "safety"\nreason = "x"\n[benchmark.kl]\nfloor = 0.5\nreason = "y"\n'
    policy.write_text(table, "utf-8")
    chosen = settings(tmp_path / "store", benchmarks=probes, thresholds=[policy])
    assert chosen.benchmarks["kl"].area == "safety"
    assert chosen.policy.floor("rome", "llama-mini", "kl", "safety", 1).value == 0.5
    policy.write_text('[benchmarks.kl]\nmetric = "acc"\nreason = "x"\n', "utf-8")
    with pytest.raises(ConfigError, match="kl is no task of lm-eval"):
        settings(tmp_path / "store", benchmarks=probes, thresholds=[policy])


def test_few_items_are_no_verdict(tmp_path: Path) -> None:
    """Nine prompts, or nine lines of a text, show no spread: the probe cannot be judged."""
    probe = _probe(tmp_path, "kl", "\n".join(PROMPTS))
    assert len(prepare_probe(probe, toy.tokenizer(bos=True), None).pairs) == 12
    with pytest.raises(TestCannotFail, match="9 prompts do not show how much they differ"):
        prepare_probe(probe, toy.tokenizer(bos=True), 9)


def _evaluation(scores: Sequence[float], name: str = "perplexity") -> Evaluation:
    items = tuple(Item(name, str(i), str(i), score, f"{score}", "", "q") for i, score in enumerate(scores))
    return Evaluation(name, "nats,none", 0.0, items, kind="probe")


@pytest.mark.parametrize(
    ("cost", "outcome"), [(0.02, Outcome.PASS), (0.105, Outcome.INCONCLUSIVE), (0.3, Outcome.REGRESSION)]
)
def test_the_floor_is_a_ratio_of_perplexities(cost: float, outcome: Outcome) -> None:
    """0.9 allows 0.105 nats a token: less passes, more is a regression, about as much is inconclusive."""
    before = [-2.0 - 0.1 * (i % 7) for i in range(40)]
    after = [score - cost + 0.03 * ((i % 3) - 1) for i, score in enumerate(before)]
    verdict = judge(_evaluation(before), _evaluation(after), 0.9)
    assert verdict.outcome is outcome
    assert verdict.retention == pytest.approx(verdict.baseline / verdict.edited)
    low, high = verdict.band
    assert low <= verdict.retention <= high


def test_the_bootstrap_misses_as_often_as_it_says() -> None:
    """Of skewed costs such as divergences the lower bound is above the truth in about 5 % of runs, never in 12 %."""
    random_source = np.random.default_rng(1)
    draws = random_source.exponential(0.2, size=(100, 60))
    bounds = [bootstrap_drop(np.zeros(60), -draw) for draw in draws]
    assert sum(found.lower > 0.2 for found in bounds) <= 12
    assert sum(found.upper < 0.2 for found in bounds) <= 12
    assert all(found.lower < found.drop < found.upper for found in bounds)
