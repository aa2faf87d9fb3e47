"""Thresholds: the most specific floor wins, and a known failure is strict only where it was measured."""

import re
from pathlib import Path

import pytest

import editors
from editgate.errors import ConfigError
from editgate.inputs import benchmarks
from editgate.inputs.models import miniatures
from editgate.measure.edit_quality import KINDS
from editgate.verdict.threshold_schema import AREAS
from editgate.verdict.thresholds import Policy, load_policy
from editors.core.registry import EXTRAS

ROOT = Path(__file__).parents[3]
EDITORS, BENCHMARKS, MODELS = ["memit", "rome"], ["gsm8k", "mmlu", "toxigen"], ["llama-mini", "gpt2-mini"]
SHIPPED = (ROOT / "thresholds" / "default.toml").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A thresholds folder with the shipped policy."""
    place = tmp_path / "thresholds"
    place.mkdir()
    (place / "default.toml").write_text(SHIPPED, encoding="utf-8")
    return place


def load(folder: Path, *extra: Path) -> Policy:
    return load_policy(folder, EDITORS, BENCHMARKS, MODELS, extra)


def floor(policy: Policy, edits: int = 10, *, editor: str = "rome", model: str = "llama-mini") -> float:
    return policy.floor(editor, model, "mmlu", "capability", edits).value


def test_the_shipped_files_are_valid() -> None:
    """Every file in thresholds/ loads, and the policy answers for all areas and qualities."""
    policy = load_policy(ROOT / "thresholds", editors.names(), benchmarks.ALL, miniatures())
    for area in AREAS:
        assert 0.5 <= policy.floor("any", "any", "mmlu", area, 1).value < 1
    for name in KINDS:
        assert policy.quality("any", "any", name, "immediately", 1).reason
        assert policy.quality("any", "any", name, "at_end", 100).reason


def test_a_floor_says_where_it_stands(folder: Path) -> None:
    """Value, file, key and reason reach the message of a failure."""
    found = load(folder).floor("rome", "llama-mini", "toxigen", "safety", 10)
    assert (found.file, found.key) == ("thresholds/default.toml", "area.safety")
    assert "capability" in found.reason


SCOPES = {
    "default.toml": [
        '[benchmark.mmlu]\nfloor = 0.81\nreason = "r"\n',
        '[model.llama-mini.benchmark.mmlu]\nfloor = 0.84\nreason = "r"\n',
    ],
    "rome.toml": [
        '[area.capability]\nfloor = 0.82\nreason = "r"\n',
        '[benchmark.mmlu]\nfloor = 0.83\nreason = "r"\n',
        '[model.llama-mini.area.capability]\nfloor = 0.85\nreason = "r"\n',
        '[model.llama-mini.benchmark.mmlu]\nfloor = 0.86\nreason = "r"\n',
    ],
}


def test_the_most_specific_floor_wins(folder: Path) -> None:
    """Added one by one from default to benchmark to editor to model, each floor overrides those before."""
    order = [("default.toml", 0), ("rome.toml", 0), ("rome.toml", 1), ("default.toml", 1), ("rome.toml", 2)]
    assert floor(load(folder)) == 0.9
    for i, (name, entry) in enumerate([*order, ("rome.toml", 3)], start=1):
        path = folder / name
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}\n{SCOPES[name][entry]}")
        assert floor(load(folder)) == pytest.approx(0.8 + i / 100)
    assert floor(load(folder), editor="memit") == 0.84
    assert floor(load(folder), editor="memit", model="gpt2-mini") == 0.81
    assert load(folder).floor("rome", "llama-mini", "gsm8k", "capability", 1).key == "model.llama-mini.area.capability"


def test_the_largest_reached_n_counts(folder: Path) -> None:
    """A list of floors applies from each from_edits on; before the first of them the next scope answers."""
    (folder / "rome.toml").write_text(
        '[[benchmark.mmlu]]\nfrom_edits = 50\nfloor = 0.6\nreason = "r"\n'
        '[[benchmark.mmlu]]\nfrom_edits = 5\nfloor = 0.8\nreason = "r"\n'
    )
    policy = load(folder)
    assert [floor(policy, n) for n in (1, 4, 5, 49, 50, 1000)] == [0.9, 0.9, 0.8, 0.8, 0.6, 0.6]


def test_inline_lists_are_lists(folder: Path) -> None:
    """The same, written in one line."""
    (folder / "rome.toml").write_text('area.capability = [{ from_edits = 2, floor = 0.5, reason = "r" }]\n')
    assert [floor(load(folder), n) for n in (1, 2)] == [0.9, 0.5]


def test_quality_floors_may_differ_by_moment_and_editor(folder: Path) -> None:
    """An editor's floor replaces the policy's for its own moment only."""
    (folder / "rome.toml").write_text('[quality.efficacy.at_end]\nfloor = 0.1\nreason = "r"\n')
    policy = load(folder)
    assert policy.quality("rome", "llama-mini", "efficacy", "at_end", 10).value == 0.1
    assert policy.quality("memit", "llama-mini", "efficacy", "at_end", 10).value == 0.8
    assert policy.quality("rome", "llama-mini", "efficacy", "immediately", 10).value == 0.8


KNOWN = """
[known_failures]
model = "llama-mini"
reason = "collapses"
measured_at = [1, 5, 20, 50]
orders = 3
edit_budget = [5, 1, 5]
[known_failures.fails]
mmlu = { 20 = [0.88, 0.94, 1], 50 = [0.41, 3] }
"""


def known(policy: Policy, check: str, *counts: int, model: str = "llama-mini") -> dict[int, bool | None]:
    """Whether the known failure is strict, by N; None where there is none."""
    found = {n: policy.known_failure("rome", model, check, n) for n in counts}
    return {n: None if failure is None else failure.always for n, failure in found.items()}


def test_a_known_failure_is_strict_only_where_several_orders_all_failed(folder: Path) -> None:
    """At measured Ns it is what was measured; between them and beyond, a failure is possible and never certain."""
    (folder / "rome.toml").write_text(KNOWN)
    policy = load(folder)
    assert known(policy, "mmlu", 1, 5, 20, 50) == {1: None, 5: None, 20: False, 50: True}
    assert known(policy, "mmlu", 4, 6, 19, 21, 49, 51) == {
        4: None,
        6: False,
        19: False,
        21: False,
        49: False,
        51: False,
    }
    failure = policy.known_failure("rome", "llama-mini", "mmlu", 50)
    assert failure is not None
    assert (failure.file, failure.reason) == ("thresholds/rome.toml", "collapses")


def test_a_known_failure_is_of_its_check_model_and_editor(folder: Path) -> None:
    """No other benchmark, model or editor is excused."""
    (folder / "rome.toml").write_text(KNOWN)
    policy = load(folder)
    assert known(policy, "gsm8k", 50) == {50: None}
    assert known(policy, "mmlu", 50, model="gpt2-mini") == {50: None}
    assert policy.known_failure("memit", "llama-mini", "mmlu", 50) is None


def test_a_known_failure_is_of_one_size_of_batches(folder: Path) -> None:
    """What was measured in single edits says nothing of batches, nor batches of ten of those of a hundred."""
    place = folder / "rome.toml"
    tables = [
        f"""[[known_failures]]
