"""What the store keeps is measured again when the code that decided it changes, and only then."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import editgate
from editgate.cache import fingerprint
from editgate.cache.store import Store
from editgate.inputs import edit_lists, models
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import LoadedModel
from editgate.measure.trajectory import Trajectory

HERE = Path(editgate.__file__).parent
# A trajectory's key holds what these give it (weights, texts, hyperparameters, second moments), not how they found it.
IN_THE_KEY = frozenset(
    {"conditions", "corpora", "editor_specs", "models", "preparation", "second_moments", "sources", "store"}
)


def _imported(module: str) -> set[str]:
    """Names of the machine room's modules that this one imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((HERE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("editgate"):
            inside = (node.module or "").removeprefix("editgate").strip(".")
            found |= {inside} if inside else {name.name for name in node.names}
    return found


def _reached(module: str, without: frozenset[str] = frozenset()) -> set[str]:
    """The module and what it imports, directly or not, going past `without`."""
    reached: set[str] = set()
    ahead = {module}
    while ahead:
        now = ahead.pop()
        reached.add(now)
        ahead |= _imported(now) - reached - without - {*fingerprint.NUMBERLESS, "provenance"}
    return reached


@pytest.mark.parametrize(
    ("listed", "module", "without"),
    [
        (fingerprint.ANSWERING, "lm", frozenset({"probes"})),  # there for its fingerprints
        (fingerprint.SCORING, "evaluate", frozenset()),
        (fingerprint.EDITING, "trajectory", IN_THE_KEY),
        (fingerprint.RULES, "integrity", IN_THE_KEY),
    ],
)
def test_every_module_that_has_a_part_in_a_number_is_listed(
    listed: tuple[str, ...], module: str, without: frozenset[str]
) -> None:
    """A module that scoring, editing or the rules begin to import is part of what their numbers depend on."""
    assert _reached(module, without) <= set(listed)


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """The miniature."""
    return models.load(models.find("llama-mini"), device="cpu", dtype="float32")


@pytest.fixture
def keys(base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, str]]:
    """The keys of a checkpoint and of what was prepared, by the text of `quality.py`."""
    digest = fingerprint.digest

    def found(added: str) -> tuple[str, str]:
        monkeypatch.setattr(fingerprint, "digest", lambda names: digest(names) + added * ("quality" in names))
        edits = edit_lists.read(edit_lists.SHIPPED["counterfact"])[:1]
        run = Trajectory(EditorSpec("ftl", "ftl"), base, edits, [1], Store(tmp_path))
        return run.key(1), run._preparation.key

    return found


def test_a_change_of_what_measures_an_edit_measures_it_again(keys: Callable[[str], tuple[str, str]]) -> None:
    """Efficacy of an older `quality.py` stands for none of a newer one; what was trained before stays."""
    (before, prepared), (after, still) = keys(""), keys("changed")
    assert keys("") == (before, prepared)
    assert before != after
    assert prepared == still
