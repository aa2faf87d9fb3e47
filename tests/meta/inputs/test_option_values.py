"""No value of an option can do more than stop the run with one sentence."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editgate.errors import ConfigError
from editgate.inputs.editor_specs import EditorSpec, parse_settings
from editgate.inputs.unedited_model import LoadedModel
from editgate.options.options import Options
from editgate.options.settings import read
from meta.support.fuzzing import examples
from meta.support.gate import run_gate

DIGITS = "9" * 5000
LONG = "a" * 300
BAD: list[tuple[dict[str, Any], str]] = [
    ({"edit_counts": "²"}, "--edit-counts '²': '²' is not a number of edits"),
    ({"edit_counts": "1,٣"}, "'٣' is not a number of edits"),
    ({"edit_counts": DIGITS}, "is not a number of edits"),
    ({"edit_counts": "1,,5"}, "'' is not a number of edits"),
    ({"edit_counts": "0"}, "'0' is not a number of edits"),
    ({"edit_counts": "1_0"}, "'1_0' is not a number of edits"),
    ({"budget": DIGITS}, "is not a valid number of orders"),
    ({"budget": "²"}, "--budget '²' is not a valid number of orders"),
    ({"budget": "٣"}, "is not a valid number of orders"),
    ({"min_budget": DIGITS}, "--min-budget"),
    ({"limit": DIGITS}, "--limit"),
    ({"limit": "1e3"}, "--limit '1e3'"),
    ({"edit_order": DIGITS}, "--edit-order"),
    ({"editor": ("rome",), "editor_arg": ("layers=" + "[" * 3000,)}, "--editor-arg .*nested too deeply"),
    ({"editor": ("rome",), "editor_arg": ("v_lr=" + DIGITS,)}, "--editor-arg .*thousands of digits"),
    ({"editor": ("rome",), "editor_arg": ("layers=[1,2",)}, r"--editor-arg 'layers=\[1,2': the value is not TOML"),
    ({"editor": ("rome",), "editor_arg": ('name="x',)}, "the value is not TOML"),
    ({"editor": ("rome",), "editor_arg": ("layers=[1979-05-27]",)}, "dates are not allowed"),
    ({"editor": ("rome",), "editor_arg": ("=1",)}, "is not of the form key=value"),
    ({"editor": ("rome:" + LONG,)}, "--editor"),
    ({"editor": ("é:ü",)}, "--editor"),
    ({"max_memory": "cpu:1GiB"}, "--max-memory 'cpu:1GiB' is for --device auto, and --device is cpu"),
    ({"device": "auto", "max_memory": ""}, "--max-memory"),
    ({"device": "auto", "max_memory": "cpu"}, "--max-memory 'cpu': '' is no size"),
    ({"device": "auto", "max_memory": "cpu:-1"}, "'-1' is no size"),
    ({"device": "auto", "max_memory": "cpu:inf"}, "'inf' is no size"),
    ({"device": "auto", "max_memory": "cpu:9" + DIGITS}, "is no size"),
    ({"device": "auto", "max_memory": "cpu:1GiB,cpu:2GiB"}, "'cpu' cannot be used. Allowed, each once: "),
    ({"device": "auto", "max_memory": "disk:1GiB"}, "'disk' cannot be used"),
    ({"device": "auto", "max_memory": DIGITS + ":1GiB"}, "cannot be used"),
    ({"model": ""}, "--model is empty"),
    ({"edits": ""}, "--edits is empty"),
    ({"documents": ""}, "--documents is empty"),
    ({"editor": ("",)}, "--editor is empty"),
    ({"model": LONG}, "is not known"),
    ({"model": "a/" + LONG}, "is not known"),
    ({"model": "a/é"}, "--model 'a/é' is not known"),
    ({"model": "a/b-"}, "is not known"),
    ({"model": "a\0b"}, "is no text in UTF-8"),
    ({"model": "a\udcff"}, "is no text in UTF-8"),
    ({"edits": LONG}, "is neither a file nor a shipped list"),
    ({"edits": "answers:" + LONG}, "is neither a file nor a shipped list"),
    ({"model": "gpt2", "documents": LONG}, "is not a documents directory"),
    ({"covariance_text": LONG, "model": "gpt2"}, "cannot be read"),
    ({"edited": LONG, "model": "llama-mini"}, "does not exist"),
    ({"thresholds": (LONG,)}, "cannot be read"),
    ({"store": "/proc/" + LONG}, "store"),
    ({"device": "é"}, "--device"),
    ({"device": LONG}, "--device"),
    ({"dtype": "int8"}, "--dtype 'int8'"),
    ({"profile": LONG}, "--profile"),
]


@pytest.mark.parametrize("case", BAD, ids=[f"{n}-{'-'.join(given)}" for n, (given, _) in enumerate(BAD)])
def test_a_wrong_value_is_a_usage_error(case: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    """Digits that are no numbers, names longer than any file's, and nesting without end are one sentence each."""
    given, message = case
    with pytest.raises(ConfigError, match=message) as raised:
        read(Options.of(given), tmp_path / "store")
    assert "\n" not in str(raised.value)