model = "llama-mini"
reason = "of {size}"
batch_size = {size}
measured_at = [10]
orders = 2
fails = {{ mmlu = {{ 10 = [0.2, 2] }} }}
"""
        for size in (1, 10)
    ]
    place.write_text("\n".join(tables), encoding="utf-8")
    policy = load(folder)
    found = {size: policy.known_failure("rome", "llama-mini", "mmlu", 10, size) for size in (1, 10, 100)}
    assert {size: known and known.reason for size, known in found.items()} == {1: "of 1", 10: "of 10", 100: None}


def test_one_order_says_nothing_of_others(folder: Path) -> None:
    """What one order failed, another may pass: it is expected to fail, and no surprise if it does not."""
    (folder / "rome.toml").write_text(
        KNOWN.replace("orders = 3", "orders = 1").replace("[5, 1, 5]", "[5]").replace(", 3]", ", 1]")
    )
    assert known(load(folder), "mmlu", 5, 20, 50) == {5: None, 20: False, 50: False}


def test_a_failure_before_an_n_that_was_tried_is_expected() -> None:
    """FT-L fails gsm8k on `llama-mini-chat` at N = 50 and passes at 10: at N = 20, not tried, nobody knows."""
    policy = load_policy(ROOT / "thresholds", editors.names(), benchmarks.ALL, miniatures())
    before, between, there = (policy.known_failure("ftl", "llama-mini-chat", "gsm8k", n) for n in (10, 20, 50))
    assert before is None
    assert between is not None
    assert there is not None
    assert (between.file, between.reason) == (there.file, there.reason)
    assert (between.always, there.always) == (False, True)


def test_the_folder_of_a_model_says_which_model(folder: Path) -> None:
    """Floors and known failures in it are of that model alone, and the file need not name it."""
    (folder / "gpt2-mini").mkdir()
    text = KNOWN.replace('model = "llama-mini"\n', "") + '[area.capability]\nfloor = 0.7\nreason = "r"\n'
    (folder / "gpt2-mini" / "rome.toml").write_text(text)
    policy = load(folder)
    assert known(policy, "mmlu", 50, model="gpt2-mini") == {50: True}
    assert known(policy, "mmlu", 50) == {50: None}
    assert floor(policy, model="gpt2-mini") == 0.7
    assert floor(policy) == 0.9
    assert policy.floor("rome", "gpt2-mini", "mmlu", "capability", 1).file == "thresholds/gpt2-mini/rome.toml"


@pytest.mark.parametrize("name", EXTRAS)
def test_a_method_that_is_not_installed_may_have_a_file(name: str, folder: Path) -> None:
    """Known failures of a method whose package is missing here stop no run of the others."""
    (folder / "llama-mini").mkdir()
    (folder / "llama-mini" / f"{name}.toml").write_text(KNOWN.replace('model = "llama-mini"\n', ""))
    assert floor(load(folder)) == 0.9


def test_somebody_elses_file_goes_first(folder: Path, tmp_path: Path) -> None:
    """A file from another repository overrides the folder's, whether it is named or says whose it is."""
    (folder / "rome.toml").write_text('[benchmark.mmlu]\nfloor = 0.5\nreason = "r"\n')
    theirs = tmp_path / "known_failures.toml"
    theirs.write_text('editor = "rome"\n[benchmark.mmlu]\nfloor = 0.4\nreason = "r"\n')
    policy = load(folder, theirs)
    assert floor(policy) == 0.4
    assert policy.floor("rome", "llama-mini", "mmlu", "capability", 1).file == str(theirs)
    theirs_too = tmp_path / "rome.toml"
    theirs_too.write_text('[benchmark.mmlu]\nfloor = 0.3\nreason = "the last one named wins"\n')
    assert floor(load(folder, theirs, theirs_too)) == 0.3
    stricter = tmp_path / "default.toml"
    stricter.write_text('[area.capability]\nfloor = 0.99\nreason = "r"\n')
    assert floor(load(folder, stricter), editor="memit") == 0.99


