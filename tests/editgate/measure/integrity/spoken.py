"""What a model says, bit by bit: how somebody else's editor is compared, whose memory cannot be looked into.

A foreign wrapper is a closed box, and a foreign method may keep a hook besides the weights. Two of their models are the
same if they give the same logits at edited and unrelated prompts, and write the same after the edited ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editgate.inference.backend import Model
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure.integrity.checkpoint_rules import PROBE
from editgate.measure.threads import single_threaded
from editors import Edit, Editor
from editors.core.weights import same_bits
from editors.external.wrapper_model import WrapperModel
from editors.memory.memory_model import MemoryModel

WRITTEN = 4  # tokens after each edited prompt

Spoken = dict[str, Tensor]  # by prompt: logits [T, V]; by "after " and an edited prompt: ids of what is written there


def is_opaque(editor: Editor) -> bool:
    """Return whether the model is somebody else's wrapper, which has no tensors that could be compared."""
    return isinstance(editor.model, WrapperModel)


@torch.no_grad()
def spoken(model: Model, base: UneditedModel, edits: Sequence[Edit]) -> Spoken:
    """Return what a model says at the prompts of these edits and at unrelated ones, on the CPU.

    Each prompt is asked alone, without padding. A memory is also asked to write: some answer only there.
    """
    said: Spoken = {}
    edited = {edit.text for edit in edits}
    with single_threaded(base):
        for prompt in dict.fromkeys(filter(str.strip, _prompts(edits))):
            ids = base.tokenizer(prompt, return_tensors="pt").input_ids.to(base.model.device)
            said[prompt] = model(ids).logits[0].detach().cpu()
            if isinstance(model, MemoryModel) and prompt in edited:
                written = model.generate(ids, max_new_tokens=WRITTEN, do_sample=False)
                said[f"after {prompt}"] = written[0, ids.shape[1] :].cpu()
    return said


def spoken_unedited(base: UneditedModel, editor: Editor, edits: Sequence[Edit]) -> Spoken:
    """Return what the unedited model says, asked in the very way in which the editor's model is asked."""
    asked = WrapperModel(base.model, base.model, base.source.name) if is_opaque(editor) else base.model
    return spoken(asked, base, edits)


def differing(one: Spoken, other: Spoken) -> list[str]:
    """Return the prompts at which two models say something else; NaN equals itself."""
    return [prompt for prompt in one if prompt not in other or not same_bits(one[prompt], other[prompt])]


def _prompts(edits: Sequence[Edit]) -> Iterator[str]:
    for edit in edits:
        yield edit.text
        yield from edit.rephrases[:1]
        yield from (prompt for prompt, _ in edit.neighbors[:1])
    yield PROBE
