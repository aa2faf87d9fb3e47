"""Detect the architecture of a model that is not in the table, and verify it numerically.

A mixture of experts is rejected. Otherwise the blocks are the ModuleList with as many members as the config has layers,
the down-projection is the only matrix of a block outside attention whose output has the width of the hidden states, and
the norm is the only one in the trunk. What the editors rely on is then verified with forward passes on a few tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from editors.core.errors import UnsupportedModel
from editors.models.architectures import ARCHITECTURES, ArchitectureSpec
from editors.models.compat import Conv1D
from editors.models.hooks import forward_hooks

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "ffn_config")
READING = re.compile(r"(q|k|v|query|key|value)(_|$)")  # attention projections other than the out-projection
TOKENS = 5  # in the forward passes that verify an architecture
TOLERANCE = 1e-2  # relative; a wrong module changes the logits by their own size
_detected: WeakKeyDictionary[nn.Module, ArchitectureSpec] = (
    WeakKeyDictionary()
)  # rows, not states: the same for every copy


def reject_mixture_of_experts(model: nn.Module, kind: str) -> None:
    """Raise for a mixture of experts, in which no single matrix of a block stores a fact.

    Raises:
        UnsupportedModel: The config has experts; names the nearest supported families.
    """
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    counts = [getattr(text, name, None) for name in EXPERTS]
    if any(isinstance(count, int) and count > 1 for count in counts) or kind == "dbrx":
        near = ", ".join(get_close_matches(kind, ARCHITECTURES, n=3, cutoff=0.0))
        raise UnsupportedModel(
            f"{kind} is a mixture of experts: a fact is stored in several matrices of a block, selected per token, "
            f"and editors write one. Supported families nearest in name: {near}"
        )


def detect_architecture(model: nn.Module, kind: str) -> ArchitectureSpec:
    """Return the architecture of a model whose family is not in the table.

    Raises:
        UnsupportedModel: A module cannot be identified, or does not behave as required; names the closest module paths.
    """
    if model not in _detected:
        row = _row(model, kind)
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
    inside = _matrices(model.get_submodule(f"{blocks}.0"))
    hidden = {path: widths for path, widths in inside.items() if widths[1] == text.hidden_size}
    attention = {path for path in hidden if _in_attention(path)}
    down = _only(kind, "down-projection of an MLP", set(hidden) - attention, inside)
    writing = {path for path in attention if not READING.match(path.rpartition(".")[2])}
    attention_out = _only(kind, "attention out-projection", writing, inside)
    children = dict(model.get_submodule(trunk).named_children())
    norms = {name for name, child in children.items() if "norm" in type(child).__name__.lower()}
    norm = _only(kind, f"final norm of {trunk}", norms, children)
    width, mlp = hidden[down][0], down.rpartition(".")[0]
    ups = sorted(p for p, widths in inside.items() if widths == (text.hidden_size, width) and not _in_attention(p))
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
    )


def _blocks(model: nn.Module, kind: str, depth: int) -> str:
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    fitting = {path for path, module in lists.items() if len(module) == depth}
    path = _only(kind, f"list of {depth} blocks", fitting, lists)
    parts = [set(_matrices(block)) for block in lists[path]]
    if any(each != parts[0] for each in parts):
        raise UnsupportedModel(f"{kind} is not known, and the blocks of {path} are not all alike; {_known()}")
    return path


def _matrices(block: nn.Module) -> dict[str, tuple[int, int]]:
    """Input and output width of each nn.Linear and Conv1D in a block, by path."""
    found: dict[str, tuple[int, int]] = {}
    for path, module in block.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)):
            rows, columns = module.weight.shape
            found[path] = (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
    return found


def _in_attention(path: str) -> bool:
    return any("attn" in part or "attention" in part for part in path.split("."))


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
    block = f"{row.blocks}.{len(model.get_submodule(row.blocks)) - 1}"  # type: ignore[arg-type]  # a ModuleList
    down, mlp = f"{block}.{row.down}", f"{block}.{row.mlp}" if row.mlp else ""
    ids = torch.arange(1, TOKENS + 1, device=next(model.parameters()).device)[None]
    hooks = {path: _keep(seen, path) for path in (block, down, mlp) if path}
    logits = _run(model, ids, hooks)
    trunk = model.get_submodule(row.trunk)(input_ids=ids, use_cache=False).last_hidden_state
    final = model.get_submodule(row.norm)(seen[block])
    head = model.get_submodule(row.head)
    if not _close(final, trunk) or not _close(_capped(model, head(final)), logits):
        raise UnsupportedModel(
            f"{kind} is not known, and {row.head} on {row.norm} on the last block of {row.blocks} does not give the "
            f"model's logits: something stands between them. {_known()}"
        )
    if seen[down].shape != seen[block].shape:
        raise UnsupportedModel(f"{kind} is not known, and {down} does not give one vector a token. {_known()}")
    whole = bool(mlp) and seen[mlp].shape == seen[down].shape and _close(seen[mlp], seen[down])
    before = seen[block]
    step = torch.randn_like(seen[down]) * seen[down].std()
    _run(model, ids, {down: lambda _m, _a, out: out + step, block: _keep(seen, block)})
    adds_mlp_output_directly = _close(seen[block] - before, step)
    return ArchitectureSpec(
        **{**vars(row), "mlp": row.mlp if whole else "", "adds_mlp_output_directly": adds_mlp_output_directly}
    )


def _run(model: nn.Module, ids: Tensor, hooks: Mapping[str, Callable[..., object]]) -> Tensor:
    with forward_hooks(*((model.get_submodule(path), hook) for path, hook in hooks.items())):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def _keep(seen: dict[str, Tensor], path: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen[path] = output[0] if isinstance(output, tuple) else output

    return hook


def _capped(model: nn.Module, logits: Tensor) -> Tensor:
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else (logits / cap).tanh() * cap


def _close(left: Tensor, right: Tensor) -> bool:
    left, right = left.float(), right.float()
    return left.shape == right.shape and bool((left - right).norm() <= TOLERANCE * right.norm())
