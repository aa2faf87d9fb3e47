"""What all formats of lists of edits share: texts are texts, null is nothing, and what is not read is ignored."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from editors import Edit

# What the formats call the same thing; of a name of another format nothing would be measured.
MEANT = (
    ("paraphrase_prompts", "rephrase", "rephrase_prompt", "rephrases"),
    ("neighborhood_prompts", "loc", "locality", "locality_prompt", "neighbors"),
)
NEAR = 0.85  # difflib's ratio: one letter more or less in ten


def first(value: object) -> object:
    """The first of a list of equally good answers, lists of lists included; other values as they are."""
    while isinstance(value, list) and value:
        value = value[0]
    return value


Answer = Annotated[str, BeforeValidator(first)]
Subject = Annotated[str | None, BeforeValidator(lambda value: None if value == "" else value)]  # some lists name none
Texts = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class EditFormat(BaseModel):
    """Base of all formats: texts must be strings; fields that no edit needs are ignored, and so is a null."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    called: ClassVar[str]  # by people
    identified_by: ClassVar[tuple[str, ...]]  # fields any of which identifies this format
    not_asked: ClassVar[tuple[str, ...]] = ()  # fields that hold questions which are not asked here

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, record: Any) -> Any:  # noqa: ANN401 - whatever was given
        """Leave out null and NaN, which tables written as JSON have in the place of nothing, where nothing may be."""
        if not isinstance(record, Mapping):
            return record
        needed = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {name: value for name, value in record.items() if name in needed or not is_nothing(value)}

    @classmethod
    def suits(cls, record: Mapping[str, object]) -> bool:
        """Return whether a record's fields identify this format."""
        return any(name in record for name in cls.identified_by)

    def edits(self) -> Sequence[Edit]:
        """Return the record's edits; most formats have one a record.

        Raises:
            EditError: the texts do not make an edit.
        """
        raise NotImplementedError


class Spelled(BaseModel):
    """An answer as ROME's authors spell it."""

    model_config = ConfigDict(strict=True)
    str_: str = Field(alias="str")


def is_nothing(value: object) -> bool:
    """Return whether a value stands for no value: null, or NaN, which is no number and equals nothing."""
    return value is None or value != value  # noqa: PLR0124 - that is how NaN is told


def template_slot(prompt: str, slot: str = "{}") -> int | None:
    """Return the one place of the subject in a prompt that by its format is a template, whatever else it holds."""
    return 0 if prompt.count(slot) == 1 else None


def answered(prompt: str, answer: str) -> tuple[tuple[str, str], ...]:
    """Return the neighbors of a format that has one or none."""
    return ((prompt, answer),) if prompt.strip() else ()


def filled(*prompts: str) -> tuple[str, ...]:
    """Return the prompts that are not blank."""
    return tuple(prompt for prompt in prompts if prompt.strip())


def check_fields(record: Mapping[str, object], edit_format: type[EditFormat]) -> None:
    """Refuse a field that is not read but was meant for one that is missing, by another format's name or a near one.

    Raises:
        ValueError: names both; what it holds would be left out without a word.
    """
    own = edit_format.model_fields
    names = dict.fromkeys([*own, *(name for group in MEANT for name in group)])
    for field in record:
        for meant in difflib.get_close_matches(field, names, 1, NEAR) if field not in own else ():
            group = next((group for group in MEANT if meant in group), (meant,))
            read = [name for name in group if name in own]
            if read and not any(name in record for name in read):
                raise ValueError(f"field {field!r} is not read; in this format it is called {' or '.join(read)}")
