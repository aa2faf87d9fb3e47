"""`load_report` and the schemas: what was written is read back as it was, and what was not is refused by name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editgate import load_report
from editgate.errors import ConfigError
from editgate.report.conclusion import Conclusion
from editgate.report.data.items import FlippedItem, read_items
from editgate.report.data.schema import SHIPPED, main, schemas
from editgate.report.run_report import RunReport, Subject
from editgate.report.trajectory_summary import TrajectorySummary
from editgate.report.writer import FLIPS_SHOWN, build_report, write
from editgate.verdict.outcome import Age, Cell, Flip, OrderBudget
from meta.report.report_cases import SUBJECT, cell, collected, memit, others, record
from meta.support.gate import ROOT

DOCUMENTATION = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


def with_flips(count: int) -> Cell:
    """Return a cell with so many items that got worse, some of them with texts that want escaping."""
    flips = tuple(
        Flip(f"Is it\u2028{number}? {{}} =1+1", "yes", "yes", f"no\n{number}", "t", f"d{number}")
        for number in range(count)
    )
    return replace(cell("mmlu", 10, 0.1 + 0.2 - 0.3, "regression"), flips=flips, flipped=count)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["version", "cells", "x"]), inner),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a written report with forty items that got worse."""
    folder = tmp_path_factory.mktemp("written")
    write(record([with_flips(40), *memit(), *others()]), folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(written, tmp_path / "report"))


def test_frames_hold_what_was_written(folder: Path) -> None:
    """Every verdict, every item, every budget and norm has its row; the folder and the file are the same report."""
    loaded = load_report(folder)
    assert len(loaded.cells) == len(loaded.report.cells) == 12
    assert set(loaded.cells["standing"]) >= {"collapse", "regression", "known", "could not be evaluated", "passed"}
    assert len(loaded.items) == 41
    assert loaded.items["question"][0] == "Is it\u20280? {} =1+1"
    assert set(loaded.budgets["trajectory"]) == {"memit-llama-mini", "rome-llama-mini", "kn-llama-mini"}
    assert loaded.norms["norm_ratio"].max() == 170_000
    again = load_report(folder / "report.json").report
    assert again.model_dump_json() == loaded.report.model_dump_json()  # NaN is in it, which equals nothing


def test_the_report_has_a_few_items_and_says_how_many_there_are(folder: Path) -> None:
    """report.json stays small whatever got worse; the number is the true one, and items.jsonl has all."""
    first = load_report(folder).report.cells[0]
    assert (len(first.flips), first.flipped) == (FLIPS_SHOWN, 40)
    assert len((folder / "items.jsonl").read_text(encoding="utf-8").split("\n")) == 41 + 1


def test_numbers_have_no_noise(folder: Path) -> None:
    """No number in either JSON file has digits that come of binary arithmetic alone."""
    text = (folder / "report.json").read_text(encoding="utf-8")
    assert max(len(number.lstrip("-0.").replace(".", "")) for number in re.findall(r"-?\d+\.\d+", text)) <= 10
    assert '"value": 5.551115123e-17' in text  # rounded, not hidden


def test_a_command_line_of_any_bytes_is_written(tmp_path: Path) -> None:
    """An argument that is not UTF-8 is shown as an escape; the report of such a run is written and read like any."""
    subject = SUBJECT.model_dump() | {"command": "pytest x\udcff", "model": "m\udce9"}
    made = build_report(Subject(**subject), collected([cell("mmlu", 1, 1.0)]), 1)
    write(made, tmp_path)
    assert load_report(tmp_path).report.subject.command == r"pytest x\udcff"
    assert r"m\udce9" in (tmp_path / "report.html").read_text(encoding="utf-8")


def not_json(folder: Path) -> None:
    (folder / "report.json").write_text("hello", encoding="utf-8")


def nested(folder: Path) -> None:
    (folder / "report.json").write_text("[" * 100_000, encoding="utf-8")


def no_items(folder: Path) -> None:
    (folder / "items.jsonl").unlink()


def cut(folder: Path) -> None:
    file = folder / "items.jsonl"
    file.write_text(file.read_text(encoding="utf-8")[:-9], encoding="utf-8")


def later(folder: Path) -> None:
    (folder / "items.jsonl").write_text('{"version": 9}\n', encoding="utf-8")


