"""Threshold files: the most specific floor wins, and every mistake is told with its place and the way out."""

from pathlib import Path

import pytest

import editors
from editgate.errors import ConfigError
from editgate.inputs import benchmarks
from editgate.inputs.models import miniatures
from editgate.measure.edit_quality import KINDS
from editgate.verdict.threshold_schema import AREAS
from editgate.verdict.thresholds import Policy, load_policy
from editgate.verdict.toml_lines import line_of

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


def problem(folder: Path, name: str, text: str) -> str:
    """The message that this file leads to."""
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert 1 <= len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


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


LIMIT = """
[[known_failure]]
model = "llama-mini"
benchmark = "{benchmark}"
from_edits = {first}
reason = "collapses"
evidence = "a run of last week"
"""


def test_known_limits_hold_in_their_range(folder: Path) -> None:
    """A limit covers its model, benchmark and N, from from_edits to until, and no other editor."""
    text = LIMIT.format(benchmark="mmlu", first=20) + "until = 50\n"
    (folder / "rome.toml").write_text(text + LIMIT.format(benchmark="efficacy", first=5) + 'when = "at_end"\n')
    policy = load(folder)
    found = [policy.known_failure("rome", "llama-mini", "mmlu", n) is not None for n in (19, 20, 50, 51)]
    assert found == [False, True, True, False]
    assert policy.known_failure("rome", "gpt2-mini", "mmlu", 20) is None
    assert policy.known_failure("memit", "llama-mini", "mmlu", 20) is None
    limit = policy.known_failure("rome", "llama-mini", "efficacy", 100, "at_end")
    assert limit is not None
    assert (limit.file, limit.evidence, limit.always) == ("thresholds/rome.toml", "a run of last week", True)
    assert policy.known_failure("rome", "llama-mini", "efficacy", 100, "immediately") is None


def test_a_limit_may_depend_on_the_order(folder: Path) -> None:
    """Below from_edits, from sometimes_from on, a limit is known and not strict."""
    (folder / "rome.toml").write_text(LIMIT.format(benchmark="mmlu", first=20) + "sometimes_from = 5\n")
    policy = load(folder)
    found = {n: policy.known_failure("rome", "llama-mini", "mmlu", n) for n in (4, 5, 19, 20)}
    assert {n: limit and limit.always for n, limit in found.items()} == {4: None, 5: False, 19: False, 20: True}


def test_somebody_elses_file_goes_first(folder: Path, tmp_path: Path) -> None:
    """A file from another repository overrides the folder's, whether it is named or says whose it is."""
    (folder / "rome.toml").write_text('[benchmark.mmlu]\nfloor = 0.5\nreason = "r"\n')
    theirs = tmp_path / "limits.toml"
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


SAFETY = '[[area.safety]]\nfloor = 0.9\nreason = "r"\n'

