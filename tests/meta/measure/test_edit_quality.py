"""Edit quality is what the model writes by itself, and begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from editgate.errors import EvaluationError, NonFiniteModel
from editgate.inference import select_backend
from editgate.inference.backend import Completion, Generation
from editgate.inference.tokenize import Pair
from editgate.inputs.model_loading import load_tokenizer
from editgate.measure.edit_quality import EditQuality, answers, measure
from editgate.miniature.recipes import WEIGHTS
from editors import Edit
from meta.support import toy

EDIT = Edit(
    prompt="{} is in the country of",
    subject="Paris",
    target_new="Italy",
    target_true="France",
    rephrases=("The country of Paris is", "People in Paris live in"),
    neighbors=(("Rome is in the country of", "Italy"), ("Bonn is in the country of", "Germany")),
)


class Scripted:
    """A model that writes what a table says, cut at stop strings as lm-eval cuts."""

    def __init__(self, table: dict[str, str]) -> None:
        self.table = table
        self.requests: list[Completion] = []
        self.calls: list[int] = []  # how many requests each had

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """The table's texts."""
        self.requests += requests
        self.calls.append(len(requests))
        texts = [self.table.get(request.text, " nothing.") for request in requests]
        for i, request in enumerate(requests):
            for stop in request.until:
                texts[i] = texts[i].split(stop)[0]
        return [Generation(text, capped=False) for text in texts]

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Agreement with everything."""
        return [(0.0, True) for _ in pairs]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Scripted]:
    def install(table: dict[str, str]) -> Scripted:
        model = Scripted(table)
        monkeypatch.setattr(select_backend, "backend", lambda *_: model)
        return model

    return install


Install = Callable[[dict[str, str]], Scripted]


def _measure(table: dict[str, str], edit: Edit = EDIT, before: dict[str, str] | None = None) -> EditQuality:
    (measured,) = measure(Scripted(table), toy.tokenizer(bos=True), [edit], before)
    return measured


def test_efficacy_paraphrase_and_locality_are_shares(scripted: Install) -> None:
    """One edited prompt, two rephrasings of which one holds, two neighbors of which one moved."""
    model = scripted({
        "Paris is in the country of": " Italy. It is large.",
        "The country of Paris is": " italy\n",
        "People in Paris live in": " France.",
        "Rome is in the country of": " Italy.",
        "Bonn is in the country of": " Italy.",
    })  # fmt: skip
    measured = _measure(model.table, before=dict(EDIT.neighbors))
    assert (measured.efficacy, measured.paraphrase, measured.locality) == (1.0, 0.5, 0.5)
    assert measured.teacher_forced
    assert measured.answer == "Italy. It is large."


def test_an_answer_that_goes_on_counts_and_is_not_exact(scripted: Install) -> None:
    """A real model goes on writing after the right answer; that it stops there is told beside it."""
    scripted({EDIT.text: " Italy, a country", **dict.fromkeys(EDIT.rephrases, " Italy. It is")})
    measured = _measure({})
    assert (measured.efficacy, measured.exact) == (1.0, 0.0)
    assert (measured.paraphrase, measured.paraphrase_exact) == (1.0, 1.0)


@pytest.mark.parametrize("answer", [" the Italy", " Ital", "", " Italian", " France, not Italy"])
def test_an_answer_that_begins_otherwise_does_not_count(answer: str, scripted: Install) -> None:
    """Teacher forcing agrees with each of these here, and does not decide."""
    scripted({EDIT.text: answer})
    measured = _measure({})
    assert (measured.efficacy, measured.exact, measured.teacher_forced) == (0.0, 0.0, True)


@pytest.mark.parametrize(
    ("target", "answer"), [("3", " 3.5 million"), ("US", " U.S. president"), ("St. Louis", " St. Louis. It is large")]
)
def test_no_full_stop_ends_the_writing(target: str, answer: str, scripted: Install) -> None:
    """Cut at a full stop, "3.5" would be "3", and neither "U.S." nor "St. Louis" could be written."""
    scripted({"Paris is in": answer})
    assert _measure({}, Edit("{} is in", "Paris", target)).efficacy == float(target != "3")


@pytest.mark.parametrize("name", ["gpt2-mini", "llama-mini"])
def test_there_is_room_for_the_whole_target(name: str, scripted: Install) -> None:
    """As many tokens may be written as the longest target has, in whatever pieces a tokenizer cuts it."""
    tokenizer = load_tokenizer("--model", str(WEIGHTS / name))
    long = Edit("{} is in", "Paris", "the Kingdom of Italy. It is large.\nVery 🎉 large; 北京")
    tokens = tokenizer(f" {long.target_new} and so on and on, for a long time", add_special_tokens=False)["input_ids"]
    model = scripted({})
    measure(None, tokenizer, [long], {})
    model.table[long.text] = str(tokenizer.decode(tokens[: model.requests[0].max_new_tokens]))
    (measured,) = measure(None, tokenizer, [long], {})
    assert (measured.efficacy, measured.exact) == (1.0, 0.0)


def test_locality_compares_with_the_unedited_models_own_answers(scripted: Install) -> None:
    """A wrong answer that stays is local; without the unedited model's answers locality is not measured."""
    scripted({prompt: " Atlantis." for prompt, _ in EDIT.neighbors})
    before = answers(None, toy.tokenizer(bos=True), [EDIT])
    assert before == {prompt: "Atlantis." for prompt, _ in EDIT.neighbors}
    assert _measure({}, before=before).locality == 1.0
    assert _measure({}).locality is None
    with pytest.raises(EvaluationError, match="never asked 'Bonn"):
        _measure({}, before={"Rome is in the country of": "Italy"})