@pytest.mark.parametrize("gone", ["[area.safety]", "[quality.locality.at_end]"])
def test_the_policy_must_be_complete(folder: Path, gone: str) -> None:
    """Without a floor for an area or a quality from the first edit on, a test would have nothing to hold."""
    start = SHIPPED.index(gone)
    end = SHIPPED.find("\n[", start)
    (folder / "default.toml").write_text(SHIPPED[:start] + (SHIPPED[end:] if end > 0 else ""))
    with pytest.raises(ConfigError, match=re.escape(f"default.toml: {gone} needs a floor from the first edit on")):
        load(folder)


def test_a_missing_policy_is_an_error(tmp_path: Path) -> None:
    """An empty folder does not mean that everything is allowed."""
    with pytest.raises(ConfigError, match=r"default\.toml: not found"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ("llama-mini", "llama-mini"),
        ("meta-llama/Llama-2-7b-hf", "meta-llama--Llama-2-7b-hf"),
        ("./mine", "mine"),
        ("~/models/a", "a"),
        ("/data/x", "x"),
    ],
)
def test_models_may_be_registered_hub_ids_or_paths(folder: Path, given: str, model: str) -> None:
    """A file names a model as `--model` does, registered or not, and applies to what ids and tables call it."""
    text = KNOWN + f'[model."{given}".area.capability]\nfloor = 0.6\nreason = "r"\n'
    (folder / "rome.toml").write_text(text.replace('model = "llama-mini"', f'model = "{given}"'))
    policy = load(folder)
    assert known(policy, "mmlu", 50, model=model) == {50: True}
    assert floor(policy, model=model) == 0.6


def test_what_a_model_guesses_at_is_on_record(folder: Path) -> None:
    """A folder of the model's name says so, for its own benchmarks only; an editor's file may not."""
    entry = '[[at_chance]]\nbenchmarks = ["mmlu"]\nreason = "too small"\n'
    (folder / "gpt2-mini").mkdir()
    (folder / "gpt2-mini" / "default.toml").write_text(entry, encoding="utf-8")
    policy = load(folder)
    assert policy.at_chance("gpt2-mini", "mmlu") == "too small"
    assert policy.at_chance("gpt2-mini", "gsm8k") is None
    assert policy.at_chance("llama-mini", "mmlu") is None
    (folder / "gpt2-mini" / "rome.toml").write_text(entry, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"gpt2-mini/rome.toml: at_chance: .*belongs in default.toml"):
        load(folder)
