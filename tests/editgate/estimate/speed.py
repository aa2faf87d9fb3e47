"""How fast a model is here, by the clock: some questions, a few written answers, one edit, a slice of the corpus."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from editgate.inference.backend import Backend, Completion
from editgate.inference.hflm_backend import HflmBackend
from editgate.inference.memory_backend import MemoryBackend
from editgate.inference.prefix_groups import shared_prefixes
from editgate.inference.select_backend import backend
from editgate.inference.shared_prefix_backend import SharedPrefixBackend
from editgate.inference.side_by_side import is_small
from editgate.inference.tokenize import Pair, Tokens
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure import edit_quality
from editgate.measure.prepare import Prepared
from editgate.measure.threads import single_threaded
from editgate.measure.trajectory import Trajectory
from editors import Edit, Editor, EditorError
from editors.core.hyperparameters import LocateHyperparameters
from editors.locate.base import LocateEditor
from editors.models.architecture import Architecture
from editors.models.contexts import Contexts
from editors.models.covariance import Cost, compute_covariances, cost
from editors.models.projection import Matrix

READ_TOKENS = 1024  # half a batch of the engine
READ_BY_SMALL = 4096  # of a small model several batches, which go side by side
TEXTS, WRITTEN = 8, 24  # answers that are written, and their tokens
TEXTS_OF_SMALL = 32  # of a small model, whose steps take as long for a few texts as for many
CORPUS_TOKENS = 1024
SMALL_COVARIANCE = 1e-3  # stands for one that is not known yet; how long an edit takes does not depend on it
QUICK = 1.0  # seconds
TOGETHER = 4  # edits that are asked about at once
FILLER = "the "  # a word of one token, of which contexts are made that have the right length


@dataclass(frozen=True)
class Speed:
    """How fast questions are answered.

    Attributes:
        a_token: seconds for each token that is read.
        read: tokens that are read, by benchmark; a prefix that many prompts share counts once where it is read once.
        writing: seconds of writing, by benchmark; timed answers that did not end count as long as they may get.
        verifying: the same where each answer is what its draft says, as an edited model's mostly is.
    """

    a_token: float
    read: dict[str, int]
    writing: dict[str, float]
    verifying: dict[str, float]

    def seconds(self, benchmark: str, *, drafted: bool = False) -> float:
        """Return what asking a benchmark takes, with drafts at hand or not."""
        return self.read[benchmark] * self.a_token + (self.verifying if drafted else self.writing).get(benchmark, 0.0)


def of_questions(model: object, base: UneditedModel, asked: Sequence[Prepared]) -> Speed:
    """Time a model, edited or not, on a sample of the questions that it will be asked."""
    lm = backend(model, base.tokenizer, "estimate")
    shares = not isinstance(lm, HflmBackend)
    pairs = [pair for prepared in asked for pair in prepared.pairs]
    pairs = pairs or [(each.prompt[:-1], each.prompt[-1:]) for prepared in asked for each in prepared.completions]
    pairs = _sample(pairs, READ_BY_SMALL if is_small(base.model) else READ_TOKENS)
    with single_threaded(base):  # as they will be asked
        began = time.perf_counter()
        lm.score(pairs)
        a_token = (time.perf_counter() - began) / count_read(pairs, shares=shares)
        read, writing, verifying = dict[str, int](), dict[str, float](), dict[str, float]()
        seen = set[Pair]()  # two metrics of the same documents are asked together
        for prepared in asked:
            name, texts = prepared.benchmark.name, prepared.completions
            new = [pair for pair in prepared.pairs if pair not in seen] or [(each.prompt, (0,)) for each in texts]
            seen.update(prepared.pairs)
            read[name] = count_read(new, shares=shares)
            if texts:
                count = TEXTS_OF_SMALL if is_small(base.model) else TEXTS
                writing[name], verifying[name] = _written(lm, texts, a_token, count)
    return Speed(a_token, read, writing, verifying)


@dataclass(frozen=True)
class EditSpeed:
    """How long one edit takes.

    Attributes:
        an_edit: seconds; None where a method first learns from the model, which is not tried out.
        asking_one: seconds to ask about one edit alone, as right after it.
        asking_many: seconds for each of several that are asked about together, as at a checkpoint.
        model: what the method evaluates, once edited; None as above.
    """

    an_edit: float | None
    asking_one: float
    asking_many: float
    model: object | None


def of_edits(run: Trajectory) -> EditSpeed:
    """Time one edit on a copy of the model, and the questions about it.

    Covariances and contexts that are not stored are stood in for: the edit is no use, and takes as long.
    """
    editor = _ready(run)
    an_edit = None
    with single_threaded(run.base), torch.random.fork_rng():
        if editor is not None:
            began = time.perf_counter()
            with suppress(EditorError):  # it fits no edit, which its tests say
                editor.apply_many(run.edits[:1])
            an_edit = time.perf_counter() - began
        model = run.base.model if editor is None else editor.model
        one, many = (_asking(run, model, run.edits[:count]) for count in (1, TOGETHER))
    return EditSpeed(an_edit, one, many, None if editor is None else model)


def is_asked_alike(model: object, base: UneditedModel) -> bool:
    """Whether an edited model is run as its base is, or behind a memory in front of it."""
    return isinstance(backend(model, base.tokenizer, "estimate"), SharedPrefixBackend | MemoryBackend)


def _asking(run: Trajectory, model: object, edits: Sequence[Edit]) -> float:
    before = {prompt: "" for edit in edits for prompt, _ in edit.neighbors}
    began = time.perf_counter()
    edit_quality.measure(model, run.base.tokenizer, edits, before)
    return (time.perf_counter() - began) / len(edits)


def _ready(run: Trajectory) -> Editor | None:
    """An editor that can edit at once; None if it is somebody else's, or must learn from the model first."""
    if not run.spec.built_in:
        return None  # nobody knows what it does besides: its rules of integrity come before all else
    editor = run.setup.create(run.setup.copied_base())
    if isinstance(editor, LocateEditor):
        widths = {matrix.path: matrix.stored(matrix.weight).shape[1] for matrix in editor.missing}
        alike = {width: SMALL_COVARIANCE * torch.eye(width) for width in set(widths.values())}
        editor.load_prepared({path: alike[width] for path, width in widths.items()}, _contexts(editor.hyperparameters))
        return editor
    learns = type(editor)._prepare is not Editor._prepare  # noqa: SLF001 - whether a method overrides it
    if learns and not run.setup.is_prepared:
        return None
    return run.setup.editor()[0] if learns else editor


