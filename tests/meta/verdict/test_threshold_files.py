"""Every mistake in a threshold file is a usage error that names file, key, value and what is allowed."""

import re
from pathlib import Path

import pytest

from editgate.errors import ConfigError
from editgate.verdict.threshold_files import read_file
from editgate.verdict.threshold_schema import Names
from meta.verdict.test_thresholds import KNOWN

NAMES = Names(("memit", "rome"), ("gsm8k", "mmlu", "toxigen"), ("gpt2-mini", "llama-mini"))


def problem(text: str | bytes, file: Path, folder: str = "") -> str:
    """The message that this text leads to."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_file(file, f"thresholds/{file.name}", NAMES, folder)
    assert 1 <= len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


SAFETY = '[[area.safety]]\nfloor = 0.9\nreason = "r"\n'
FLOOR = '[area.safety]\nreason = "r"\nfloor = {}\n'

MISTAKES = {
    "not TOML": ("\narea = = 1", r"rome.toml: not TOML \(.*line 2"),
    "no reason": ("[area.safety]\nfloor = 0.9\n", r"area.safety.reason: missing; every number needs its reason$"),
    "blank reason": (FLOOR.format(0.9).replace('"r"', '" "'), r"area.safety.reason: .*at least 1 character, not ' '$"),
    "floor too high": (
        FLOOR.format("1.0"),
        r"line 3: area.safety.floor: Input should be less than 1, not 1.0$",
    ),
    "a boolean for a number": (FLOOR.format("true"), r"area.safety.floor: .*valid number, not True$"),
    "text for a floor": (FLOOR.format('"0.9"'), r"area.safety.floor: .*valid number, not '0.9'$"),
    "text for a number": (
        SAFETY + SAFETY.replace("floor", 'from_edits = "10"\nfloor'),
        r"area.safety\[1\].from_edits: Input should be a valid integer, not '10'$",
    ),
    "misspelt key": (
        SAFETY.replace("reason", "reson"),
        r"safety: unknown key 'reson'; allowed: floor, reason, from_edits$",
    ),
    "misspelt section": (
        "[aera.safety]\nfloor = 0.9\n",
        r"line 1: unknown key 'aera'; allowed: area, benchmark, ",
    ),
    "unknown moment": (
        "[quality.efficacy]\nlater = 1\n",
        r"efficacy: unknown key 'later'; allowed: immediately, at_end$",
    ),
    "unknown in a model": (
        "[model.llama-mini]\nfloor = 0.9\n",
        r"model.llama-mini: unknown key 'floor'; allowed: area, benchmark, quality$",
    ),
    "unknown area": (
        SAFETY.replace("safety", "speed"),
        r"area.speed: no area is called 'speed'; allowed: capability, safety$",
    ),
    "unknown benchmark": (
        SAFETY.replace("area.safety", "benchmark.mmul"),
        r"benchmark.mmul: no benchmark is called 'mmul'; allowed: gsm8k, mmlu, toxigen$",
    ),
    "unknown quality": (
        "[quality.speed]\n",
        r"quality.speed: no quality is called 'speed'; allowed: efficacy, paraphrase, locality$",
    ),
    "unknown model": (
        '[model."llama mini".benchmark.mmlu]\nfloor = 0.9\nreason = "r"\n',
        r"no model is called 'llama mini'; allowed: gpt2-mini, llama-mini, a hub id \(owner/name\) or a path$",
    ),
    "unknown editor": (
        'editor = "rmoe"\n',
        r"line 1: editor: no editor is called 'rmoe'; allowed: memit, rome$",
    ),
    "two floors from one N": (
        SAFETY * 2,
        r"area.safety: two floors start at the same from_edits \(\[1, 1\]\)$",
    ),
    "known failures of no model": (KNOWN.replace('model = "llama-mini"\n', ""), r"known_failures.model: missing$"),
    "known failure of nothing": (
        KNOWN.replace("mmlu", "mmul"),
        r"known_failures.fails.mmul: no benchmark or quality is called 'mmul'; allowed: .*locality$",
    ),
    "known failure without reason": (
        KNOWN.replace('reason = "collapses"\n', ""),
        r"known_failures.fails: needs a reason beside it",
    ),
    "known failure with unknown key": (
        KNOWN.replace("orders = 3", "orders = 3\nuntil = 5"),
        r"known_failures: unknown key 'until'; allowed: model, reason, batch_size, measured_at, orders, edit_budget, f",
    ),
    "an old file": ("[[known_failure]]\nbenchmark = 1\n", r"unknown key 'known_failure'; allowed: .*known_failures"),
    "Ns out of order": (
        KNOWN.replace("[1, 5, 20, 50]", "[1, 20, 5, 50]"),
        r"measured_at: \[1, 20, 5, 50\] is not allowed; it should ascend, each number once$",
    ),
    "an N that was not tried": (
        KNOWN.replace("20 = ", "10 = "),
        r"known_failures.fails: mmlu at N = 10 is not among measured_at \(1, 5, 20, 50\)$",
    ),
    "an N that is none": (
        KNOWN.replace("20 = ", "ten = "),
        r"fails.mmlu.ten: Input should be a valid integer, not 'ten'$",
    ),
    "more orders than were tried": (
        KNOWN.replace("0.41, 3]", "0.41, 4]"),
        r"known_failures.fails: mmlu at N = 50 failed in 4 of 3 orders$",
    ),
    "no orders": (KNOWN.replace("0.94, 1]", "0.94]"), r"mmlu.20.failed: Input should be a valid integer, not 0.94$"),
    "no values": (KNOWN.replace("[0.41, 3]", "[3]"), r"fails.mmlu.50.values: .*at least 1 item"),
    "text for a value": (
        KNOWN.replace("0.41", '"0.41"'),
        r"mmlu.50.values: Input should be a valid number, not '0.41'$",
    ),
    "no number": (KNOWN.replace("0.41", "nan"), r"mmlu.50.values: Input should be a finite number, not nan$"),
    "values the wrong way round": (KNOWN.replace("0.88, 0.94", "0.94, 0.88"), r"mmlu.20.values: \[0.94, 0.88\] is not"),
    "not a list": (
        KNOWN.replace("[0.41, 3]", "0.41"),
        r"fails.mmlu.50: 0.41 is not allowed; it should be such as \[0.88, 0.91, 2\]",
    ),
    "a failure that is none": (
        KNOWN.replace("0.94, 1]", "0.94, 0]").replace("0.41, 3]", "0.41, 0]"),
        r"known_failures.fails: mmlu failed in no order at any N; leave it out$",
    ),
    "budgets of other orders": (
        KNOWN.replace("[5, 1, 5]", "[5, 1]"),
        r"known_failures.edit_budget: \[5, 1\] is not allowed; it should have one number for each of 3 orders$",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_name_file_key_value_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    """Each kind of mistake: one to three lines that a person can act on."""
    found = problem(text, tmp_path / "rome.toml")
    assert re.match(r"thresholds/rome\.toml(, line \d+)?: ", found)
    assert re.search(message, found), found


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    """The first two are named, the others counted: a message stays readable."""
    text = "".join(f'[benchmark.b{i}]\nfloor = 0.9\nreason = "r"\n' for i in range(5))
    assert problem(text, tmp_path / "rome.toml").endswith("thresholds/rome.toml: and 3 more")


def test_a_file_of_an_unknown_editor_is_a_mistake(tmp_path: Path) -> None:
    """A file that no editor answers to would silently never apply."""
    message = (
        "thresholds/rmoe.toml: editor: no editor is called 'rmoe', as this file is; put editor = \"NAME\" at the top. "
        "Allowed: memit, rome"
    )
    assert problem("", tmp_path / "rmoe.toml") == message


def test_the_policy_has_no_known_failures(tmp_path: Path) -> None:
    """A known failure is an editor's; in the policy it would excuse all of them."""
    assert "known_failures: not allowed for all editors; they belong in" in problem(KNOWN, tmp_path / "default.toml")


