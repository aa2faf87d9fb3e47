"""`easyedit:METHOD` runs EasyEdit's methods as EasyEdit runs them, tried on the stand-in that has its interface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editgate.errors import EditsDoNotAccumulate
from editgate.inference.select_backend import backend
from editgate.inputs import editor_specs
from editgate.inputs.unedited_model import LoadedModel
from editgate.measure.integrity.trajectory_rules import RULES
from editgate.measure.trajectory import Trajectory
from editors import Editor, ForeignFailure, create
from editors.core.weights import same_bits
from editors.external.hooks import covariance_paths
from editors.external.wrapper_model import WrapperModel
from meta.support import tiny_models as tiny
from meta.support.tiny_runs import loaded, trajectory

STATISTICS = ("mom2_dataset: wikipedia", "mom2_n_samples: 100000", "mom2_dtype: float32", "stats_dir: ./data/stats")
PROJECTION = (*STATISTICS, "P_loc: ./null_space_project.pt")


def settings(folder: Path, method: str, *more: str) -> dict[str, str]:
    """A hyperparameter file of that method, as `--editor-arg` gives it."""
    file = folder / f"{method}.yaml"
    lines = [
        f"alg_name: {method}",
        "layers: [1]",
        "rewrite_module_tmp: model.layers.{}.mlp.down_proj",
        "lm_head_module: lm_head",
        "device: 0",
        *more,
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return {"hparams": str(file)}


def editor_of(folder: Path, method: str, *more: str, **resources: object) -> Editor:
    """That method on a tiny model, with edits to take irrelevant prompts from."""
    given = settings(folder, method, *more)
    return create(f"easyedit:{method}", tiny.model(), tiny.tokenizer(), training=tiny.EDITS[2:], **resources, **given)


def after(editor: Editor, count: int) -> dict[str, Tensor]:
    """Its state after the first edits."""
    for edit in tiny.EDITS[:count]:
        editor.apply(edit)
    return editor.state()


def answering(editor: Editor, count: int) -> WrapperModel:
    """What stands in the place of the model after the first edits."""
    after(editor, count)
    found: object = editor.model
    assert isinstance(found, WrapperModel)
    return found


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """The same names and bits."""
    return left.keys() == right.keys() and all(same_bits(value, right[name]) for name, value in left.items())


def test_a_method_that_writes_weights(installed: Path) -> None:
    """Its edits accumulate in the model, repeat bit by bit in a second trajectory, and can be put back."""
    editor = editor_of(installed, "ROME")
    one, two = after(editor, 1), after(editor, 2)
    assert {name for name in one if name.startswith("weight:")} == {"weight:model.layers.1.mlp.down_proj.weight"}
    assert not equal(one, two)
    other = editor_of(installed, "ROME")  # its module counts edits and its generator is the global one
    assert equal(after(other, 1), one)
    other.restore(two)
    assert equal(other.state(), two)
    other.undo()
    assert other.state() == {}


def test_a_wrapper_is_found_again_in_the_model(installed: Path) -> None:
    """What GRACE and WISE put into the model is there at the next edit, and the model that was handed over is not."""
    behind = answering(editor_of(installed, "GRACE"), 2)
    adapter = behind.exposed.model.get_submodule("model.layers.0.mlp").down_proj
    assert adapter.values == [len(edit.target_new) for edit in tiny.EDITS[:2]]
    assert equal(dict(behind.model.state_dict()), dict(tiny.model().state_dict()))
    ids = torch.tensor([[1, 5, 9, 9]])
    wanted = behind.exposed(input_ids=ids[:, :3], attention_mask=torch.ones(1, 3)).logits[0]
    with behind.reading([2], [3]):
        found = behind(ids).logits
    assert found is not None
    assert torch.equal(found[0, :3], wanted)  # without the padding
    written = behind.exposed.generate(input_ids=ids, max_new_tokens=3, do_sample=False)[0, 4:].tolist()
    assert behind.continue_routed((1, 5, 9, 9), 0, 3, frozenset()) == written


def test_every_editor_has_modules_of_its_own(installed: Path) -> None:
    """A third editor of GRACE edits as the first does: no module of it holds a class that another has replaced."""
    editors = [editor_of(installed, "GRACE") for _ in range(3)]
    assert len({type(answering(editor, 1).exposed) for editor in editors}) == 3


def test_an_executor_serves_one_trajectory(installed: Path) -> None:
    """What SERAC and MEND keep in an executor is made anew for each editor; text of another tokenizer is no answer."""
    editors = [editor_of(installed, "SERAC") for _ in range(2)]
    first, second = (answering(editor, count) for editor, count in zip(editors, (2, 1), strict=True))
    assert [len(each.exposed.cache) for each in (first, second)] == [2, 1]
    best = int(tiny.model()(torch.tensor([[1, 5, 9]])).logits[0, -1].argmax())
    assert first.continue_routed((1, 5, 9), 0, 1, frozenset()) == [best]


def test_lora_trains_its_adapter_at_every_edit_and_nothing_else(installed: Path) -> None:
    """The parameters that its first edit froze stay frozen at the second."""
    behind = answering(editor_of(installed, "LoRA"), 2)
    changed = dict(behind.exposed.base_model.state_dict())
    assert float(changed.pop("lora_A")) == len(tiny.EDITS[0].target_new + tiny.EDITS[1].target_new)
    assert equal(changed, dict(tiny.model().state_dict()))


def test_lora_drops_out_at_every_edit(installed: Path) -> None:
    """EasyEdit never says in which mode it trains: what the first edit left in training mode is so at the second."""
    behind = answering(editor_of(installed, "LoRA"), 2)
    assert behind.exposed.base_model.dropped == [True, True]
    assert not any(module.training for module in behind.exposed.modules())


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("method", ["GRACE", "LoRA", "SERAC", "WISE"])
def test_wrappers_keep_the_rules(installed: Path, method: str, rule: str) -> None:
    """GRACE, LoRA, SERAC and WISE keep every rule, so that a broken one says something of the method."""
    run = trajectory(installed, f"easyedit:{method}", **settings(installed, method))
    RULES[rule](_with_source(run, training=lambda: tiny.EDITS[2:]))


def test_a_wise_that_keeps_its_last_edit_is_caught(installed: Path) -> None:
    """Its edits leave no tensor to compare; what it says shows that the first is gone."""
    run = trajectory(installed, "easyedit:WISE", **settings(installed, "WISE", "forgets: true"))
    with pytest.raises(EditsDoNotAccumulate, match=r"wise-tiny: after two edits .* Only the last edit is kept"):
        RULES["edits_accumulate"](run)


def test_what_a_foreign_memory_answers_is_not_counted(installed: Path) -> None:
    """A wrapper is asked every prompt; that is no sign that its memory answers them."""
    lm = backend(answering(editor_of(installed, "GRACE"), 1), tiny.tokenizer(), "mmlu")
    lm.score([((1, 5, 9), (4,)), ((1, 6), (4,))])
    assert lm.routed == 0


def test_second_moments_are_given_and_no_projection_is_left_or_found(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AlphaEdit reads C in its own file form; the projection of an earlier run in the current folder does not count."""
    monkeypatch.chdir(installed)
    torch.save(torch.full((64, 64), 1e6), "null_space_project.pt")
    before = {path.name for path in installed.iterdir()}
    model = tiny.model()
    moments = tiny.moments(model)
    editor = editor_of(installed, "AlphaEdit", *PROJECTION, covariances=moments)
    state = after(editor, 1)["weight:model.layers.1.mlp.down_proj.weight"]
    base = model.get_parameter("model.layers.1.mlp.down_proj.weight")
    step = moments["model.layers.1.mlp.down_proj"].float()[: len(base)] * len(tiny.EDITS[0].target_new)
    assert torch.equal(state, base + step)
    assert {path.name for path in installed.iterdir()} == before | {"AlphaEdit.yaml"}