def _contexts(wanted: LocateHyperparameters) -> Contexts:
    made = [(f"{FILLER * length}. {{}}",) * count for length, count in wanted.context_template_length_params]
    return (("{}",), *made)


def of_covariances(base: UneditedModel, matrices: Sequence[Matrix]) -> tuple[float, Cost]:
    """Return the seconds that the matrices' covariances will take, from a slice of the corpus, and what they cover."""
    architecture, texts = Architecture(base.model), base.source.corpus()
    whole = cost(architecture, base.tokenizer, texts, matrices)
    step = max(1, whole.tokens // CORPUS_TOKENS)
    few = list(texts[::step]) or list(texts[:1])
    part = cost(architecture, base.tokenizer, few, matrices)
    with single_threaded(base):
        began = time.perf_counter()
        compute_covariances(architecture, base.tokenizer, few, matrices, keep=lambda *_: None)
        lasted = time.perf_counter() - began
    return lasted * whole.tokens / max(1, part.tokens), whole


def _written(lm: Backend, completions: Sequence[Completion], a_token: float, count: int) -> tuple[float, float]:
    """Return the seconds of writing all these answers, and with drafts that say what will be written.

    Some are written, longer ones while that is quick; then again with what was written as the draft.
    """
    chosen = completions[:: max(1, len(completions) // count)][:count]
    read = a_token * count_read([(each.prompt, (0,)) for each in chosen], shares=True)
    longest, limit = max(each.max_new_tokens for each in chosen), WRITTEN
    while True:
        asked = [replace(each, max_new_tokens=min(each.max_new_tokens, limit), draft=()) for each in chosen]
        began = time.perf_counter()
        texts = lm.generate(asked)
        lasted = time.perf_counter() - began
        if limit >= longest or lasted > QUICK or not any(text.capped for text in texts):
            break
        limit *= 4
    made = [len(text.tokens) or each.max_new_tokens for each, text in zip(asked, texts, strict=True)]
    lengths = [
        each.max_new_tokens if text.capped else length for each, text, length in zip(chosen, texts, made, strict=True)
    ]
    drafted = lasted
    if any(text.tokens for text in texts):  # a backend that does not say them takes no draft either
        began = time.perf_counter()
        lm.generate([replace(each, draft=text.tokens) for each, text in zip(asked, texts, strict=True)])
        drafted = time.perf_counter() - began
    more = sum(lengths) / sum(made) * len(completions) / len(chosen)
    return max(lasted - read, 0.1 * lasted) * more, max(drafted - read, 0.1 * drafted) * more


def _sample(pairs: Sequence[Pair], tokens: int) -> list[Pair]:
    """Return questions of about so many tokens, evenly spread, each with all its options."""
    questions: dict[Tokens, list[Pair]] = defaultdict(list)
    for context, continuation in pairs:
        questions[context].append((context, continuation))
    usual = sum(map(len, questions)) / len(questions)
    step = max(1, int(len(questions) * usual / tokens))
    return [pair for question in list(questions.values())[::step] for pair in question]


def count_read(pairs: Sequence[Pair], *, shares: bool) -> int:
    """Return how many tokens the engine runs for these pairs; without shared prefixes each pair is run in full."""
    if not shares:
        return sum(len(context) + len(continuation) for context, continuation in pairs)
    options: dict[Tokens, int] = defaultdict(int)
    for context, continuation in pairs:
        options[context] += len(continuation)
    contexts = sorted(options)
    saved = sum(group.prefix * (group.stop - group.start - 1) for group in shared_prefixes(contexts))
    return sum(map(len, contexts)) - saved + sum(options.values())