EDITOR_ARGUMENTS = {
    "x=1": 1,
    "x=0.5": 0.5,
    "x=true": True,
    "x=[3, 4]": [3, 4],
    "x='a b'": "a b",
    "x=a b": "a b",
    "x=C# major": "C# major",
    "x=1 # c": "1 # c",
    "x=1\ny=2": "1\ny=2",
    "x=1, y = 2": "1, y = 2",
    "x=1979-05-27": "1979-05-27",
    "x=a=b": "a=b",
    "x=": "",
}


@pytest.mark.parametrize("text", EDITOR_ARGUMENTS)
def test_all_of_an_editors_argument_counts(text: str) -> None:
    """A value is read whole: no comment, no second line and no second key of it is dropped without a word."""
    assert parse_settings([text]) == {"x": EDITOR_ARGUMENTS[text]}


def test_a_long_text_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text setting of an editor of one's own may be longer than any file's name."""
    monkeypatch.setattr("editgate.inputs.editor_specs._digest_of_package", lambda _: "")
    spec = EditorSpec("mine", "editgate.controls:NoOp", {"prompt": LONG, "nul": "\0"})
    assert spec.identity(LoadedModel.__new__(LoadedModel))["files"] == {}


def test_an_argument_in_no_encoding_is_in_the_report(pytester: pytest.Pytester) -> None:
    """Bytes that are no UTF-8 in some other argument do not keep the report from being written."""
    run_gate(pytester, f"--report={pytester.path / 'report'}", "-k", "nothing\udcff", files=("integrity",))
    written = json.loads((pytester.path / "report" / "report.json").read_text(encoding="utf-8"))
    assert written["subject"]["command"].endswith(r"-k $'nothing\xff'")


KEYS = st.sampled_from(
    ["profile", "model", "editor", "editor_arg", "thresholds", "edits", "edited", "edit_counts", "edit_order", "budget",
     "min_budget", "limit", "documents", "covariance_text", "dtype", "inconclusive"]
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["rome", "llama-mini", "counterfact", "1,5", "5", "0", "-1", ".", "..", "/", "~", "a=1", "nan"]),
    st.text(alphabet="0123456789,.-+_e٣²", max_size=12),
    st.text(alphabet="/.-_ab:=[]{}\"'\\\n#é\0", max_size=16),
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3))
def test_no_value_does_more_than_stop_the_run(tmp_path: Path, values: dict[str, str]) -> None:
    """Whatever stands after an option, the settings are read or a usage error is raised."""
    listed = {"editor", "editor_arg", "thresholds"}
    with suppress(ConfigError):
        read(Options.of({key: (text,) if key in listed else text for key, text in values.items()}), tmp_path / "store")
