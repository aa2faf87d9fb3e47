"""What the documents say is so: their examples run, their commands parse, their texts are the code's."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from editgate.verdict.judging import Judged
from safetensors.torch import load_file

import editors
from editgate import errors
from editgate.inputs import benchmarks
from editgate.inputs.benchmarks import BENCHMARKS, Benchmark
from editgate.inputs.documents import LocalDocuments
from editgate.inputs.models import miniatures
from editgate.measure.evaluate import evaluate
from editgate.measure.prepare import prepare
from editgate.miniature.recipes import WEIGHTS
from editgate.options import options
from editgate.verdict import threshold_schema
from editgate.verdict.verdict import Verdict
from editors.core import errors as editor_errors
from editors.core import hyperparameters, registry
from editors.core.weights import same_bits
from editors.models import architectures
from meta.docs import markdown, sentences
from meta.editors import test_contract as contract
from meta.support import tiny_models as tiny
from meta.support import toy

ROOT = Path(__file__).parents[3]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
}
FAILURES = PAGES["docs/failures.md"]
EXAMPLES = markdown.files(PAGES["CONTRIBUTING.md"])
STANDS_FOR = (
    "NAME",
    "DIR",
    "FILE",
    "BASE",
    "CHANGED",
    "OLD.json",
    "my_pkg",
    "one_matrix",
    "$",
)  # a reader fills these in


def _classes(module: ModuleType, base: type[Exception]) -> list[str]:
    return [name for name, found in vars(module).items() if isinstance(found, type) and issubclass(found, base)]


@pytest.mark.parametrize("name", [*_classes(errors, Exception), *_classes(editor_errors, editors.EditorError)])
def test_whatever_is_refused_has_an_entry(name: str) -> None:
    """Every class of both trees of errors has a section of its own, or a row of the table, that says what to do."""
    assert name in markdown.sections(FAILURES) or f"\n| `{name}` |" in FAILURES or f"`{name}` is the base" in FAILURES


@pytest.mark.parametrize("text", markdown.blocks(FAILURES, "text"), ids=lambda text: text[:40].strip())
def test_texts_are_the_codes(text: str) -> None:
    """A text that a reader is to recognize is one that the code prints, with other values."""
    shown = sentences.squeezed(text)
    assert any(sentence.stands_in(shown) for sentence in sentences.all_of_them()), shown


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    """A file or folder that a page names is there, or is one that a worked example writes."""
    assert {path for path in markdown.paths(PAGES[page]) if not (ROOT / path).exists()} <= set(EXAMPLES)


COMMANDS = {" ".join(words): words for page in PAGES.values() for words in markdown.commands(page)}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option of a command exists and takes its value; each path, marker and name in it is known."""
    program, *words = COMMANDS[command]
    if program == "pytest":
        _check_pytest(words, request)
    else:
        _check_module(words[1:], monkeypatch)


def _check_pytest(words: list[str], request: pytest.FixtureRequest) -> None:
    given, unknown = request.config._parser.parse_known_and_unknown_args(words)
    assert not unknown
    assert [place for place in given.file_or_dir if not (ROOT / place.partition("::")[0]).exists()] == []
    if not any(name in word for word in words for name in STANDS_FOR):
        given.store = request.getfixturevalue("tmp_path")
        chosen = options.read(given, ROOT)
        known = {line.partition(":")[0] for line in request.config.getini("markers")}
        assert set(given.markexpr.split()) <= known | {spec.name for spec in chosen.editors} | {"and", "or", "not"}


class Parsed(Exception):  # noqa: N818 - no error
    """The command line was read, and nothing else is to be done."""


def _check_module(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(words[0])

    def read(parser: argparse.ArgumentParser, *_: object) -> None:
        parser.parse_known_args(words[1:])
        raise Parsed(parser.parse_known_args(words[1:])[1])

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read)
    if "argparse" in vars(module):
        with pytest.raises(Parsed) as caught:
            module.main()
        assert caught.value.args == ([],)


