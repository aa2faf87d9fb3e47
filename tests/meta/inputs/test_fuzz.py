"""Every reader of a user's file reads it or raises our own error with the file's name: two thousand broken files.

EDITGATE_NIGHTLY makes it twenty thousand. What is broken is a valid file, so that the mistakes lie deep in it.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editgate.errors import ConfigError
from editgate.inputs import edit_lists, model_loading
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.editor_specs import parse_settings
from editgate.inputs.files.document_io import read_dataset, read_settings
from editgate.report.run_report import read_report
from editgate.verdict.threshold_files import read_file
from editgate.verdict.threshold_schema import Names
from meta.inputs.test_edit_lists import FLAT, NESTED, OWN, QA, ZSRE
from meta.report.report_cases import memit, record
from meta.support import tiny_models as tiny
from meta.support import toy
from meta.support.fuzzing import examples
from meta.support.mutations import broken_bytes, broken_json
from meta.verdict.test_thresholds import KNOWN

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
NAMES = Names(("memit", "rome"), tuple(BENCHMARKS), ("gpt2-mini", "llama-mini"))
FLOORS = (
    b'[area.safety]\nfloor = 0.9\nreason = """\nr\n"""\n[[benchmark.mmlu]]\nfrom_edits = 5\nfloor = 0.5\nreason = "r"\n'
)
GATE = b"[mmlu]\nnum_fewshot = 2\n[gsm8k]\nnum_fewshot = 2\nmax_new_tokens = 12\n"


def _survives(file: Path, data: bytes, read: Callable[[Path], object]) -> None:
    """Read the file; what is raised must be ours and name it, or the test fails with what was raised."""
    file.write_bytes(data)
    try:
        read(file)
    except ConfigError as error:
        shown = str(error)
    else:
        return
    assert file.name in shown


@settings(SLOW, max_examples=examples(400))
@given(st.data())
def test_edits(tmp_path: Path, data: st.DataObject) -> None:
    """Lists of edits in each of their formats, as a list and by lines."""
    record = data.draw(st.sampled_from([NESTED, ZSRE, FLAT, QA, OWN]))
    broken = data.draw(
        broken_json([record, record]) | broken_bytes(f"{json.dumps(record)}\n{json.dumps(record)}".encode())
    )
    _survives(tmp_path / data.draw(st.sampled_from(["edits.json", "edits.jsonl"])), broken, edit_lists.read)


DOCUMENTS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "mmlu": toy.mmlu, "gsm8k": toy.gsm8k, "commonsenseqa": toy.commonsense_qa, "triviaqa": toy.triviaqa,
    "truthfulqa": toy.truthfulqa, "truthfulqa_mc2": toy.truthfulqa, "toxigen": toy.toxigen,
    "bbh": lambda rng: toy.bbh(rng, "object_counting"),
}  # fmt: skip


@settings(SLOW, max_examples=examples(350))
@given(st.data(), st.randoms(use_true_random=False))
def test_documents(tmp_path: Path, data: st.DataObject, rng: Any) -> None:  # noqa: ANN401 - hypothesis' own class
    """Documents of each benchmark."""
    name = data.draw(st.sampled_from(sorted(DOCUMENTS)))
    broken = data.draw(broken_json([DOCUMENTS[name](rng) for _ in range(2)]))
    _survives(tmp_path / "test.json", broken, lambda file: read_dataset(file, BENCHMARKS[name]))


@settings(SLOW, max_examples=examples(300))
@given(broken_bytes(GATE))
def test_document_settings(tmp_path: Path, data: bytes) -> None:
    """settings.toml of a folder of documents."""
    _survives(tmp_path / "settings.toml", data, read_settings)


@settings(SLOW, max_examples=examples(300))
@given(broken_bytes(FLOORS) | broken_bytes(KNOWN.encode()))
def test_thresholds(tmp_path: Path, data: bytes) -> None:
    """Files of thresholds, with floors and with known failures."""
    _survives(tmp_path / "rome.toml", data, lambda file: read_file(file, file.name, NAMES))


@settings(SLOW, max_examples=examples(400))
@given(broken_bytes(b"layers=[3, [4, 5]]") | broken_bytes(b"v_lr=0.5") | broken_bytes(b'name="a"'))
def test_editor_arguments(data: bytes) -> None:
    """Values of `--editor-arg`, which are TOML or text."""
    try:
        parse_settings([data.decode(errors="replace")])
    except ConfigError as error:
        shown = str(error)
    else:
        return
    assert "--editor-arg" in shown


@settings(SLOW, max_examples=examples(150))
@given(data=broken_json(json.loads(record(memit()).model_dump_json())))
def test_earlier_reports(tmp_path: Path, data: bytes) -> None:
    """The report.json of `--compare`."""
    _survives(tmp_path / "report.json", data, read_report)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-random"
    tiny.model("llama").save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@settings(SLOW, max_examples=examples(30))
@given(st.data())
def test_model_files(whole: Path, name: str, data: st.DataObject) -> None:
    """The JSON files of a model's directory, which transformers and tokenizers read in their own ways."""
    valid = json.loads((whole / name).read_text(encoding="utf-8"))
    folder = shutil.copytree(whole, whole.parent / "broken", dirs_exist_ok=True)
    (folder / name).write_bytes(data.draw(broken_json(valid)))
    try:
        model_loading.check("--model", folder, tokenizer=True)
    except ConfigError as error:
        shown = str(error)
    else:
        return
    assert str(folder) in shown
    assert "\n" not in shown
