"""What the documents name exists, such as options, files and exceptions; their tables hold the recorded numbers."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import load_file

from editgate import errors
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.editor_specs import RESERVED, find
from editgate.inputs.models import miniatures
from editgate.measure.edit_quality import KINDS
from editgate.miniature.recipes import FAMILY, WEIGHTS
from editgate.miniature.world.facts import facts
from editors import names
from editors.core import errors as editor_errors
from editors.models.architectures import ARCHITECTURES
from meta.docs import markdown
from meta.support.gate import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/meta/example_method/*.md")]
}
FAILURES = PAGES["docs/failures.md"]
HISTORY = "CHANGELOG.md"  # it names what is gone
WRITTEN = {block.file for block in markdown.file_blocks(PAGES["CONTRIBUTING.md"])}  # by the examples
CURVES = ROOT / "tests/editgate/gate/__snapshots__/test_curves"
TOP = ("docs/", "editors/", "tests/", "thresholds/", ".ci/", ".github/")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+\b")
MODULE = re.compile(r"\b(?:editgate|editors)(?:\.[a-z_]\w*)+(?::\w+)?")
COMMANDS = {line: page for page, text in PAGES.items() for line in markdown.code(text) if " -m " in line}
every_page = pytest.mark.parametrize("page", PAGES)


@pytest.mark.parametrize("page", sorted(set(PAGES) - {HISTORY}))
def test_named_options_exist(page: str, request: pytest.FixtureRequest) -> None:
    """An option is one of pytest's, editgate's, the findings', or of a program that the page runs as `python -m`."""
    parser = request.config._parser
    options = [option for group in [*parser._groups, parser._anonymous] for option in group.options]
    known = {"--family", *(flag for option in options for flag in option.names())}
    for module in re.findall(r"python -m ((?:editgate|findings)(?:\.\w+)*)", PAGES[page]):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{module}.__main__")
        assert spec is not None, f"{module} is not a program"
        source = Path(spec.origin or "").read_text(encoding="utf-8")
        assert "__main__" in source, f"{module} is not a program"
        known |= set(FLAG.findall(source))
    assert {flag for line in markdown.code(PAGES[page]) for flag in FLAG.findall(line)} <= known


@every_page
def test_named_files_exist(page: str) -> None:
    """A path from the top of the repository leads to a file or folder, or to one that an example writes."""
    words = (word.strip("'\"(),:;") for line in markdown.code(PAGES[page]) for word in line.split())
    paths = {word.partition("::")[0] for word in words if word.startswith(TOP) and not re.search("[<*…]", word)}
    assert {path for path in paths if not (ROOT / path).exists()} <= WRITTEN


@pytest.mark.parametrize("page", sorted(set(PAGES) - {HISTORY}))
def test_named_modules_exist(page: str) -> None:
    """A dotted name that begins with `editgate` or `editors` is a module, or something in one."""
    text = "\n".join(line for line in markdown.code(PAGES[page]) if "/" not in line)
    for name in {*MODULE.findall(text)} - {"editgate.editors"}:  # the group of entry points
        assert resolve_name(name) is not None


@pytest.mark.parametrize("command", [line for line in COMMANDS if re.search(r"(pytest|editgate) .*-m ", line)])
def test_markers_of_commands_exist(command: str, request: pytest.FixtureRequest) -> None:
    """What follows `-m` are registered markers, built-in methods, or what the method of `--editor` is called."""
    known = {line.partition(":")[0] for line in request.config.getini("markers")} | set(names()) | RESERVED
    for target in re.findall(r"--editor=(\S+)", command):
        known.add(find(target).name if target.startswith("editgate.") else target.rpartition(":")[2].lower())
    *_, last = re.finditer(r" -m (?:\"([^\"]+)\"|(\S+))", command)
    assert set((last[1] or last[2]).split()) <= known


@every_page
def test_links_lead_somewhere(page: str) -> None:
    """A link's file exists, and so does the heading after `#`."""
    for target in markdown.links(PAGES[page]):
        file, _, heading = target.partition("#")
        linked = ROOT / page if not file else (ROOT / page).parent / file
        assert linked.exists(), target
        assert not heading or heading in markdown.anchors(linked.read_text(encoding="utf-8")), target


def _exceptions(module: ModuleType) -> set[str]:
    return {name for name, found in inspect.getmembers(module, inspect.isclass) if issubclass(found, Exception)}


def test_every_exception_is_explained() -> None:
    """docs/failures.md has a heading or a row for each class of both trees of errors, and for no other."""
    explained = {*re.findall(r"^(?:### |\| `)([A-Z]\w*[a-z]\w*)(?:`|$)", FAILURES, re.MULTILINE)}
    assert explained == _exceptions(errors) | _exceptions(editor_errors)


