"""Before its first long step a run says what it will cost: what is left to do, by the speed of the very model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch

from editgate.cases import Case
from editgate.errors import NonFiniteModel
from editgate.estimate import total, words
from editgate.estimate.speed import Speed, count_read, of_covariances, of_edits, of_questions
from editgate.estimate.total import Estimate
from editgate.estimate.work import EDITS_A_RULE, left
from editgate.inference import engine as engine_module
from editgate.inference.backend import Completion, Generation
from editgate.inference.engine import Engine
from editgate.inference.prefix_groups import Row, pad
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.tokenize import Tokens
from editgate.inputs.editor_specs import EditorSpec
from editgate.measure.integrity import rules_of
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editgate.verdict.cell import evaluate_cell
from editors.models.architecture import Architecture
from meta.support import toy
from meta.support.settings_factory import miniature, settings

PHRASES = [f"{toy.WORDS[i % 18]} {toy.WORDS[i * 5 % 18]} {toy.WORDS[i // 3 % 18]}" for i in range(40)]


def _session(store: Path, **changes: object) -> EvaluationSession:
    return EvaluationSession(settings(store, **changes), lambda _: None)


def _cases(session: EvaluationSession, method: str, checks: Iterable[tuple[str, int]]) -> list[Case]:
    model = miniature(session.settings)
    return [Case(EditorSpec(method, method), model, check, count) for check, count in checks]


def test_what_is_in_the_store_costs_nothing(tmp_path: Path) -> None:
    """An empty store leaves edits, rules, answers and questions to do; after the run nothing is left to say."""
    session = _session(tmp_path, limit=10)
    cases = _cases(session, "ftl", [("toxigen", 2), ("efficacy", 2)])
    (todo,) = left(session, cases).trajectories
    rules = len(rules_of(cases[0].editor))
    assert (todo.edits, todo.rules, todo.asked, len(todo.questions)) == (2, rules, 2, 2)  # the zero-edits rule asks too
    assert todo.edits_with_rules == 2 + EDITS_A_RULE[True] * rules
    assert [prepared.benchmark.name for _, prepared in left(session, cases).baselines] == ["toxigen"]
    for case in cases:
        evaluate_cell(session, case)
    (rest,) = left(session, cases).trajectories  # a rule that fails its own test only is not checked by the others
    assert (rest.edits, rest.rules, rest.asked, len(rest.questions)) == (0, 1, 0, 0)
    session.check(session.trajectory(cases[0].editor, cases[0].model), "edits_change_the_model")
    done = left(session, cases)
    assert (done.trajectories, done.baselines) == ([], [])
    assert words.lines(session, cases) == []


def test_a_longer_run_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """After two edits are in the store, a run of five has three left."""
    first = _session(tmp_path, edit_counts="2", limit=10)
    for case in _cases(first, "ftl", [("efficacy", 2)]):
        evaluate_cell(first, case)
    second = _session(tmp_path, edit_counts="2,5", limit=10)
    (todo,) = left(second, _cases(second, "ftl", [("efficacy", 2), ("efficacy", 5)])).trajectories
    assert (todo.edits, todo.asked) == (3, 5)


@pytest.mark.parametrize("shares", [True, False])
def test_tokens_are_counted_as_they_are_run(monkeypatch: pytest.MonkeyPatch, *, shares: bool) -> None:
    """What is counted for some questions is what the engine's passes hold, without padding; in full without it."""
    tokenizer = toy.tokenizer(bos=True)
    contexts = [tuple(tokenizer(f"red blue green cat dog sun: {phrase}")["input_ids"]) for phrase in PHRASES]
    pairs = [(context, (option, option + 1)) for context in contexts for option in (10, 20)]
    run: list[int] = []

    def counted(rows: list[Row], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        run.append(sum(len(row.tokens) for row in rows))
        return pad(rows, device)

    monkeypatch.setattr(engine_module, "pad", counted)
    Engine(toy.model(), "trial").score(pairs)
    last_tokens = len(pairs)  # of an option the last token is predicted and not run
    full = sum(len(context) + len(option) for context, option in pairs)
    assert count_read(pairs, shares=shares) == (sum(run) + last_tokens if shares else full)


def test_a_slice_of_the_corpus_stands_for_the_whole(tmp_path: Path) -> None:
    """Covariances of twice as many tokens are estimated to take longer, and say how many tokens they read."""
    session = _session(tmp_path)
    base = session.model(miniature(session.settings))
    matrix = Architecture(base.model).down(1)
    seconds, cost = of_covariances(base, [matrix])
    assert seconds > 0
    assert cost.tokens == sum(
        len(base.tokenizer(text)["input_ids"]) for text in base.source.corpus()
    )  # each text fits into the context


def test_a_timed_edit_leaves_no_trace(tmp_path: Path) -> None:
    """One edit of MEMIT is timed with stand-ins for its covariances; base, random state and store are as before."""
    session = _session(tmp_path)
    (case,) = _cases(session, "memit", [("efficacy", 5)])
    run = session.trajectory(case.editor, case.model)
    assert isinstance(run, Trajectory)
    before = {name: value.clone() for name, value in run.base.model.state_dict().items()}
    state, files = torch.random.get_rng_state(), sorted(tmp_path.rglob("*.safetensors"))
    timed = of_edits(run)
    assert timed.an_edit is not None
    assert timed.an_edit > 0
    assert all(torch.equal(before[name], value) for name, value in run.base.model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert sorted(tmp_path.rglob("*.safetensors")) == files
    assert run.stored_up_to(5) == 0


def test_a_method_that_learns_first_is_named_and_not_tried(tmp_path: Path) -> None:
    """MEND trains a network before its first edit, and somebody else's method is unknown: neither is timed."""
    session = _session(tmp_path, editor=["editgate.controls:NoOp"])
    named = session.settings.editors[-1]
    for spec in (EditorSpec("mend", "mend"), named):
        run = session.trajectory(spec, miniature(session.settings))
        assert isinstance(run, Trajectory)
        assert of_edits(run).an_edit is None


def test_the_words_name_every_part() -> None:
    """A long run has a line for each part; on two processes it takes half, but no less than its longest trajectory.

    Of one that is shared out N by N only the edits follow one another.
    """
    found = Estimate(120.0, 100_000, 1, 200.0, 50, 18, 400.0, 24, 1_100_000_000, {"mend"}, 9.0, 500.0, 150.0)
    text = "\n".join(words.describe(found))
    assert text.splitlines()[0] == "estimate: about 12 min here, by passes timed in 9 s:"
    assert "covariances of 1 matrix: 100,000 tokens, about 2 min" in text
    assert "50 edits and 18 for the rules of integrity, and the questions about them: about 3 min" in text
    assert "a benchmark is asked 24 times: about 7 min" in text
    assert "not in it: preparing and editing with mend" in text
    assert "memory: about 1.1 GB" in text
    assert found.seconds(2) == 500.0
    assert found.seconds(2, shared_out=True) == 360.0
    assert found.seconds(8, shared_out=True) == 150.0
    assert list(words.describe(Estimate(questions=20.0))) == ["estimate: about 20 s here"]


def test_reading_and_writing_are_added() -> None:
    """A benchmark takes its tokens times the speed of reading, and what writing takes, or verifying."""
    speed = Speed(0.001, {"mmlu": 1000, "gsm8k": 2000}, {"gsm8k": 3.0}, {"gsm8k": 0.6})
    assert speed.seconds("mmlu") == pytest.approx(1.0)
    assert speed.seconds("gsm8k") == pytest.approx(5.0)
    assert speed.seconds("gsm8k", drafted=True) == pytest.approx(2.6)


def test_what_is_asked_together_is_read_once(tmp_path: Path) -> None:
    """TruthfulQA's two metrics read the same options: the second adds what it has more, which is little."""
    session = _session(tmp_path, limit=20)
    base = session.model(miniature(session.settings))
    first, second = (session.questions.prepared(base, name) for name in ("truthfulqa", "truthfulqa_mc2"))
    both, alone = of_questions(base.model, base, [first, second]), of_questions(base.model, base, [second])
    assert both.read["truthfulqa_mc2"] < 0.2 * alone.read["truthfulqa_mc2"]
    assert both.read["truthfulqa"] > 0


def test_verifying_is_timed_with_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are timed twice, the second time with the first ones as their drafts."""
    asked: list[list[Completion]] = []
    written: list[list[Tokens]] = []
    generate = SharedPrefixBackend.generate

    def recorded(self: SharedPrefixBackend, requests: Sequence[Completion]) -> list[Generation]:
        found = generate(self, requests)
        asked.append([*requests])
        written.append([each.tokens for each in found])
        return found

    monkeypatch.setattr(SharedPrefixBackend, "generate", recorded)
    session = _session(tmp_path, limit=40)
    base = session.model(miniature(session.settings))
    timed = of_questions(base.model, base, [session.questions.prepared(base, "gsm8k")])
    assert [each.draft for each in asked[-1]] == written[-2] == written[-1]
    assert not any(each.draft for request in asked[:-1] for each in request)
    assert min(timed.writing["gsm8k"], timed.verifying["gsm8k"]) > 0


def test_a_timed_pass_that_fails_is_a_line_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong while the time is estimated is said, and the run goes on to its tests."""
    session = _session(tmp_path, edit_counts="30")

    def fails(_todo: object) -> Estimate:
        raise NonFiniteModel("logits are NaN")

    monkeypatch.setattr(total, "estimate", fails)
    (line,) = words.lines(session, _cases(session, "ftl", [("efficacy", 30)]))
    assert line == "estimate: none, a timed pass ended with NonFiniteModel: logits are NaN"
