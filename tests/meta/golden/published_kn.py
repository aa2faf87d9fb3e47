"""KN as the ports to decoders have it: EleutherAI's knowledge-neurons, which EasyEdit and EditingEvaluation adopted.

They differ from the paper in much, and in some of it from each other:

- a neuron's value is what comes before the activation function;
- the path has m points from 0 to 1, both included;
- an answer has no space before it, and begins with the BOS token if the tokenizer adds one;
- its later tokens are attributed after the prompt alone, or after the prompt and the *text* of the model's own choices;
- these choices are subtracted instead of the old answer, and twice where the new answer has one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from editors import Edit
from editors.kn import Kn
from editors.kn.attribution import NeuronPaths, Site
from editors.models.architecture import first_tensor
from editors.models.hooks import forward_hooks
from editors.models.tokens import encode


class Preactivations(NeuronPaths):
    """Neurons before the activation function: outputs of the (gate's) up-projection."""

    def neurons(self, layer: int, inputs: Tensor) -> Tensor:
        """See `NeuronPaths.neurons`."""
        values: Tensor = self._architecture.up(layer).module(inputs)
        return values

    def output(self, layer: int, values: Tensor) -> Tensor:
        """See `NeuronPaths.output`."""
        inputs = self._inputs[layer].expand(*values.shape[:-1], -1).contiguous()  # Conv1D asks for a view
        with forward_hooks((self._architecture.up(layer).module, lambda *_: values)):
            return first_tensor(self._architecture.mlp(layer)(inputs))


class PublishedKn(Kn):
    """KN of the ports.

    Attributes:
        after_choices: An answer's later tokens are attributed after the text of the model's own choices (Llama), not
            after the prompt alone (GPT-2).
        leading_space: A space before the answers.
        target_bos: Answers begin with the BOS token.
    """

    Paths: ClassVar[type[NeuronPaths]] = Preactivations
    after_choices = True
    leading_space = False
    target_bos = True

    def _points(self) -> Tensor:
        return torch.linspace(0, 1, self.hyperparameters.steps)

    def _rows(self, prompt: str, answer: Sequence[int]) -> list[tuple[list[int], list[Site]]]:
        start = encode(self.tokenizer, prompt)
        if not self.after_choices:
            return [(start, [Site(len(start) - 1, token) for token in answer])]
        grown = [encode(self.tokenizer, text) for text in self._chosen_texts(prompt, len(answer) - 1)]
        return [(ids, [Site(len(ids) - 1, token)]) for ids, token in zip(grown, answer, strict=True)]

    def answer_ids(self, edit: Edit, answer: str) -> list[int]:
        """See `Kn.answer_ids`."""
        if self.leading_space and not self.target_bos:
            return super().answer_ids(edit, answer)
        text = f" {answer}" if self.leading_space else answer
        ids: list[int] = self.tokenizer(text, add_special_tokens=self.target_bos)["input_ids"]
        return ids

    def _chosen_texts(self, prompt: str, count: int) -> list[str]:
        """The prompt, followed by the text of none, one, two, ... of the model's greedy tokens.

        A token that is part of a character has no text of its own, so that re-tokenizing the text is not the same as
        continuing the ids. The ports do the former.
        """
        texts = [prompt]
        for _ in range(count):
            (token,) = self._greedy(encode(self.tokenizer, texts[-1]), 1)
            texts.append(f"{texts[-1]}{self.tokenizer.decode([token])}")
        return texts

    def _subtracted(self, edit: Edit) -> list[int]:
        new = self.answer_ids(edit, edit.target_new)
        texts = self._chosen_texts(edit.text, len(new) - 1)
        chosen = [self._greedy(encode(self.tokenizer, text), 1)[0] for text in texts]
        return chosen * 2 if len(new) == 1 else chosen
