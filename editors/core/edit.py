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
        prompt: A text with one `{}` where the subject stands. A prompt that has the subject written out, as a whole
            word, has the last occurrence replaced; any `{}` that it held before is text. Without a subject it is the
            text itself, and has no `{}`.
        subject: What the fact is about; no surrounding white space. None where nobody says it, as in many lists of
            questions; methods that look for its tokens cannot apply such an edit.
        target_new: The answer wanted from now on; surrounding white space is dropped.
        target_true: The answer so far, where it is known.
        rephrases: Other filled prompts that must now give `target_new`.
        neighbors: Pairs (filled prompt, true answer) that must not change.
        slot: Which `{}` of the prompt is the subject's place, from 0. None unless the prompt holds more of them, or
            the subject besides, so that it could be read in two ways.

    Raises:
        EditError: The prompt has no slot for the subject or more than one, or one and no subject, or a text is empty.
    """

    prompt: str
    subject: str | None = None
    target_new: str = ""
    target_true: str = ""
    rephrases: tuple[str, ...] = ()
    neighbors: tuple[tuple[str, str], ...] = ()
    slot: int | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "subject", "target_new", "target_true"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name, value) != ("subject", None):
                raise EditError(f"{name} is {value!r}; it must be a text")
        if self.subject is not None and self.subject != (self.subject.strip() or None):
            raise EditError(
                f"subject is {self.subject!r}; it must be a text without surrounding white space, or left out"
            )
        if not self.prompt.strip():
            raise EditError(f"prompt is {self.prompt!r}; it must be a text that is not blank")
        if not self.target_new.strip():
            raise EditError(f"target_new is {self.target_new!r}; it must be a text that is not blank")
        prompt, slot = _with_slot(self.prompt, self.subject, self.slot)
        self._set("prompt", prompt)
        self._set("slot", slot)
        self._set("target_new", self.target_new.strip())
        self._set("target_true", self.target_true.strip())
        self._set("rephrases", _texts("rephrases", self.rephrases))
        self._set("neighbors", _pairs(self.neighbors))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def text(self) -> str:
        """The prompt with the subject in its place."""
        before, after = self.around
        return before + (self.subject or "") + after

    @property
    def about(self) -> str:
        """What edits of the same subject share: the subject, or without one the prompt."""
        return self.prompt if self.subject is None else self.subject

    def shares_subject(self, other: Edit) -> bool:
        """Whether both are about the same subject; where one has none, whether the other's is in one of its prompts."""
        if (self.subject is None) == (other.subject is None):
            return self.about == other.about
        named, plain = (self, other) if other.subject is None else (other, self)
        subject = named.about.casefold()
        return any(_last_whole(text.casefold(), subject) is not None for text in (plain.text, *plain.rephrases))

    @property
    def around(self) -> tuple[str, str]:
        """What the prompt has before and after the subject; all of it before a subject that there is not."""
        if self.subject is None:
            return self.prompt, ""
        parts, place = self.prompt.split(SLOT), (self.slot or 0) + 1
        return SLOT.join(parts[:place]), SLOT.join(parts[place:])

    def to_dict(self) -> dict[str, Any]:
        """The edit as plain JSON values; `slot` only where it is needed."""
        return {
            **{name: value for name, value in asdict(self).items() if (name, value) != ("slot", None)},
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
        missing = [name for name in ("prompt", "target_new") if name not in values]
        if unknown or missing:
            fault = f"unknown {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
            raise EditError(f"an edit has {fault}; its names are {', '.join(allowed)}")
        return cls(**values)


def _with_slot(prompt: str, subject: str | None, slot: int | None) -> tuple[str, int | None]:
    """Return the prompt with a place for the subject, and which `{}` that is if it could be read otherwise."""
    count = prompt.count(SLOT)
    if subject is None:
        if count or slot is not None:
            what = f"has a place {SLOT}" if count else f"is given the slot {slot!r}"
            raise EditError(f"prompt {prompt!r} {what} for a subject, and there is no subject")
        return prompt, None
    if slot is not None and not (type(slot) is int and 0 <= slot < count):
        raise EditError(f"slot is {slot!r}, and prompt {prompt!r} has {count} places {SLOT}")
    written = _last_whole(prompt, subject)
    if slot is None and written is not None:
        slot = prompt.count(SLOT, 0, written)
        prompt = prompt[:written] + SLOT + prompt[written + len(subject) :]
        return prompt, slot if count or _last_whole(prompt, subject) is not None else None
    if count > 1 and slot is None:
        raise EditError(f"prompt {prompt!r} has {count} places {SLOT}; exactly one is allowed")
    if not count:
        where = "only within a longer word contains" if subject in prompt else "does not contain"
        raise EditError(f"prompt {prompt!r} has no {SLOT} and {where} the subject {subject!r}")
    return prompt, slot if count > 1 or written is not None else None


def _last_whole(text: str, part: str) -> int | None:
    """Return where a part begins that is a whole word, the last time."""
    return max((n for n in _occurrences(text, part) if _is_whole(text, n, n + len(part))), default=None)


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
