"""Which models stand for which in the paper's questions: the shipped miniatures, or the paper's own."""

from __future__ import annotations

from dataclasses import dataclass

from editgate.errors import ConfigError

DEFAULT = "mini"


@dataclass(frozen=True)
class Family:
    """The models of one run of the findings, as `--model` takes them.

    Attributes:
        name: as `--family` takes it.
        base: the model of RQ1, RQ4 and RQ5, and the base of RQ2.
        chat: `base`, tuned to follow instructions.
        other: a second base model of another make.
        sizes: models of one make and one corpus, the smallest first.
    """

    name: str
    base: str
    chat: str
    other: str
    sizes: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """All of them."""
        return (self.base, self.chat, self.other, *self.sizes)


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "mini",
            base="llama-mini",
            chat="llama-mini-chat",
            other="mistral-mini",
            sizes=("pythia-mini-s", "pythia-mini-m", "pythia-mini-l"),
        ),
        Family(
            "paper",
            base="meta-llama/Llama-2-7b-hf",
            chat="meta-llama/Llama-2-7b-chat-hf",
            other="mistralai/Mistral-7B-v0.1",
            sizes=tuple(f"EleutherAI/pythia-{size}" for size in ("160m", "410m", "1b", "2.8b", "6.9b", "12b")),
        ),
    )
}


def find(name: str) -> Family:
    """Return the family of that name.

    Raises:
        ConfigError: there is none; the message lists them.
    """
    if name not in FAMILIES:
        raise ConfigError(f"--family={name!r} is unknown. Allowed: {', '.join(FAMILIES)}.")
    return FAMILIES[name]
