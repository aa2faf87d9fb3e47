"""Any model that transformers could run, through lm-eval's own HFLM: slower than the engine, and for everything."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.api.instance import Instance

from editgate.compat.lm_eval import CheckedHFLM
from editgate.inference.backend import Completion, Generation, Model, check_fits, generation_limit
from editgate.inference.tokenize import Pair, Tokenizer


class HflmBackend:
    """Any HF-like object, through lm-eval's own HFLM with float32 log-probabilities; never ties a weight.

    Args:
        model: anything with config, device, forward and generate.
        tokenizer: its transformers tokenizer.
        name: what error messages call the work at hand, such as the benchmark.
        batch_size: rows of one forward pass.

    Raises:
        IncompatibleLibrary: lm-eval's HFLM is not the one that `compat.lm_eval` describes.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, name: str, batch_size: int = 16) -> None:
        self.name = name
        self.routed = 0
        self.lm = CheckedHFLM(model, tokenizer, name, batch_size)

    def score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """See `Backend.score`."""
        longest = max((len(context) + len(continuation) - 1 for context, continuation in pairs), default=0)
        check_fits(self.name, longest, self.lm.max_length)
        return self.lm.score_tokens(pairs)

    def generate(self, requests: Sequence[Completion]) -> list[Generation]:
        """See `Backend.generate`; `capped` is judged by the length of the text."""
        if not requests:
            return []
        instances, limits = [], []
        for index, request in enumerate(requests):
            limits.append(generation_limit(self.name, request, self.lm.max_length))
            settings = {"until": list(request.until), "max_gen_toks": limits[-1], "do_sample": False}
            instances.append(Instance("generate_until", {}, (request.text, settings), index))
        self.lm.check_logits(max((request.prompt for request in requests), key=len))
        texts: list[str] = self.lm.generate_until(instances, disable_tqdm=True)
        lengths = [len(self.lm.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
        return [Generation(text, n >= limit) for text, n, limit in zip(texts, lengths, limits, strict=True)]
