"""Prints how large checkpoints are on disk, beside the changed matrices themselves.

    PYTHONPATH=tests:. python -m meta.speed.checkpoint_sizes

The models are those on which edits are timed: the miniature, and a random GPT-2 of the smallest size. Each checkpoint
is unpacked and compared with the editor's state before its size is printed.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Mapping

from torch import Tensor

from editgate.cache.weight_differences import pack, unpack
from editors.core.weights import same_bits
from meta.speed.rigs import gpt2_small, llama_mini

MODELS = {"llama-mini": llama_mini, "gpt2-small": gpt2_small}
METHODS = ("rome", "memit")
STEPS = 3  # of the search on the random model, which decide how long it takes and not how large a checkpoint is


def main() -> None:
    """Apply edits one after another, and print the sizes at each N."""
    parser = argparse.ArgumentParser(description="Sizes of checkpoints.")
    parser.add_argument("--edit-counts", default="1,10", help="Default: %(default)s")
    parser.add_argument("model", choices=MODELS, nargs="*")
    given = parser.parse_args()
    counts = [int(count) for count in given.edit_counts.split(",")]
    print("model       method      N  matrices, MB  in the file, MB  share")
    for model in given.model or MODELS:
        for method in METHODS:
            for count, before, after in sizes(model, method, counts):
                print(
                    f"{model:<11} {method:<8} {count:>4} {before / 1e6:>13.2f} {after / 1e6:>16.2f} "
                    f"{after / before:>6.2f}",
                    flush=True,
                )


def sizes(model: str, method: str, counts: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield N, bytes of the matrices that changed, and of the tensors in the file."""
    rig = MODELS[model]()
    if rig.defaults is None:
        rig.settings[method]["v_num_grad_steps"] = STEPS
    base: Mapping[str, Tensor] = dict(copy.deepcopy(rig.model).named_parameters())
    editor = rig.editor(method)
    assert editor is not None
    for number, edit in enumerate(rig.edits[: max(counts)], start=1):
        editor.apply(edit)
        if number in counts:
            state = editor.state()
            packed = pack(state, base)
            back = unpack(packed, base)
            assert back.keys() == state.keys()
            assert all(same_bits(value, back[name]) for name, value in state.items())
            before, after = (sum(tensor.nbytes for tensor in each.values()) for each in (state, packed))
            yield number, before, after


if __name__ == "__main__":
    main()
