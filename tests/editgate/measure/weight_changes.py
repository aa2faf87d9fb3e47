"""Cheap checks of a model's tensors at every checkpoint: are they finite, what changed and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from editgate.errors import EvaluationError, NonFiniteModel
from editgate.inference.backend import Model
from editors.core import placement
from editors.core.weights import bits, same_bits

PART = 1 << 22  # numbers that are read at a time

Fingerprint = dict[str, tuple[int, int]]


def relative_changes(base: Mapping[str, Tensor], model: Model) -> dict[str, float]:
    """Return |W − W_base| / |W_base| (Frobenius) of each parameter that differs from the base, largest first.

    Args:
        base: the unedited tensors by name; parameters that it lacks are left out.
        model: the edited model.
    """
    changes = {}
    for name in changed_parameters(base, model):
        pairs = zip(_parts(parameter(model, name)), _parts(base[name]), strict=True)
        wide = ((now.double(), before.to(now.device).double()) for now, before in pairs)
        sizes = [(float((now - before).norm()), float(before.norm())) for now, before in wide]
        change, size = (math.hypot(*parts) for parts in zip(*sizes, strict=True))
        changes[name] = change / max(size, 1e-30)
    return dict(sorted(changes.items(), key=lambda entry: -entry[1]))


def norm_ratios(base: Mapping[str, Tensor], model: Model) -> dict[str, float]:
    """Return |W| / |W_base| (Frobenius) of each base tensor that differs in the model, largest change first."""
    return {
        name: float(parameter(model, name).norm() / base[name].norm().clamp_min(1e-30))
        for name in relative_changes(base, model)
    }


def changed_parameters(base: Mapping[str, Tensor], model: Model) -> list[str]:
    """Return the names of parameters and buffers in `base` whose bits, type or shape differ in the model now.

    Raises:
        EvaluationError: the model has no tensor of that name.
    """
    now = dict(tensors(model))
    if missing := sorted(set(base) - set(now)):
        raise EvaluationError(f"the model has no tensor {missing[0]!r} (nor {len(missing) - 1} more of the base's).")
    return [name for name, tensor in base.items() if not same_bits(tensor, now[name])]


def assert_finite(model: Model) -> None:
    """Pass if every parameter and buffer is finite.

    Raises:
        NonFiniteModel: names the tensors and how much of each is broken.
    """
    broken = {
        name: sum(int((~part.isfinite()).sum()) for part in _parts(tensor))
        for name, tensor in tensors(model)
        if tensor.is_floating_point() and not all(bool(part.isfinite().all()) for part in _parts(tensor))
    }
    if broken:
        listed = ", ".join(f"{name} ({count} values)" for name, count in list(broken.items())[:4])
        raise NonFiniteModel(f"NaN or infinite weights in {len(broken)} tensors: {listed}. No number is computed.")


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """Parts of a tensor: of a whole embedding the intermediate results would take as much memory again."""
    parts: tuple[Tensor, ...] = tensor.detach().reshape(-1).split(PART)
    return parts


@torch.no_grad()
def assert_finite_logits(model: Model, tokens: Tensor, message: str) -> None:
    """Pass if the logits on these tokens [B, T] are finite; else raise with `message`.

    Raises:
        NonFiniteModel: they are not.
    """
    if not bool(model(tokens).logits.isfinite().all()):
        raise NonFiniteModel(f"{message}.")


def tensors(model: Model) -> Iterator[tuple[str, Tensor]]:
    """Yield all parameters and buffers by name, tied ones under each of their names.

    Of a wrapper that is not a module, those of its `model` attribute; without one, none.
    """
    if (module := _module(model)) is not None:
        yield from placement.values(module, remove_duplicate=False).items()
        yield from module.named_buffers(remove_duplicate=False)


def _module(model: Model) -> nn.Module | None:
    module = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    return module if isinstance(module, nn.Module) else None


def parameter(model: Model, name: str) -> Tensor:
    """Return the parameter or buffer of that name."""
    return dict(tensors(model))[name]


def fingerprint(model: Model) -> Fingerprint:
    """Return each tensor's address and the sum of its bits; cheap enough for before and after each evaluation.

    One that is in main memory or on disk between passes has no address: 0.
    """
    module = _module(model)
    named = {} if module is None else dict(module.named_parameters(remove_duplicate=False))
    return {
        name: (
            named.get(name, tensor).data_ptr(),
            sum(int(part.sum(dtype=torch.int64)) for part in _parts(bits(tensor))),
        )
        for name, tensor in tensors(model)
    }


def changed_since(before: Fingerprint, model: Model) -> list[str]:
    """Return the names of tensors that were changed, replaced, added or removed since the fingerprint was taken."""
    after = fingerprint(model)
    shared = before.keys() & after.keys()
    settled = {name for name in shared if 0 in (before[name][0], after[name][0]) and before[name][1] == after[name][1]}
    return sorted((before.keys() ^ after.keys()) | {n for n in shared - settled if before[n] != after[n]})
