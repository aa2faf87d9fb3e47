"""The request: one fact to change, in the form that every editor takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from editors.core.errors import EditError

SLOT = "{}"


@dataclass(frozen=True)
class Edit:
    """One requested change of one fact.

    Attributes:
        prompt: A text with exactly one `{}` where the subject stands. A prompt without `{}` that contains the
            subject as a whole word has the last occurrence replaced.
        subject: What the fact is about; no surrounding white space.
        target_new: The answer wanted from now on; surrounding white space is dropped.
        target_true: The answer so far, where it is known.
        rephrases: Other filled prompts that must now give `target_new`.
        neighbors: Pairs (filled prompt, true answer) that must not change.

    Raises:
        EditError: The prompt has no slot for the subject or more than one, or a text is empty.
    """

    prompt: str
    subject: str
    target_new: str
    target_true: str = ""
    rephrases: tuple[str, ...] = ()
    neighbors: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("prompt", "subject", "target_new", "target_true"):
            if not isinstance(getattr(self, name), str):
                raise EditError(f"{name} is {getattr(self, name)!r}; it must be a text")
        if not self.subject or self.subject != self.subject.strip():
            raise EditError(f"subject is {self.subject!r}; it must be a text without surrounding white space")
        if not self.target_new.strip():
            raise EditError(f"target_new is {self.target_new!r}; it must be a text that is not blank")
        self._set("prompt", _with_slot(self.prompt, self.subject))
        self._set("target_new", self.target_new.strip())
        self._set("target_true", self.target_true.strip())
        self._set("rephrases", _texts("rephrases", self.rephrases))
        self._set("neighbors", _pairs(self.neighbors))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def text(self) -> str:
        """The prompt with the subject in its place."""
        return self.prompt.replace(SLOT, self.subject)

    def to_dict(self) -> dict[str, Any]:
        """The edit as plain JSON values."""
        return {
            **asdict(self),
            "rephrases": list(self.rephrases),
            "neighbors": [list(pair) for pair in self.neighbors],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The edit that `to_dict` gave.

        Raises:
            EditError: A name is unknown or a required one is missing, or a value is malformed.
        """
        allowed = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(allowed))
        missing = [name for name in ("prompt", "subject", "target_new") if name not in values]
        if unknown or missing:
            fault = f"unknown {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
            raise EditError(f"an edit has {fault}; its names are {', '.join(allowed)}")
        return cls(**values)


def _with_slot(prompt: str, subject: str) -> str:
    count = prompt.count(SLOT)
    if count == 1:
        return prompt
    if count > 1:
        raise EditError(f"prompt {prompt!r} has {count} places {SLOT}; exactly one is allowed")
    places = [start for start in _occurrences(prompt, subject) if _is_whole(prompt, start, start + len(subject))]
    if not places:
        where = "only within a longer word contains" if subject in prompt else "does not contain"
        raise EditError(f"prompt {prompt!r} has no {SLOT} and {where} the subject {subject!r}")
    return prompt[: places[-1]] + SLOT + prompt[places[-1] + len(subject) :]


def _occurrences(text: str, part: str) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + 1)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Return whether no letter or digit goes on at either edge: "Art" is not in "Artisan".

    Only letters with capitals count, because scripts without them may write words together.
    """
    edges = (text[max(start - 1, 0) : start + 1], text[end - 1 : end + 1])
    return not any(len(edge) == 2 and all(_joins(sign) for sign in edge) for edge in edges)


def _joins(sign: str) -> bool:
    return sign.isdigit() or sign.lower() != sign.upper()


def _texts(name: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, (list, tuple)):
        raise EditError(f"{name} is {values!r}; it must be a list of texts")
    if not all(isinstance(value, str) for value in values):
        raise EditError(f"{name} is {values!r}; each member must be a text")
    return tuple(values)


def _pairs(values: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(values, (list, tuple)):
        raise EditError(f"neighbors is {values!r}; it must be a list of (prompt, answer) pairs")
    pairs = [_texts("a member of neighbors", pair) for pair in values]
    if any(len(pair) != 2 for pair in pairs):
        raise EditError(f"neighbors is {values!r}; each member must be a pair (prompt, answer)")
    return tuple((prompt, answer) for prompt, answer in pairs)