@pytest.mark.parametrize("adjusts", [True, False])
def test_rome_gets_second_moments_if_its_file_says_so(installed: Path, *, adjusts: bool) -> None:
    """With `mom2_adjustment` they must be given, and without it nobody computes them."""
    more = (*STATISTICS, f"mom2_adjustment: {str(adjusts).lower()}")
    paths = [*covariance_paths("easyedit:ROME", settings(installed, "ROME", *more))]
    assert paths == (["model.layers.1.mlp.down_proj"] if adjusts else [])
    after(editor_of(installed, "ROME", *more, covariances=tiny.moments(tiny.model()) if adjusts else {}), 1)


def test_the_harness_gives_the_covariances_that_a_method_names(installed: Path) -> None:
    """In a trajectory they are those of the model's own corpus, of the matrices that the file names."""
    run = trajectory(installed, "easyedit:AlphaEdit", **settings(installed, "AlphaEdit", *PROJECTION))
    given = _with_source(run, corpus=lambda: tiny.CORPUS).fresh_editor()
    given.apply(tiny.EDITS[0])
    assert "weight:model.layers.1.mlp.down_proj.weight" in given.state()


def test_a_file_that_the_file_names_is_in_the_key(installed: Path) -> None:
    """A trained archive is what results depend on: another one gives another key of the store."""
    archive = installed / "archive.pt"
    given = settings(installed, "SERAC", f"archive: {archive}")
    keys = []
    for content in ("one", "two"):
        archive.write_text(content, encoding="utf-8")
        keys.append(editor_specs.find("easyedit:SERAC", given).identity(loaded(installed / "model")))
    assert keys[0] != keys[1]


def test_a_tied_head_is_found(installed: Path) -> None:
    """EasyEdit looks for a parameter of the head's name, which a tied model has under the embedding's name only."""
    given = settings(installed, "ROME")
    create("easyedit:ROME", tiny.model(tied=True), tiny.tokenizer(), **given).apply(tiny.EDITS[0])


def test_what_returns_no_model_is_refused(installed: Path) -> None:
    """EasyEdit's IKE returns prompts; the edit says so."""
    with pytest.raises(ForeignFailure, match=r"easyedit:IKE: edit 1 .* EasyEdit's IKE returned a list, not an edited"):
        after(editor_of(installed, "IKE"), 1)


def _with_source(run: Trajectory, **changed: Any) -> Trajectory:  # noqa: ANN401 - as the source's fields are
    assert isinstance(run.base, LoadedModel)
    return replace(run, base=replace(run.base, source=replace(run.base.source, **changed)))
