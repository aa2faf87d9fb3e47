"""Detect the architecture of a model that is not in the table, and verify it numerically.

The blocks are the ModuleList with as many members as the config has layers, and need not be alike. The down-projection
is the only matrix, outside experts and what mixes tokens, whose output has the width of the hidden states; some blocks,
or all blocks of a mixture of experts, may lack it. The norm is the only one in the trunk. What the editors rely on is
then verified with forward passes on a few tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from editors.core.errors import UnsupportedModel
from editors.models.architectures import ARCHITECTURES, ArchitectureSpec
from editors.models.compat import Conv1D
from editors.models.hooks import forward_hooks

ATTENTION = ("attn", "attention")
OTHER_MIXERS = ("mamba", "mixer", "conv", "temporal", "ssm", "lru", "recurrent", "retention")  # of tokens, in paths
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "ffn_config")
READING = re.compile(r"(q|k|v|query|key|value)(_|$)")  # attention projections other than the out-projection
TOKENS = 5  # in the forward passes that verify an architecture
TOLERANCE = 1e-2  # relative; a wrong module changes the logits by their own size
SAME = 1e-3  # relative; what rounding may add where two passes are one
_detected: WeakKeyDictionary[nn.Module, ArchitectureSpec] = (
    WeakKeyDictionary()
)  # rows, not states: the same for every copy


class FinishedHead(nn.Module):
    """An output head with what the model does to its logits: a factor (Granite, Cohere), a soft cap (Gemma 2)."""

    def __init__(self, head: nn.Module, factor: float, cap: float | None) -> None:
        super().__init__()
        self.inner = head
        self.factor = factor
        self.cap = cap

    def forward(self, states: Tensor) -> Tensor:
        """Logits [..., V] of final states [..., d]."""
        logits: Tensor = self.inner(states) * self.factor
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap


def output_head(model: nn.Module, head: nn.Module) -> nn.Module:
    """Return the model's output head, with the factor and the soft cap that the config may have."""
    config: Any = model.config
    factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return head if cap is None and factor == 1.0 else FinishedHead(head, factor, cap)


