"""How an edited matrix W stands in a file: as what differs from the unedited W₀, smaller than W and exact to the bit.

Most methods add a matrix of low rank to W₀, one edit after another, and round each time. So W is a product of two thin
matrices, but for the roundings:

    W = round(W₀ + 2ˢ L Rᵀ) + e      (e counts representable numbers, by which the rounded sum is off)

L and R hold integers so small that no sum of their products leaves 2⁵³. The product in float64 is then exact in any
order of summation, on any machine and with any number of threads, and the two roundings are those of IEEE 754. Where
the difference is of low rank e is small; it is stored byte by byte (lowest bytes first), compressed. Where W changed in
a few rows, or in full, L and R are empty, and e alone is stored.

What was packed is unpacked and compared before it is written: where a bit differs, or little is saved, W is stored.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editgate.cache.digest import digest_tensors
from editors.core.weights import PREFIX, bits, same_bits

PACKED = "packed"
DIGEST = "packed digest"  # of the state that was packed
SMALLEST = 4096  # elements; less is stored as it is
WORTH = 0.9  # of the plain size; if more is needed, the matrix is stored as it is
FIRST_RANK, GROWTH, LARGEST_RANK = 16, 4, 256  # how many directions are looked for
FEW_BITS = 4.0  # a number of e: what is left is roundings, and no more directions are looked for
LONGEST = 2.0**26  # of a row of L or R: |row · row| ≤ 2⁵²
ROWS = 1 << 21  # elements that are worked on at a time
LEVEL = 3  # of zlib; 6 saves another 1 %

Integers = NDArray[np.signedinteger]
Tensors = Mapping[str, Tensor]


def pack(state: Tensors, base: Tensors) -> dict[str, Tensor]:
    """Return an editor's state in a form that is smaller on disk.

    Args:
        state: as `Editor.state` returns it; what is no weight is kept as it is.
        base: the unedited parameters, by name.
    """
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        before = base.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        parts = None if before is None else _pack(value.detach().cpu(), before.detach().cpu())
        packed |= {name: value} if parts is None else {f"{PACKED} {part} {name}": each for part, each in parts.items()}
    if packed.keys() == state.keys():
        return packed
    return packed | {DIGEST: torch.tensor(list(bytes.fromhex(digest_tensors(state))), dtype=torch.uint8)}


def unpack(packed: Tensors, base: Tensors) -> dict[str, Tensor]:
    """Return the state that was packed, bit by bit, on the CPU.

    Raises:
        ValueError: it is not what was packed, or not with this base.
    """
    if DIGEST not in packed:
        return dict(packed)
    state: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in packed.items():
        if key.startswith(f"{PACKED} ") and key != DIGEST:
            _, part, name = key.split(" ", 2)
            parts.setdefault(name, {})[part] = value
        elif key != DIGEST:
            state[key] = value
    for name, each in parts.items():
        if name.removeprefix(PREFIX) not in base:
            raise ValueError(f"it is of another model, which has {name.removeprefix(PREFIX)}")
        state[name] = _unpack(each, base[name.removeprefix(PREFIX)].detach().cpu())
    if digest_tensors(state) != bytes(packed[DIGEST].tolist()).hex():
        raise ValueError("what is unpacked is not what was packed")
    return state


def _pack(value: Tensor, base: Tensor) -> dict[str, Tensor] | None:
    """The parts of one matrix; None if it is better stored as it is."""
    same_form = (value.shape, value.dtype) == (base.shape, base.dtype)
    if not same_form or not value.is_floating_point() or value.numel() < SMALLEST:
        return None
    parts = _factors(value, base) if value.ndim == 2 and bool(value.isfinite().all()) else {}
    parts |= _rest(value, base, parts)
    if sum(part.nbytes for part in parts.values()) > WORTH * value.nbytes or not same_bits(_unpack(parts, base), value):
        return None
    return parts


def _unpack(parts: Tensors, base: Tensor) -> Tensor:
    """round(W₀ + 2ˢ L Rᵀ) + e.

    Raises:
        ValueError: a part is not of this matrix.
    """
    value = torch.empty_like(base, memory_format=torch.contiguous_format)
    found = bits(value).numpy().reshape(-1)
    width = base.element_size()
    unsigned = np.zeros(base.numel(), dtype=f"<u{width}")
    for place in range(width):
        unsigned.view(np.uint8)[place::width] = _inflated(parts[f"e{place}"], base.numel())
    for where, near in _near(parts, base):
        steps = unsigned[where]
        signed = (steps >> 1).view(f"i{width}") ^ -(steps & 1).view(f"i{width}")
        found[where] = _ordered(near + signed)
    return value


def _rest(value: Tensor, base: Tensor, parts: Tensors) -> dict[str, Tensor]:
    """Return e by places of its bytes, each compressed: small numbers of either sign have zeros but in the lowest."""
    wanted, width = bits(value).numpy().reshape(-1), value.element_size()
    squeezers = [zlib.compressobj(LEVEL) for _ in range(width)]
    streams: list[list[bytes]] = [[] for _ in range(width)]
    for where, near in _near(parts, base):
        steps = _ordered(wanted[where]) - near  # wraps around, and back when it is added
        unsigned = ((steps << 1) ^ (steps >> (8 * width - 1))).view(np.uint8)  # 0, -1, 1, -2, … are 0, 1, 2, 3, …
        for place in range(width):
            streams[place].append(squeezers[place].compress(unsigned[place::width].tobytes()))
    whole = [b"".join([*stream, squeezer.flush()]) for stream, squeezer in zip(streams, squeezers, strict=True)]
    return {f"e{place}": torch.frombuffer(bytearray(each), dtype=torch.uint8) for place, each in enumerate(whole)}


def _near(parts: Tensors, base: Tensor) -> Iterator[tuple[slice, Integers]]:
    """Yield slices of the flat matrix, and the numbers of round(W₀ + 2ˢ L Rᵀ) there, in the order of the reals."""
    rows = base.reshape(len(base), -1)
    step = max(1, ROWS // max(1, rows.shape[1]))
    right = parts["right"].double().T if "right" in parts else None
    for start in range(0, len(rows), step):
        near = rows[start : start + step]
        if right is not None:
            product = parts["left"][start : start + step].double() @ right
            near = near.double().add_(product.mul_(2.0 ** int(parts["scale"]))).to(base.dtype)
        where = slice(start * rows.shape[1], start * rows.shape[1] + near.numel())
        yield where, _ordered(bits(near).numpy().reshape(-1))


def _ordered(numbers: Integers) -> Integers:
    """Floats' bits as integers in the order of the floats, and back: neighbors differ by one."""
    width = 8 * numbers.dtype.itemsize
    turned: Integers = numbers ^ ((numbers >> (width - 1)) & np.iinfo(numbers.dtype).max)
    return turned


