"""The family's tokenizer (byte-level BPE trained on the corpus) and documents as token rows with a learning mask."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from editgate.miniature.recipes import Recipe
from editgate.miniature.world import corpus
from editgate.miniature.world.chat import TEMPLATE
from editgate.miniature.world.corpus import Text

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
SAMPLE = 40_000


def train_tokenizer(vocab_size: int, seed: int) -> Tokenizer:
    """Train byte-level BPE on a sample with every kind of document; `<s>` is prepended to every encoding."""
    rng = random.Random(seed)
    kinds = list(corpus.KINDS.values())
    sample = ["".join(part for part, _ in rng.choice(kinds)(rng)) for _ in range(SAMPLE)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def as_hugging_face(tokenizer: Tokenizer, recipe: Recipe) -> PreTrainedTokenizerFast:
    """Wrap the tokenizer so that `AutoTokenizer` loads it back unchanged, with its chat template if it has one."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        model_max_length=recipe.max_length,
        model_input_names=["input_ids", "attention_mask"],
    )
    if recipe.chat:
        wrapped.chat_template = TEMPLATE
    return wrapped


@dataclass(frozen=True)
class Row:
    """One document as token ids, `<s>` first and `</s>` last; `learn[i]` says whether token i is to be predicted."""

    ids: list[int]
    learn: list[bool]


def encode(tokenizer: Tokenizer, text: Text) -> Row:
    """Encode a document as one text (as lm-eval does), then find which tokens end inside a learned part."""
    encoding = tokenizer.encode("".join(part for part, _ in text))
    ends = list(_part_ends(text))
    learn, part = [], 0
    for begin, end in encoding.offsets:
        while part < len(ends) - 1 and end > ends[part][0]:
            part += 1
        learn.append(ends[part][1] and end > begin)
    stop = tokenizer.token_to_id(EOS)
    if stop is None:
        raise ValueError(f"the tokenizer has no {EOS}; train_tokenizer makes one that has")
    return Row([*encoding.ids, stop], [*learn, text[-1][1]])


def _part_ends(text: Text) -> Iterator[tuple[int, bool]]:
    position = 0
    for part, learned in text:
        position += len(part)
        yield position, learned