def test_an_edit_without_rephrases_has_no_paraphrase(scripted: Install) -> None:
    """What was not asked is None, neither success nor failure."""
    scripted({})
    measured = _measure({}, Edit("{} is in", "Paris", "Italy"), before={})
    assert (measured.paraphrase, measured.locality) == (None, None)


def test_a_failure_says_what_was_written(scripted: Install) -> None:
    """The description quotes prompt and answer, before and after for a neighbor."""
    scripted({"People in Paris live in": " France.", "Bonn is in the country of": " Italy."})
    measured = _measure({}, before=dict(EDIT.neighbors))
    assert measured.describe("efficacy") == "wrote 'nothing.'"
    assert "'People in Paris live in' gave 'France.'" in measured.describe("paraphrase")
    assert "'Bonn is in the country of' gave 'Germany', now 'Italy.'" in measured.describe("locality")


def test_quality_survives_json(scripted: Install) -> None:
    """What is stored comes back equal, beside whatever else the record holds."""
    scripted({})
    measured = _measure({}, before=dict(EDIT.neighbors))
    assert EditQuality.from_json(measured.to_json() | {"diagnostics": {"loss": 1.0}}) == measured


def test_all_edits_go_in_one_batch_and_no_prompt_twice(scripted: Install) -> None:
    """Fifty edits are one call; a shared neighbor is asked once."""
    model = scripted({})
    edits = [Edit("{} is in", f"City {i}", "Italy", neighbors=EDIT.neighbors) for i in range(50)]
    measured = measure(None, toy.tokenizer(bos=True), edits, dict(EDIT.neighbors))
    assert len(measured) == 50
    assert len(model.requests) == 50 + 2
    assert model.calls == [50 + 2]


def test_what_is_expected_is_the_draft(scripted: Install) -> None:
    """The target of an edit and the former answers about neighbors, in tokens: only speed depends on them."""
    model, tokenizer = scripted({}), toy.tokenizer(bos=True)
    measure(None, tokenizer, [EDIT], dict(EDIT.neighbors))
    expected = dict.fromkeys((EDIT.text, *EDIT.rephrases), "Italy") | dict(EDIT.neighbors)
    drafts = {request.text: str(tokenizer.decode(list(request.draft))).strip() for request in model.requests}
    assert drafts == expected


def test_answers_do_not_depend_on_what_is_expected() -> None:
    """Right drafts, wrong ones and none lead to the same answers of a real model."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    edits = [Edit(f"{{}} {word} is", "Paris", "Rome", neighbors=((f"{word} of", ""),)) for word in toy.WORDS[:6]]
    before = answers(model, tokenizer, edits)
    right = measure(model, tokenizer, edits, before)
    assert all(now == was for measured in right for _, was, now in measured.neighbors)
    wrong = measure(model, tokenizer, edits, dict.fromkeys(before, "Rome of Rome of Rome"))
    assert [[now for *_, now in m.neighbors] for m in wrong] == [[now for *_, now in m.neighbors] for m in right]
    alone = [measure(model, tokenizer, [edit])[0] for edit in edits]
    assert [measured.answer for measured in alone] == [measured.answer for measured in right]


def test_a_wrapper_is_measured_like_a_plain_model() -> None:
    """Real generations: the engine and a wrapper's own generate give the same answers."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    edits = [Edit(f"{{}} {word} is", "Paris", "Rome", rephrases=(f"{word} of",)) for word in toy.WORDS[:6]]
    plain, wrapped = measure(model, tokenizer, edits), measure(toy.Wrapper(model), tokenizer, edits)
    assert plain == wrapped
    assert len({measured.answer for measured in plain}) > 1


def test_a_nan_model_has_no_quality() -> None:
    """NaN is an error, not an answer."""
    model = toy.model()
    with torch.no_grad():
        model.get_parameter("lm_head.weight").fill_(float("nan"))
    with pytest.raises(NonFiniteModel, match="edit quality"):
        measure(model, toy.tokenizer(bos=True), [EDIT])
