"""A package with the interface of EasyEdit, as `easyedit_facts.toml` has it of the real one, for tests without it.

It has what decides whether an adapter is right: `BaseEditor` pads by method; functions and executors return a model (or
a wrapper around it) and the old weights; modules keep caches, and say `super(Class, self)`, which breaks if only some
are reloaded; WISE makes a new memory unless it is told otherwise; LoRA trains whatever requires a gradient, drops out
where a module is in training mode, and gives AdaLoRA no number of steps; AlphaEdit reads second moments, and keeps its
projection in the current folder; assertions print their reasons.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

FILES = {
    "__init__.py": """
        from .models.rome.rome_hparams import ROMEHyperParams
        from .models.alphaedit.AlphaEdit_hparams import AlphaEditHyperParams
        from .models.grace import GraceHyperParams
        from .models.serac import SERACHparams
        from .models.ike import IKEHyperParams
        from .models.wise import WISEHyperParams
        from .models.lora import LoRAHyperParams
        """,
    "editors/editor.py": """
        class BaseEditor:
            def __init__(self, hparams):
                if self.tok is not None and (hparams.alg_name not in ['ROME', 'MEMIT', 'EMMET', 'EAMET', 'R-ROME',
                                                                      'AlphaEdit', 'CORE', 'SPHERE']):
                    LOG.info('AutoRegressive Model detected, set the padding side of Tokenizer to left...')
                    self.tok.padding_side = 'left'
                if self.tok is not None and 'llama' in self.model_name.lower() and (
                        hparams.alg_name in ['ROME', 'MEMIT', 'EMMET', 'EAMET', 'R-ROME',
                                             'AlphaEdit', 'CORE', 'SPHERE']):
                    LOG.info('AutoRegressive Model detected, set the padding side of Tokenizer to right...')
                    self.tok.padding_side = 'right'
        """,
    "util/__init__.py": "",
    "util/alg_dict.py": """
        from ..models.rome import ROMEHyperParams, apply_rome_to_model
        from ..models.alphaedit import AlphaEditHyperParams, apply_AlphaEdit_to_model
        from ..models.grace import GraceHyperParams, apply_grace_to_model
        from ..models.serac import SERACHparams, SeracRewriteExecutor
        from ..models.ike import IKEHyperParams, apply_ike_to_model
        from ..models.wise import WISEHyperParams, apply_wise_to_model
        from ..models.lora import LoRAHyperParams, apply_lora_to_model
        ALG_DICT = {"ROME": apply_rome_to_model, "GRACE": apply_grace_to_model, "IKE": apply_ike_to_model,
                    "WISE": apply_wise_to_model, "SERAC": SeracRewriteExecutor().apply_to_model, "RAG": None,
                    "AlphaEdit": apply_AlphaEdit_to_model, "LoRA": apply_lora_to_model}
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
                assert (config and config["alg_name"] == cls.alg_name) or print(
                    f"{cls.__name__} can not load from {path}, alg_name is {config['alg_name']} ")
                return cls(**config)
        """,
    "models/__init__.py": "",
    "models/rome/__init__.py": """
        from .rome_hparams import ROMEHyperParams
        from .rome_main import apply_rome_to_model
        """,
    "models/rome/rome_hparams.py": """
        from ...util.hparams import HyperParams
        class ROMEHyperParams(HyperParams):
            fact_token: str
            alg_name, mom2_adjustment = "ROME", False
        """,
    "models/rome/layer_stats.py": """
        from pathlib import Path
        import numpy
        import torch
        def layer_stats(model, layer_name, stats_dir, ds_name, sample_size, precision):
            model_name = model.config._name_or_path.rsplit("/")[-1]
            file = Path(stats_dir) / f"{model_name}/{ds_name}_stats/{layer_name}_{precision}_mom2_{sample_size}.npz"
            if not file.exists():
                raise ConnectionError("Couldn't reach 'wikimedia/wikipedia' on the Hub")
            state = numpy.load(file)
            assert state["sample_size"] == sample_size
            return torch.from_numpy(state["mom2.mom2"]) / int(state["mom2.count"])
        """,
    "models/rome/rome_main.py": """
        import torch
        from .layer_stats import layer_stats
        SEEN = []
        def apply_rome_to_model(model, tok, request, hparams, copy=False, return_orig_weights=False,
                                keep_original_weight=False, **kwargs):
            request = request[0]
            assert request["subject"] in request["prompt"] and "{}" not in request["prompt"]
            assert tok.padding_side == "right" and tok.pad_token_id == tok.eos_token_id
            assert not copy and return_orig_weights and not keep_original_weight
            SEEN.append(request)
            name = hparams.rewrite_module_tmp.format(hparams.layers[0])
            weight = model.get_parameter(name + ".weight")
            if hparams.mom2_adjustment:
                layer_stats(model, name, hparams.stats_dir, hparams.mom2_dataset, hparams.mom2_n_samples,
                            hparams.mom2_dtype)
            heads = [n for n, _ in model.named_parameters() if n == hparams.lm_head_module + ".weight"]
            if not heads:
                raise LookupError(hparams.lm_head_module + ".weight")
            with torch.no_grad():
                weight += torch.randn(weight.shape) * len(request["target_new"]) * len(SEEN) * 0.01
            return model, {}
        """,
    "models/alphaedit/__init__.py": """
        from .AlphaEdit_hparams import AlphaEditHyperParams
        from .AlphaEdit_main import apply_AlphaEdit_to_model
        """,
    "models/alphaedit/AlphaEdit_hparams.py": """
        from ...util.hparams import HyperParams
        class AlphaEditHyperParams(HyperParams):
            fact_token: str
            alg_name = "AlphaEdit"
        """,
    "models/alphaedit/AlphaEdit_main.py": """
        import os
        import torch
        from ..rome.layer_stats import layer_stats
        def apply_AlphaEdit_to_model(model, tok, requests, hparams, copy=False, return_orig_weights=False,
                                     cache_template=None, keep_original_weight=False, reset_cache=False, **kwargs):
            assert tok.padding_side == "right"
            name = hparams.rewrite_module_tmp.format(hparams.layers[0])
            if not os.path.exists(hparams.P_loc):
                moment = layer_stats(model, name, hparams.stats_dir, hparams.mom2_dataset, hparams.mom2_n_samples,
                                     hparams.mom2_dtype)
                torch.save(moment, "null_space_project.pt")
            P = torch.load(hparams.P_loc)
            torch.ones(1, device=f"cuda:{hparams.device}" if isinstance(hparams.device, int) else hparams.device)
            with torch.no_grad():
                model.get_submodule(name).weight += P[: model.config.hidden_size] * len(requests[0]["target_new"])
            return model, {}
        """,
    "models/grace/__init__.py": """
        from .grace_main import apply_grace_to_model
        from .grace_hparams import GraceHyperParams
        """,
    "models/grace/grace_hparams.py": """
        from ...util.hparams import HyperParams
        class GraceHyperParams(HyperParams):
            alg_name = "GRACE"
        """,
    "models/grace/GRACE.py": """
        import torch
        class GRACEAdapter(torch.nn.Module):
            def __init__(self, layer):
                super(GRACEAdapter, self).__init__()
                self.layer, self.weight, self.values = layer, layer.weight, []
            def forward(self, x):
                return self.layer(x) + sum(self.values)
        class GRACE(torch.nn.Module):
            def __init__(self, model):
                super(GRACE, self).__init__()
                self.model = model
                block = model.get_submodule("model.layers.0.mlp")
                if type(block.down_proj) is not GRACEAdapter:
                    block.down_proj = GRACEAdapter(block.down_proj)
            def __call__(self, **kwargs):
                return self.model(**kwargs)
            def generate(self, *args, **kwargs):
                return self.model.generate(*args, **kwargs)
            def reset_layer(self):
                pass
        """,
    "models/grace/grace_main.py": """
        from .GRACE import GRACE
        def apply_grace_to_model(model, tok, requests, hparams, copy=False, return_orig_weights=False,
                                 keep_original_weight=False, **kwargs):
            editor = GRACE(model)
            assert tok.padding_side == "left" and "loc_prompt" in requests[0]
            editor.model.get_submodule("model.layers.0.mlp").down_proj.values.append(len(requests[0]["target_new"]))
            return editor, {}
        """,
    "models/serac/__init__.py": """
        from .serac_hparams import SERACHparams
        from .serac_main import SeracRewriteExecutor
        """,
    "models/serac/serac_hparams.py": """
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
    "models/ike/__init__.py": """
        from .ike_hparams import IKEHyperParams
        from .ike_main import apply_ike_to_model
        """,
    "models/ike/ike_hparams.py": """
        from ...util.hparams import HyperParams
        class IKEHyperParams(HyperParams):
            alg_name = "IKE"
        """,
    "models/ike/ike_main.py": """
        def apply_ike_to_model(model, tok, request, hparams, copy=False, return_orig_weights=False,
                               keep_original_weight=False, train_ds=None, **kwargs):
            print("Executing IKE")
            if getattr(hparams, "use_icl_examples", False) is True:
                assert train_ds is not None
            return ["New Fact: ..."]
        """,
    "models/wise/__init__.py": """
        from .wise_main import apply_wise_to_model
        from .wise_hparams import WISEHyperParams
        """,
    "models/wise/wise_hparams.py": """
        from ...util.hparams import HyperParams
        class WISEHyperParams(HyperParams):
            alg_name = "WISE"
        """,
    "models/wise/WISE.py": """
        import torch
        class Answer:
            def __init__(self, logits):
                self.logits = logits
        class WISE(torch.nn.Module):
            def __init__(self, config, model):
                super(WISE, self).__init__()
                self.model, memory = model, model.__dict__.setdefault("side_memory", {})
                if not getattr(config, "sequential_edit", False) or getattr(config, "forgets", False):
                    memory = model.__dict__["side_memory"] = {}
                self.side = memory
            def forward(self, input_ids, attention_mask):
                logits = self.model(input_ids).logits.clone()
                for prompt, token in self.side.items():
                    if tuple(input_ids[0, : len(prompt)].tolist()) == prompt:
                        logits[:, len(prompt) - 1, token] += 30
                return Answer(logits)
        """,
    "models/wise/wise_main.py": """
        from .WISE import WISE
        def apply_wise_to_model(model, tok, requests, hparams, copy=False, **kwargs):
            editor = WISE(config=hparams, model=model)
            prompt = tuple(tok(requests[0]["prompt"]).input_ids)
            editor.side[prompt] = tok(" " + requests[0]["target_new"], add_special_tokens=False).input_ids[0]
            return editor, {}
        """,
    "models/lora/__init__.py": """
        from .lora_hparams import LoRAHyperParams
        from .lora_main import apply_lora_to_model
        """,
    "models/lora/lora_hparams.py": """
        from ...util.hparams import HyperParams
        class LoRAHyperParams(HyperParams):
            alg_name = "LoRA"
        """,
    "models/lora/lora_main.py": """
        import torch
        class Peft(torch.nn.Module):
            def __init__(self, base_model):
                super().__init__()
                self.base_model = base_model
            def forward(self, input_ids, attention_mask=None):
                answer = self.base_model(input_ids)
                answer.logits = answer.logits + self.base_model.lora_A
                return answer
        def apply_lora_to_model(model, tok, requests, hparams, copy=False, return_orig_weights=False,
                                keep_original_weight=False, **kwargs):
            if not hasattr(model, "peft_config"):
                model.peft_config = {}
                for parameter in model.parameters():
                    parameter.requires_grad = False
                model.lora_A, model.lora_dropout = torch.nn.Parameter(torch.zeros(1)), torch.nn.Dropout(0.1)
                model.dropped = []
                if getattr(hparams, "lora_type", "lora") == "adalora":
                    from peft import AdaLoraConfig
                    AdaLoraConfig(r=8)
            model.dropped.append(model.lora_dropout.training)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter += len(requests[0]["target_new"])
            return Peft(model), {}
        """,
}


def install(folder: Path) -> None:
    """Write the package `easyeditor` into a folder."""
    for name, code in FILES.items():
        file = folder / "easyeditor" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(code), encoding="utf-8")
