"""`easyedit:METHOD` keeps to EasyEdit's documented interface, tried on a stand-in package that has it.

The stand-in has what EasyEdit's sources have: `ALG_DICT` in `easyeditor.util.alg_dict`, functions and executors that
are called as `(model, tok, requests, hparams, copy=, return_orig_weights=, keep_original_weight=, **kwargs)` and
return a model (or a wrapper around it) and the old weights, caches in modules, and classes of hyperparameters with
`from_hparams(path)`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import Tensor

from editgate.errors import ConfigError, EditsDoNotAccumulate
from editgate.inputs import editor_specs
from editgate.measure.integrity.trajectory_rules import RULES
from editors import Editor, EditorNotFound, ForeignFailure, HyperparameterError, check_settings, create
from editors.core.weights import same_bits
from editors.external.wrapper_model import WrapperModel
from meta.support import tiny_models as tiny
from meta.support.tiny_runs import trajectory

FILES = {
    "__init__.py": "from .models.rome.rome_hparams import ROMEHyperParams\nfrom .models.grace import GraceHyperParams\n"
    "from .models.serac import SERACHparams\nfrom .models.ike import IKEHyperParams\n"
    "from .models.wise import WISEHyperParams\n",
    "util/__init__.py": "",
    "util/alg_dict.py": """
        from ..models.rome.rome_main import apply_rome_to_model
        from ..models.grace.grace_main import apply_grace_to_model
        from ..models.serac.serac_main import SeracRewriteExecutor
        from ..models.ike import apply_ike_to_model
        from ..models.wise import apply_wise_to_model
        ALG_DICT = {"ROME": apply_rome_to_model, "GRACE": apply_grace_to_model, "IKE": apply_ike_to_model,
                    "WISE": apply_wise_to_model, "SERAC": SeracRewriteExecutor().apply_to_model, "RAG": None}
        """,
    "util/hparams.py": """
        import yaml
        class HyperParams:
            def __init__(self, **values):
                self.__dict__.update(values)
            @classmethod
            def from_hparams(cls, path):
                with open(path) as stream:
                    config = yaml.safe_load(stream)
                assert config["alg_name"] == cls.alg_name, "can not load from " + path
                return cls(**config)
        """,
    "models/__init__.py": "",
    "models/rome/__init__.py": "",
    "models/rome/rome_hparams.py": """
        from ...util.hparams import HyperParams
        class ROMEHyperParams(HyperParams):
            alg_name = "ROME"
        """,
    "models/rome/rome_main.py": """
        import torch
        SEEN = []
        def apply_rome_to_model(model, tok, request, hparams, copy=False, return_orig_weights=False,
                                keep_original_weight=False, **kwargs):
            request = request[0]
            assert request["subject"] in request["prompt"] and "{}" not in request["prompt"]
            assert tok.padding_side == "right" and tok.pad_token_id == tok.eos_token_id
            assert not copy and return_orig_weights and not keep_original_weight
            SEEN.append(request)
            weight = model.get_parameter(hparams.rewrite_module_tmp.format(hparams.layers[0]) + ".weight")
            with torch.no_grad():
                weight += torch.randn(weight.shape) * len(request["target_new"]) * len(SEEN) * 0.01
            return model, {}
        """,
    "models/grace/__init__.py": """
        from ...util.hparams import HyperParams
        class GraceHyperParams(HyperParams):
            alg_name = "GRACE"
        """,
    "models/grace/grace_main.py": """
        import torch
        class Adapter(torch.nn.Module):
            def __init__(self, layer):
                super().__init__()
                self.layer, self.weight, self.values = layer, layer.weight, []
            def forward(self, x):
                return self.layer(x) + sum(self.values)
        class GRACE(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model
                block = model.get_submodule("model.layers.0.mlp")
                if type(block.down_proj) is not Adapter:
                    block.down_proj = Adapter(block.down_proj)
            def __call__(self, **kwargs):
                return self.model(**kwargs)
            def generate(self, *args, **kwargs):
                return self.model.generate(*args, **kwargs)
            def reset_layer(self):
                pass
        def apply_grace_to_model(model, tok, requests, hparams, copy=False, return_orig_weights=False,
                                 keep_original_weight=False, **kwargs):
            editor = GRACE(model)
            assert tok.padding_side == "left" and "loc_prompt" in requests[0]
            editor.model.get_submodule("model.layers.0.mlp").down_proj.values.append(len(requests[0]["target_new"]))
            return editor, {}
        """,
    "models/serac/__init__.py": """
        from ...util.hparams import HyperParams
        class SERACHparams(HyperParams):
            alg_name = "SERAC"
        """,
    "models/serac/serac_main.py": """
        import torch
        class Answer:
            def __init__(self, logits):
                self.logits = logits
        class SERAC(torch.nn.Module):
            def __init__(self, model, cache):
                super().__init__()
                self.model, self.cache = model, cache
            def forward(self, input_ids, attention_mask):
                assert len(input_ids) == 1
                return Answer(self.model(input_ids).logits + len(self.cache))
            def generate(self, *args, **kwargs):
                return torch.zeros(1, 9, dtype=torch.long)  # of another tokenizer
        class SeracRewriteExecutor:
            def __init__(self):
                self.is_init = False
            def apply_to_model(self, model, tok, requests, hparams, copy=False, return_orig_weights=False,
                               keep_original_weight=False, **kwargs):
                if not self.is_init:
                    self.model, self.cache, self.is_init = model, [], True
                assert self.model is model, "an executor of another trajectory"
                self.cache = self.cache + [requests[0]["prompt"]]
                return SERAC(self.model, self.cache), {}
        """,
    "models/ike.py": """
        from ..util.hparams import HyperParams
        class IKEHyperParams(HyperParams):
            alg_name = "IKE"
        def apply_ike_to_model(model, tok, request, hparams, copy=False, return_orig_weights=False,
                               keep_original_weight=False, train_ds=None, **kwargs):
            return ["New Fact: ..."]
        """,
    "models/wise.py": """
        import torch
        from ..util.hparams import HyperParams
        class WISEHyperParams(HyperParams):
            alg_name = "WISE"
        class Answer:
            def __init__(self, logits):
                self.logits = logits
        class WISE(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model, self.side = model, {}
            def forward(self, input_ids, attention_mask):
                logits = self.model(input_ids).logits.clone()
                for prompt, token in self.side.items():
                    if tuple(input_ids[0, : len(prompt)].tolist()) == prompt:
                        logits[:, len(prompt) - 1, token] += 30
                return Answer(logits)
        def apply_wise_to_model(model, tok, requests, hparams, copy=False, return_orig_weights=False,
                                keep_original_weight=False, **kwargs):
            base, side = model, {}
            if hparams.__dict__.get("merges", True):
                side = model.__dict__.setdefault("side_memory", {})
            editor = WISE(base)
            prompt = tuple(tok(requests[0]["prompt"]).input_ids)
            side[prompt] = tok(" " + requests[0]["target_new"], add_special_tokens=False).input_ids[0]
            editor.side = side
            return editor, {}
        """,
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in, importable; and a folder for hyperparameter files."""
    for name, code in FILES.items():
        file = tmp_path / "easyeditor" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(code), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "easyeditor"]:
        del sys.modules[name]


def settings(folder: Path, method: str, *more: str) -> dict[str, str]:
    """A hyperparameter file of that method, as `--editor-arg` gives it."""
    file = folder / f"{method}.yaml"
    lines = [
        f"alg_name: {method}",
        "layers: [1]",
        "rewrite_module_tmp: model.layers.{}.mlp.down_proj",
        "device: 0",
        *more,
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return {"hparams": str(file)}


def editor_of(folder: Path, method: str) -> Editor:
    """That method on a tiny model, with edits to take irrelevant prompts from."""
    given = settings(folder, method)
    return create(f"easyedit:{method}", tiny.model(), tiny.tokenizer(), training=tiny.EDITS[2:], **given)


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


def test_an_executor_serves_one_trajectory(installed: Path) -> None:
    """What SERAC and MEND keep in an executor is made anew for each editor; text of another tokenizer is no answer."""
    editors = [editor_of(installed, "SERAC") for _ in range(2)]
    first, second = (answering(editor, count) for editor, count in zip(editors, (2, 1), strict=True))
    assert [len(each.exposed.cache) for each in (first, second)] == [2, 1]
    best = int(tiny.model()(torch.tensor([[1, 5, 9]])).logits[0, -1].argmax())
    assert first.continue_routed((1, 5, 9), 0, 1, frozenset()) == [best]


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("method", ["GRACE", "SERAC", "WISE"])
def test_wrappers_keep_the_rules(installed: Path, method: str, rule: str) -> None:
    """GRACE, SERAC and WISE as published keep every rule, so that a broken one says something of the method."""
    run = trajectory(installed, f"easyedit:{method}", **settings(installed, method))
    RULES[rule](replace(run, base=replace(run.base, source=replace(run.base.source, training=lambda: tiny.EDITS[2:]))))


def test_a_wise_that_keeps_its_last_edit_is_caught(installed: Path) -> None:
    """Its edits leave no tensor to compare; what it says shows that the first is gone."""
    run = trajectory(installed, "easyedit:WISE", **settings(installed, "WISE", "merges: false"))
    with pytest.raises(EditsDoNotAccumulate, match=r"wise-tiny: after two edits .* Only the last edit is kept"):
        RULES["edits_accumulate"](run)


def test_what_returns_no_model_is_refused(installed: Path) -> None:
    """EasyEdit's IKE returns prompts; the edit says so."""
    with pytest.raises(ForeignFailure, match=r"easyedit:IKE: edit 1 .* EasyEdit's IKE returned a list, not an edited"):
        after(editor_of(installed, "IKE"), 1)


def test_names_and_files_are_checked_first(installed: Path) -> None:
    """An unknown method, a missing or absent file is told before a model is loaded; the id tells it from ours."""
    with pytest.raises(EditorNotFound, match="EasyEdit has no method 'RAG'; it has GRACE, IKE, ROME, SERAC, WISE"):
        check_settings("easyedit:RAG", {})
    with pytest.raises(HyperparameterError, match="'easyedit:ROME' needs the hyperparameter hparams"):
        check_settings("easyedit:ROME", {})
    with pytest.raises(HyperparameterError, match=r"hparams='gone.yaml' is not a file; give one of EasyEdit's own"):
        check_settings("easyedit:ROME", {"hparams": "gone.yaml"})
    assert editor_specs.find("easyedit:ROME", settings(installed, "ROME")).name == "easyedit_rome"


@pytest.mark.skipif(find_spec("easyeditor") is not None, reason="EasyEdit is installed here, so it is not missing")
def test_without_easyedit_one_line_says_how_to_get_it() -> None:
    """A missing EasyEdit is a usage error of one line."""
    with pytest.raises(ConfigError, match=r"EasyEdit is not installed: clone .* on PYTHONPATH\.$") as found:
        editor_specs.find("easyedit:ROME", {"hparams": "rome.yaml"})
    assert "\n" not in str(found.value)