def _run_tests(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import an example's file of tests and run all of them."""
    file = folder / name
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    tests = [found for called, found in vars(module).items() if called.startswith("test_")]
    assert tests
    for test in tests:
        test()


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example of a method, in a folder of editors that holds nothing else."""
    markdown.below(tmp_path, {name: text for name, text in EXAMPLES.items() if "nudge" in name + text})
    with (tmp_path / "tests/meta/tiny_settings.toml").open("a", encoding="utf-8") as file:
        file.write(tiny.SETTINGS.read_text(encoding="utf-8"))
    monkeypatch.setattr(registry, "FOLDER", tmp_path / "editors")
    monkeypatch.setattr(hyperparameters, "FOLDER", tmp_path / "editors" / "defaults")
    monkeypatch.setattr(tiny, "SETTINGS", tmp_path / "tests/meta/tiny_settings.toml")
    monkeypatch.setattr(editors, "__path__", [*editors.__path__, str(tmp_path / "editors")])
    yield tmp_path
    sys.modules.pop("editors.nudge", None)
    hyperparameters.tables.cache_clear()


def test_the_readmes_checks_are_those_of_the_harness() -> None:
    """The Python that gates a method without a command line imports what there is and can be compiled."""
    block = next(each for each in markdown.blocks(PAGES["README.md"], "python") if "check_editor" in each)
    first, rest = block.split("\n", 1)
    exec(first, {})  # noqa: S102 - our own README
    assert compile(rest, "README.md", "exec")


def test_the_readmes_python_makes_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the README gives to try `--edited` on leaves a model that differs from its base, and undoes its edit."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    said: dict[str, Any] = {}
    block = next(each for each in markdown.blocks(PAGES["README.md"], "python") if "save_pretrained" in each)
    exec(block, said)  # noqa: S102 - our own page
    name = "model.layers.1.mlp.down_proj.weight"
    base, changed = (load_file(Path(folder) / "model.safetensors") for folder in (said["folder"], "CHANGED"))
    assert not same_bits(base[name].float(), changed[name])
    assert same_bits(base[name].float(), said["model"].get_parameter(name))


def test_the_example_of_a_method_keeps_the_contract(method: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by its file, edits, accumulates, undoes bit by bit on two families, and passes its own test."""
    assert editors.names() == ["nudge"]
    for family in ("llama", "gpt2"):
        contract.test_edits_accumulate_and_undo_is_bit_exact("nudge", family)
    _run_tests("tests/meta/test_properties_nudge.py", method, monkeypatch)


def test_the_example_of_a_method_has_defaults_and_limits(method: Path) -> None:
    """Its table of hyperparameters makes an editor for the model that it names; its limits are read."""
    model = tiny.model()
    editor = editors.create("nudge", model, tiny.tokenizer(), defaults="llama-mini")
    assert editor.hyperparameters.model_dump() == {"layers": (2,), "rate": 0.05}
    names = threshold_schema.Names(("nudge",), tuple(BENCHMARKS), ("llama-mini",))
    source = threshold_schema.read_source(method / "thresholds/nudge.toml", "thresholds/nudge.toml", names)
    assert [limit.benchmark for limit in source.contents.known_failure] == ["efficacy"]


def test_the_example_of_a_benchmark_is_asked(tmp_path: Path) -> None:
    """Its row builds lm-eval's task over its documents, a random model answers all, and its test is named after it."""
    (row,) = eval(EXAMPLES["tests/editgate/inputs/benchmarks.py"].strip().join("()"), vars(benchmarks))  # noqa: S307 - our own
    assert isinstance(row, Benchmark)
    documents = "tests/editgate/miniature/documents/piqa/validation.jsonl"
    markdown.below(tmp_path, {documents: EXAMPLES[documents]})
    source = LocalDocuments(tmp_path / "tests/editgate/miniature/documents")
    found = evaluate(prepare(row, source, toy.tokenizer(bos=True)), toy.model())
    assert (found.n, found.chance, found.metric) == (len(EXAMPLES[documents].splitlines()), 1 / 2, "acc,none")
    assert [item.question for item in found.items] == [
        json.loads(line)["goal"] for line in EXAMPLES[documents].splitlines()
    ]
    test: dict[str, object] = {"Judged": Judged, "Verdict": Verdict}
    exec(textwrap.dedent(EXAMPLES["tests/editgate/gate/test_capability.py"]), test)  # noqa: S102 - our own page
    assert f"test_{row.name}" in test


def test_the_example_of_a_family_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row takes the place of probing, and ROME writes the matrix that it names and no other tensor."""
    added = eval(EXAMPLES["editors/models/architectures.py"].strip().join("{}"), vars(architectures))  # noqa: S307 - our own page
    assert not set(added) & set(architectures.ARCHITECTURES)
    for name, row in added.items():
        monkeypatch.setitem(architectures.ARCHITECTURES, name, row)
    markdown.below(tmp_path, EXAMPLES)
    _run_tests("tests/meta/test_starcoder2.py", tmp_path, monkeypatch)


@pytest.mark.parametrize("name", miniatures())
def test_scores_of_the_family_are_those_of_its_manifests(name: str) -> None:
    """Each shipped model has a row with its scores, as they are in its manifest."""
    manifest = json.loads((WEIGHTS / name / "manifest.json").read_text(encoding="utf-8"))
    (row,) = (line for line in PAGES["docs/models.md"].splitlines() if line.startswith(f"| `{name}` |"))
    told = [cell.strip() for cell in row.strip("|").split("|")][4:]
    asked = [name for name in BENCHMARKS if name != "truthfulqa_mc2"]
    assert told == [f"{manifest['scores'][name]:.2f}" for name in asked]