MISTAKES = {
    "not TOML": ("\narea = = 1", r"thresholds/rome.toml: not valid TOML: .*line 2"),
    "no reason": ("[area.safety]\nfloor = 0.9\n", r"line 1: area.safety.reason: missing; every number needs"),
    "blank reason": (
        '\n[area.safety]\nfloor = 0.9\nreason = " "\n',
        r"line 4: area.safety.reason: ' ' is not",
    ),
    "floor too high": (
        '[area.safety]\nreason = "r"\nfloor = 1.0\n',
        r"line 3: area.safety.floor: 1.0 is not allowed; it should be less than 1",
    ),
    "text for a number": (
        SAFETY + SAFETY.replace("floor", 'from_edits = "ten"\nfloor'),
        r"line 5: area.safety.from_edits: 'ten' is not allowed; it should be a valid integer",
    ),
    "misspelt key": (
        '[area.safety]\nfloor = 0.9\nreson = "r"\nreason = "r"\n',
        r"line 3: area.safety.reson: unknown key; allowed: floor, reason, from_edits$",
    ),
    "misspelt section": (
        "[aera.safety]\nfloor = 0.9\n",
        r"line 1: aera: unknown key; allowed: area, benchmark, ",
    ),
    "unknown moment": (
        "[quality.efficacy]\nlater = 1\n",
        r"line 2: .*later: unknown key; allowed: immediately, at_end$",
    ),
    "unknown in a model": (
        "[model.llama-mini]\nfloor = 0.9\n",
        r"line 2: .*allowed: area, benchmark, quality$",
    ),
    "unknown area": (
        '[area.speed]\nfloor = 0.9\nreason = "r"\n',
        r"line 1: area.speed: no area is called 'speed'; allowed: capability, safety$",
    ),
    "unknown benchmark": (
        '[benchmark.mmul]\nfloor = 0.9\nreason = "r"\n',
        r"line 1: .*no benchmark is called 'mmul'; allowed: gsm8k, mmlu, toxigen$",
    ),
    "unknown quality": (
        "[quality.speed]\n",
        r"no quality is called 'speed'; allowed: efficacy, paraphrase, locality$",
    ),
    "unknown model": (
        '[model."llama mini".benchmark.mmlu]\nfloor = 0.9\nreason = "r"\n',
        r"line 1: .*no model is called 'llama mini'; allowed: gpt2-mini, llama-mini, a hub id",
    ),
    "two floors from one N": (
        '[[benchmark.mmlu]]\nfloor = 0.9\nreason = "r"\n[[benchmark.mmlu]]\nfloor = 0.8\nreason = "r"\n',
        r"benchmark.mmlu: two floors start at the same from_edits \(\[1, 1\]\)",
    ),
    "limit of nothing": (
        LIMIT.format(benchmark="mmul", first=1),
        r"line 4: known_failure.benchmark: no benchmark or quality is called 'mmul'; allowed: .*locality$",
    ),
    "limit without evidence": (
        LIMIT.format(benchmark="mmlu", first=1).replace('evidence = "a run of last week"\n', ""),
        r"line 2: known_failure.evidence: missing; every number needs its evidence",
    ),
    "limit with unknown key": (
        LIMIT.format(benchmark="mmlu", first=1) + "x = 1\n",
        r"line 8: .*allowed: model, ben",
    ),
    "limit ends before it starts": (
        LIMIT.format(benchmark="mmlu", first=9) + "until = 3\n",
        r"line 8: known_failure.until: 3 is below from_edits \(9\)",
    ),
    "limit that never begins": (
        LIMIT.format(benchmark="mmlu", first=9).replace("from_edits = 9\n", ""),
        r"line 2: known_failure: needs from_edits .*, sometimes_from .*, or both",
    ),
    "limit that begins twice": (
        LIMIT.format(benchmark="mmlu", first=9) + "sometimes_from = 9\n",
        r"line 8: known_failure.sometimes_from: 9 must be below from_edits \(9\)",
    ),
    "two limits on one case": (
        LIMIT.format(benchmark="mmlu", first=9) + LIMIT.format(benchmark="mmlu", first=1),
        r"line 9: known_failure: mmlu on llama-mini is already limited from 9 edits on",
    ),
    "moment of a benchmark": (
        LIMIT.format(benchmark="mmlu", first=1) + 'when = "at_end"\n',
        r"line 8: known_failure.when: only qualities have a moment",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_name_file_line_key_and_what_is_allowed(folder: Path, text: str, message: str) -> None:
    """Each kind of mistake: one to three lines that a person can act on."""
    found = problem(folder, "rome.toml", text)
    assert found.startswith("thresholds/rome.toml")
    with pytest.raises(ConfigError, match=message):
        load(folder)


def test_many_mistakes_are_counted(folder: Path) -> None:
    """The first two are told, the others counted: a message stays readable."""
    text = "".join(f'[benchmark.b{i}]\nfloor = 0.9\nreason = "r"\n' for i in range(5))
    assert problem(folder, "rome.toml", text).endswith("thresholds/rome.toml: and 3 more")


def test_a_file_of_an_unknown_editor_is_a_mistake(folder: Path) -> None:
    """A file that no editor answers to would silently never apply."""
    message = problem(folder, "rmoe.toml", "")
    assert message == "thresholds/rmoe.toml, line 1: no editor is called 'rmoe'; allowed: default, memit, rome"


def test_the_policy_has_no_known_limits(folder: Path) -> None:
    """A limit belongs to an editor; in the policy it would excuse all of them."""
    message = problem(folder, "default.toml", SHIPPED + LIMIT.format(benchmark="mmlu", first=1))
    assert "belong into the editor's own file" in message


@pytest.mark.parametrize("gone", ["[area.safety]", "[quality.locality.at_end]"])
def test_the_policy_must_be_complete(folder: Path, gone: str) -> None:
    """Without a floor for an area or a quality from the first edit on, a test would have nothing to hold."""
    start = SHIPPED.index(gone)
    end = SHIPPED.find("\n[", start)
    message = problem(folder, "default.toml", SHIPPED[:start] + (SHIPPED[end:] if end > 0 else ""))
    assert message == f"thresholds/default.toml: {gone} needs a floor from the first edit on"


def test_a_missing_policy_is_told(tmp_path: Path) -> None:
    """An empty folder does not mean that everything is allowed."""
    with pytest.raises(ConfigError, match=r"default\.toml: not found"):
        load(tmp_path)


def test_an_unreadable_file_is_told(folder: Path, tmp_path: Path) -> None:
    """A file that is not there, or not text, is one line."""
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file"):
        load(folder, tmp_path / "rome.toml")
    (folder / "rome.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(folder)


@pytest.mark.parametrize("model", ["llama-mini", "meta-llama/Llama-2-7b-hf", "./mine", "~/models/a", "/data/x"])
def test_models_may_be_registered_hub_ids_or_paths(folder: Path, model: str) -> None:
    """Somebody's patched checkpoint can have limits without being registered."""
    (folder / "rome.toml").write_text(LIMIT.format(benchmark="mmlu", first=1).replace("llama-mini", model))
    assert load(folder).known_failure("rome", model, "mmlu", 1) is not None


def test_lines_are_found_through_quotes_comments_and_inline_tables() -> None:
    """Headers with quoted dots, comments, dotted keys and arrays of tables lead to the right line."""
    text = '# c\n[model."a.b/c".area] # x\nsafety = { floor = 2 }\n[[k]]\nx = 1\n[[k]]\n"y z".w = 1\n'
    assert line_of(text, ("model", "a.b/c", "area", "safety", 0, "floor")) == 3
    assert line_of(text, ("k", 1, "y z", "w")) == 7
    assert line_of(text, ("k", 1)) == 6
    assert line_of(text, ("elsewhere",)) == 1


def test_what_a_model_guesses_at_is_on_record(folder: Path) -> None:
    """A folder of the model's name says so, for its own benchmarks only; an editor's file may not."""
    entry = '[[at_chance]]\nmodel = "gpt2-mini"\nbenchmarks = ["mmlu"]\nreason = "too small"\n'
    (folder / "gpt2-mini").mkdir()
    (folder / "gpt2-mini" / "default.toml").write_text(entry, encoding="utf-8")
    policy = load(folder)
    assert policy.at_chance("gpt2-mini", "mmlu") == "too small"
    assert policy.at_chance("gpt2-mini", "gsm8k") is None
    assert policy.at_chance("llama-mini", "mmlu") is None
    (folder / "gpt2-mini" / "rome.toml").write_text(entry, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"gpt2-mini/rome.toml, line 1.*stands in default.toml"):
        load(folder)