LINES = {
    "in a list of tables": (SAFETY + SAFETY.replace("0.9", "1.0").replace('r"', 'r"\nfrom_edits = 5'), 5),
    "after text of several lines": ('[area.safety]\nreason = """\n[#42]\n[area.safety]\n"""\nfloor = false\n', 6),
    "in dots": ('area.safety.reason = "r"\n\narea.safety.floor = "0.9"\n', 3),
    "in one line": ('area.safety = { reason = "r", floor = -1 }\n', 1),
    "of a key that is not there": ('\n[area.safety]\nreason = "r"\n', 2),
    "of a model": ('[model.llama-mini.benchmark.mmlu]\nreason = "r"\nfloor = 9\n', 3),
}


@pytest.mark.parametrize("case", LINES)
def test_a_mistake_is_found_at_its_line(tmp_path: Path, case: str) -> None:
    """The line is that of the key, however the table is written and whatever stands in texts before it."""
    text, line = LINES[case]
    assert problem(text, tmp_path / "rome.toml").startswith(f"thresholds/rome.toml, line {line}: ")


@pytest.mark.parametrize(
    ("folder", "text", "message"),
    [
        ("gpt2-mini", KNOWN, "model: llama-mini is not allowed here; the folder is that of gpt2-mini"),
        ("gpt2-mini", "[model.gpt2-mini]\n", "model: not allowed here; the folder says which"),
        ("gpt3-mini", "", "no model is called 'gpt3-mini'; allowed: gpt2-mini, llama-mini, a hub id"),
    ],
)
def test_a_folder_is_of_one_model(tmp_path: Path, folder: str, text: str, message: str) -> None:
    """A file in a model's folder that speaks of another model, or a folder of no model, is a mistake."""
    assert message in problem(text, tmp_path / "rome.toml", folder)


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A file that is not there, or not text, is one line."""
    assert "line 2: not UTF-8" in problem(b"\n\xff", tmp_path / "rome.toml")
    assert "nested too deeply" in problem("x = " + "[" * 3000, tmp_path / "rome.toml")
    assert "thousands of digits" in problem("x = " + "9" * 5000, tmp_path / "rome.toml")
    with pytest.raises(ConfigError, match=r"^mine.toml: cannot be read \(No such file"):
        read_file(tmp_path / "mine.toml", "mine.toml", NAMES)