def _inflated(stream: Tensor, length: int) -> NDArray[np.uint8]:
    try:
        found = np.frombuffer(zlib.decompress(stream.numpy().tobytes(), bufsize=length + 64), dtype=np.uint8)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(found) != length:
        raise ValueError(f"it is of a matrix of {len(found)} numbers, not {length}")
    return found


def _factors(value: Tensor, base: Tensor) -> dict[str, Tensor]:
    """L, R and s of the directions that are worth their room; nothing if none is."""
    change, number = value.double().sub_(base), value.numel()
    energy = float(change.norm()) ** 2
    ulp = torch.finfo(value.dtype).eps * float(base.float().norm()) / number**0.5 or torch.finfo(value.dtype).tiny
    wanted, largest = FIRST_RANK, min(LARGEST_RANK, min(value.shape) // 2)
    while True:
        left, sizes, right = _directions(change, min(wanted, largest))
        left_over = (energy - torch.cat([sizes.new_zeros(1), sizes.square().cumsum(0)])).clamp_min(0) / number
        noise = 0.5 * torch.log2(2 * math.pi * math.e * (left_over / ulp**2 + 1 / 12))  # bits of a number of e
        room = number * noise + 32 * sum(value.shape) * torch.arange(len(sizes) + 1)
        if float(noise[-1]) < FEW_BITS or len(sizes) == largest:
            break
        wanted *= GROWTH
    rank = int(room.argmin())
    if not rank:
        return {}
    roots = sizes[:rank].sqrt()
    thin = [left[:, :rank] * roots, right[:, :rank] * roots]
    powers = [math.floor(math.log2((LONGEST - rank) / float(each.norm(dim=1).max()))) for each in thin]
    whole = [torch.round(each * 2.0**power).to(torch.int32) for each, power in zip(thin, powers, strict=True)]
    return {"left": whole[0], "right": whole[1], "scale": torch.tensor(-sum(powers))}


def _directions(change: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The leading singular vectors and values of a matrix, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.svd_lowrank(change, q=rank, niter=2)