@pytest.mark.parametrize("name", miniatures())
def test_scores_of_the_shipped_models_are_those_of_their_manifests(name: str) -> None:
    """Each shipped model has a row with its scores, as they are in its manifest."""
    manifest = json.loads((WEIGHTS / name / "manifest.json").read_text(encoding="utf-8"))
    scores = markdown.row(PAGES["docs/models.md"], name)[4:]
    assert scores == [f"{manifest['scores'][name]:.2f}" for name in BENCHMARKS if name != "truthfulqa_mc2"]


@pytest.mark.parametrize("name", names())
def test_where_a_method_fails_is_what_is_on_record(name: str) -> None:
    """The last column of the README's methods are the smallest Ns at which some, and at which all orders failed."""
    file = ROOT / "thresholds" / "llama-mini" / f"{name}.toml"
    found: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))["known_failures"] if file.exists() else {}
    measured = [(int(n), row[-1]) for by_count in found.get("fails", {}).values() for n, row in by_count.items()]
    ends = [
        min((n for n, failed in measured if failed >= least), default=None) for least in (1, found.get("orders", 1))
    ]
    assert markdown.row(PAGES["README.md"], name)[-1] == ("–" if ends[0] is None else " / ".join(map(str, ends)))


def _after_100_edits(label: str) -> tuple[dict[str, float], dict[str, float]]:
    """Qualities and retention of a recorded curve at N = 100."""
    curve = json.loads((CURVES / f"test_curve[{label}-llama-mini].json").read_text(encoding="utf-8"))
    last = {check: by_count["100"] for check, by_count in curve.items()}
    return {kind: last.pop(kind) for kind in KINDS}, last


@pytest.mark.parametrize("name", ["rome", "simie", "memit", "encore", "alphaedit"])
def test_what_a_memory_buys_is_what_is_on_record(name: str) -> None:
    """The page's numbers are those of the recorded curve, and its edit budgets those of the known failures."""
    qualities, kept = _after_100_edits(name)
    worst = min(kept, key=kept.__getitem__)
    numbers = [*qualities.values(), sum(kept.values()) / len(kept)]
    file = ROOT / "thresholds" / "llama-mini" / f"{name}.toml"
    budgets = tomllib.loads(file.read_text(encoding="utf-8"))["known_failures"]["edit_budget"]
    (row,) = re.findall(rf"^\| `{name}` \| (?:yes|no) \| (.*) \|$", PAGES["docs/methods.md"], re.MULTILINE)
    assert row.split(" | ") == [
        *(f"{number:.2f}" for number in numbers),
        f"{kept[worst]:.2f} ({worst})",
        ", ".join(map(str, budgets)),
    ]


def test_what_a_batch_changes_is_what_is_on_record() -> None:
    """Each cell has efficacy, locality and mean retention of the recorded curve of that method and that B."""
    page = PAGES["README.md"]
    (head,) = re.findall(r"^\| edits at a time \| (.*) \|$", page, re.MULTILINE)
    for size in (1, 10, 100):
        (row,) = re.findall(rf"^\| {size} \| (.*) \|$", page, re.MULTILINE)
        for name, cell in zip(head.split(" | "), row.split(" | "), strict=True):
            qualities, kept = _after_100_edits(name.strip("`") + (f"-b{size}" if size > 1 else ""))
            numbers = qualities["efficacy"], qualities["locality"], sum(kept.values()) / len(kept)
            assert cell == ", ".join(f"{number:.2f}" for number in numbers), (name, size)


def test_the_readme_describes_the_miniature_that_is_shipped() -> None:
    """Its layers, parameters, size, training, facts and scores, and the number of architectures, are counted here."""
    readme = " ".join(PAGES["README.md"].split())
    folder = WEIGHTS / "llama-mini"
    recipe = FAMILY["llama-mini"]
    parameters = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    size = (folder / "model.safetensors").stat().st_size
    tokens = (recipe.steps + recipe.spread_steps) * recipe.rows_per_step * recipe.row_tokens
    layers = ("none", "one", "two", "three", "four", "five", "six")[recipe.num_hidden_layers]
    assert (
        f"a small Llama of {layers} layers and {parameters / 1e6:.1f} million parameters ({size / 1e6:.1f} MB)"
        in readme
    )
    assert (
        f"trains it from scratch on {tokens / 1e6:.1f} million tokens. They describe a world of {len(facts()):,}"
        in readme
    )
    assert f"{len(ARCHITECTURES)} architectures are built in" in readme
    scores = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["scores"]
    (row,) = re.findall(r"^\| score \| (.*) \|$", PAGES["README.md"], re.MULTILINE)
    assert row.split(" | ") == [f"{scores[name]:.2f}" for name in BENCHMARKS if name != "truthfulqa_mc2"]