def is_mixture_of_experts(model: nn.Module) -> bool:
    """Return whether the config has experts: where a block has them, no single matrix of it stores a fact."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    counts = [getattr(text, name, None) for name in EXPERTS]
    return any(isinstance(count, int) and count > 1 for count in counts) or getattr(text, "model_type", "") == "dbrx"


def detect_architecture(model: nn.Module, kind: str) -> ArchitectureSpec:
    """Return the architecture of a model whose family is not in the table.

    Raises:
        UnsupportedModel: A module cannot be identified, or does not behave as required; names the closest module paths.
    """
    if model not in _detected:
        row = _row(model, kind)
        if next(model.parameters()).is_meta:  # no values yet: what passes would show is seen once there are
            return row
        try:
            _detected[model] = _checked(model, row, kind)
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            raise UnsupportedModel(f"{kind} is not known, and trying it failed: {error}. {_known()}") from error
    return _detected[model]


def _row(model: nn.Module, kind: str) -> ArchitectureSpec:
    config = model.config
    assert not isinstance(config, (Tensor, nn.Module))
    text = config.get_text_config()
    blocks = _blocks(model, kind, text.num_hidden_layers)
    trunk = blocks.rpartition(".")[0]
    inside: dict[str, tuple[int, int]] = {}
    for block in model.get_submodule(blocks).children():
        inside |= _matrices(block)
    hidden = {path: widths for path, widths in inside.items() if widths[1] == text.hidden_size}
    attention = {path for path in hidden if _inside(path, ATTENTION)}
    mixers = {path for path in inside if _inside(path, OTHER_MIXERS)}
    writing = {path for path in attention - mixers if not READING.match(path.rpartition(".")[2])}
    attention_out = writing.pop() if len(writing) == 1 else ""
    dense = {path for path in set(hidden) - attention - mixers if not _inside(path, ("expert", "moe"))}
    if not dense and is_mixture_of_experts(model):
        down = ""
    elif not dense and mixers:
        raise UnsupportedModel(
            f"{kind} has no MLP beside what mixes its tokens, and editors write MLPs; IKE needs none"
        )
    else:
        down = _only(kind, "down-projection of an MLP", dense, inside)
    children = dict(model.get_submodule(trunk).named_children())
    norms = {name for name, child in children.items() if "norm" in type(child).__name__.lower()}
    final = {name for name in norms if "embed" not in name} or norms
    norm = _only(kind, f"final norm of {trunk}", final, children)
    mlp = down.rpartition(".")[0]
    shape = (text.hidden_size, hidden[down][0]) if down else None
    ups = sorted(path for path, widths in inside.items() if widths == shape and _beside(path, mlp))
    return ArchitectureSpec(
        trunk=trunk,
        blocks=blocks,
        norm=f"{trunk}.{norm}",
        head=_head(model, kind),
        mlp=mlp,
        down=down,
        up=next((p for p in ups if "gate" in p), ups[0] if ups else ""),
        attention=attention_out.rpartition(".")[0],
        attention_out=attention_out,
        only_attends=not mixers and not any(_inside(path, ("linear_attn",)) for path in inside),
    )


def _blocks(model: nn.Module, kind: str, depth: int) -> str:
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    fitting = {path for path, module in lists.items() if len(module) == depth}
    return _only(kind, f"list of {depth} blocks", fitting, lists)


def _matrices(block: nn.Module) -> dict[str, tuple[int, int]]:
    """Input and output width of each nn.Linear and Conv1D in a block, by path."""
    widths: dict[str, tuple[int, int]] = {}
    for path, module in block.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)):
            rows, columns = module.weight.shape
            widths[path] = (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
    return widths


def _inside(path: str, names: Sequence[str]) -> bool:
    return any(name in part for name in names for part in path.lower().split("."))


def _beside(path: str, mlp: str) -> bool:
    return path.rpartition(".")[0] == mlp and not _inside(path, ATTENTION)


def _head(model: nn.Module, kind: str) -> str:
    embeddings: Any = getattr(model, "get_output_embeddings", lambda: None)()
    for path, module in model.named_modules():
        if module is embeddings:
            return str(path)
    raise UnsupportedModel(f"{kind} is not known, and has no output head; pass the causal model itself. {_known()}")


def _only(kind: str, what: str, candidates: set[str], among: Mapping[str, object]) -> str:
    if len(candidates) == 1:
        return candidates.pop()
    shown = sorted(candidates) or get_close_matches("mlp.down_proj", list(among), n=5, cutoff=0.0)
    fault = "more than one candidate" if candidates else "nothing fits"
    nearest = ", ".join(shown) or "none"
    raise UnsupportedModel(
        f"{kind} is not known, and for the {what} {fault}; closest module paths: {nearest}. {_known()}"
    )


def _known() -> str:
    return f"Known families: {', '.join(sorted(ARCHITECTURES))}"


@torch.no_grad()
def _checked(model: nn.Module, row: ArchitectureSpec, kind: str) -> ArchitectureSpec:
    """Verify a detected architecture with forward passes, and complete it with what they show."""
    seen: dict[str, Tensor] = {}
    paths = [f"{row.blocks}.{name}" for name, _ in model.get_submodule(row.blocks).named_children()]
    last = paths[-1]
    modules = dict(model.named_modules())
    with_mlp = [path for path in paths if row.down and f"{path}.{row.down}" in modules]
    block = with_mlp[-1] if with_mlp else last
    down, mlp = (f"{block}.{path}" if path else "" for path in (row.down, row.mlp))
    ids = torch.arange(1, TOKENS + 1, device=next(model.parameters()).device)[None]
    logits = _run(model, ids, {path: _keep(seen, path) for path in (last, block, down, mlp) if path})
    trunk = model.get_submodule(row.trunk)(input_ids=ids, use_cache=False).last_hidden_state
    final = model.get_submodule(row.norm)(seen[last])
    head = output_head(model, model.get_submodule(row.head))
    if not _close(final, trunk) or not _close(head(final), logits):
        raise UnsupportedModel(
            f"{kind} is not known, and {row.head} on {row.norm} on the last block of {row.blocks} does not give the "
            f"model's logits: something stands between them. {_known()}"
        )
    if not row.only_attends and not _close(_run_padded(model, ids), logits, SAME):
        raise UnsupportedModel(
            f"{kind} keeps states from one pass to the next, or lets padding change what stands before it, so that no "
            "edit of it could be measured; IKE alone can be used"
        )
    if not down:
        return row
    if seen[down].shape != seen[block].shape:
        raise UnsupportedModel(f"{kind} is not known, and {down} does not give one vector a token. {_known()}")
    whole = bool(mlp) and seen[mlp].shape == seen[down].shape and _close(seen[mlp], seen[down])
    before = seen[block]
    noise = torch.randn(seen[down].shape, generator=torch.Generator().manual_seed(0))
    step = noise.to(seen[down]) * seen[down].std()
    _run(model, ids, {down: lambda _m, _a, out: out + step, block: _keep(seen, block)})
    arrived = seen[block] - before
    factor = (arrived * step).sum() / (step * step).sum()
    direct = _close(arrived, step)
    scaled = not direct and _close(arrived, factor * step)
    return replace(row, mlp=row.mlp if whole else "", adds_mlp_output_directly=direct, scales_mlp_output=scaled)


def _run(model: nn.Module, ids: Tensor, hooks: Mapping[str, Callable[..., object]]) -> Tensor:
    with forward_hooks(*((model.get_submodule(path), hook) for path, hook in hooks.items())):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def _run_padded(model: nn.Module, ids: Tensor) -> Tensor:
    """Logits [1, T, V] of a row beside a longer one, padded on the right."""
    pair = torch.cat([torch.cat([ids, torch.zeros_like(ids)], dim=1), torch.cat([ids.flip(1), ids], dim=1)])
    mask = torch.ones_like(pair)
    mask[0, ids.shape[1] :] = 0
    logits: Tensor = model(input_ids=pair, attention_mask=mask, use_cache=False).logits
    return logits[:1, : ids.shape[1]]


def _keep(seen: dict[str, Tensor], path: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen[path] = output[0] if isinstance(output, tuple) else output

    return hook


def _close(left: Tensor, right: Tensor, tolerance: float = TOLERANCE) -> bool:
    left, right = left.float(), right.float()
    return left.shape == right.shape and bool((left - right).norm() <= tolerance * right.norm())