def binary(folder: Path) -> None:
    (folder / "items.jsonl").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (not_json, "report.json: not a report of version 3"),
        (nested, "report.json: not a report of version 3"),
        (no_items, "items.jsonl: cannot be read (No such file or directory)"),
        (cut, "items.jsonl, line 41: not an item of version 1"),
        (later, "items.jsonl, line 1: an item of version 9, and this editgate reads version 1"),
        (binary, "items.jsonl: cannot be read (not a text file)"),
    ],
)
def test_what_cannot_be_read_is_named(damage: Any, message: str, folder: Path) -> None:  # noqa: ANN401 - a function
    """A missing, damaged or foreign file is one sentence with the file, the line and what would be right."""
    damage(folder)
    with pytest.raises(ConfigError, match=re.escape(message)):
        len(load_report(folder).items)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1")), json_values.map(json.dumps)))
def test_no_text_is_anything_but_a_report_or_an_error_of_ours(text: str) -> None:
    """Whatever stands in the two files: frames, or one sentence that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("report.json", "items.jsonl"):
            Path(folder, name).write_bytes(text.encode("utf-8", "surrogatepass"))
        for read in (lambda: load_report(folder), lambda: read_items(Path(folder, "items.jsonl"))):
            message = f"{folder}: read without an error"
            try:
                read()
            except ConfigError as error:
                message = str(error)
            assert folder in message


def test_no_folder_is_named(tmp_path: Path) -> None:
    """A path without a report is refused before pandas makes anything of it."""
    with pytest.raises(ConfigError, match=r"nowhere: cannot be read"):
        load_report(tmp_path / "nowhere")


def test_importing_it_costs_nothing() -> None:
    """`from editgate import load_report` imports neither torch nor pandas nor matplotlib."""
    code = (
        "import sys\nfrom editgate import load_report\n"
        "sys.exit(str({'torch', 'pandas', 'matplotlib', 'transformers'} & set(sys.modules)) if "
        "{'torch', 'pandas', 'matplotlib', 'transformers'} & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own interpreter


def test_the_shipped_schemas_are_those_of_the_models(tmp_path: Path) -> None:
    """A field that is added, renamed or removed turns this red until `python -m editgate.report.data.schema` is run."""
    assert main([str(tmp_path)]) == 0
    for name, text in schemas().items():
        assert (SHIPPED / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8") == text


KINDS: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip


def errors(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:  # noqa: ANN401 - JSON
    """Return where a value disagrees with a schema; of JSON Schema only what pydantic writes."""
    schema = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if "anyOf" in schema:
        fits = any(not errors(value, option, root, at) for option in schema["anyOf"])
        return [] if fits else [f"{at}: {value!r} is none of the alternatives"]
    if allowed is not None:
        return [] if value in allowed else [f"{at}: {value!r} is not one of {allowed}"]
    if not isinstance(value, KINDS[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return [f"{at}: {value!r} is no {schema['type']}"]
    if isinstance(value, list):
        return [error for each in value for error in errors(each, schema["items"], root, f"{at}[]")]
    return errors_of_fields(value, schema, root, at) if isinstance(value, dict) else []


def errors_of_fields(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> list[str]:
    """Return the same for the fields of an object: missing, unknown, or wrong."""
    known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
    problems = [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
    for name, each in value.items():
        if name in known or isinstance(rest, dict):
            problems += errors(each, known.get(name, rest), root, f"{at}.{name}")
        elif not rest:
            problems.append(f"{at}.{name} is unknown")
    return problems


def test_reports_agree_with_the_schemas(folder: Path) -> None:
    """Both files of a report with every kind of outcome, NaN among them, are valid; a changed one is not."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    schema = json.loads((SHIPPED / "report.schema.json").read_text(encoding="utf-8"))
    assert errors(report, schema, schema) == []
    of_items = json.loads((SHIPPED / "items.schema.json").read_text(encoding="utf-8"))
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [error for line in lines for error in errors(json.loads(line), of_items, of_items)] == []
    report["cells"][0] |= {"edits": "ten", "colour": "red"}
    assert [error.partition(":")[0] for error in errors(report, schema, schema)] == [
        ".cells[].edits", ".cells[].colour is unknown",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "model", [RunReport, Subject, Conclusion, TrajectorySummary, FlippedItem, Cell, Flip, Age, OrderBudget]
)
def test_every_field_is_documented(model: Any) -> None:  # noqa: ANN401 - a class of either kind
    """docs/report.md names each field of both files."""
    names = set(model.model_fields) if hasattr(model, "model_fields") else {field.name for field in fields(model)}
    assert names - set(re.findall(r"`(\w+)`", DOCUMENTATION)) == set()


def test_the_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python of docs/report.md runs as it is printed, on a folder called report."""
    monkeypatch.chdir(folder.parent)
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENTATION, flags=re.DOTALL)
    exec(compile(code, "docs/report.md", "exec"), {})  # noqa: S102 - our own page
    printed = capsys.readouterr().out
    assert printed.startswith("COLLAPSE: 3 methods; ")
    assert "memit-llama-mini" in printed
