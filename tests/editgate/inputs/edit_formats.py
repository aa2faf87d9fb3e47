"""The formats that lists of edits are published in, one record class each, and how each becomes an `Edit`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from editors import Edit, EditError
from editors.core.edit import SLOT


def _first(value: object) -> object:
    """The first of a list of equally good answers, lists of lists included; other values as they are."""
    while isinstance(value, list) and value:
        value = value[0]
    return value


Answer = Annotated[str, BeforeValidator(_first)]
Texts = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


def _filled(prompt: str, subject: str) -> str:
    """Return the prompt of a format that writes the subject out; there `{}` is a text like any other.

    Raises:
        EditError: it has `{}` besides the subject, which `Edit` has no way to say.
    """
    if SLOT in prompt and subject and subject in prompt.replace(SLOT, ""):
        raise EditError(
            f"prompt {prompt!r} holds {SLOT}, which stands for the subject here, besides {subject!r} itself"
        )
    return prompt


class EditFormat(BaseModel):
    """Base of all formats: texts must be strings; fields that no edit needs are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    identified_by: ClassVar[tuple[str, ...]]  # fields any of which identifies this format

    @classmethod
    def reads(cls, record: Mapping[str, object]) -> bool:
        """Return whether a record's fields identify this format."""
        return any(field in record for field in cls.identified_by)

    def edits(self) -> list[Edit]:
        """Return the record's edits, one in most formats; none if it has none.

        Raises:
            EditError: the texts do not make an edit.
        """
        edit = self.edit()
        return [] if edit is None else [edit]

    def edit(self) -> Edit | None:
        """Return the edit; None if the record has none.

        Raises:
            EditError: the texts do not make an edit.
        """
        raise NotImplementedError


class _Target(BaseModel):
    model_config = ConfigDict(strict=True)
    str_: str = Field(alias="str")


class _Rewrite(BaseModel):
    model_config = ConfigDict(strict=True)
    prompt: str
    subject: str
    target_new: _Target
    target_true: _Target


class _Neighbor(BaseModel):
    model_config = ConfigDict(strict=True)
    prompt: str
    target: str


class CounterFact(EditFormat):
    """CounterFact as published; neighbors are prompts, or in the multi-edit release objects with their answers."""

    identified_by = ("requested_rewrite",)
    requested_rewrite: _Rewrite
    paraphrase_prompts: list[str] = []
    neighborhood_prompts: list[str | _Neighbor] = []

    def edit(self) -> Edit:
        """Return the edit; a neighbor that is only a prompt has the edited fact's own true answer."""
        rewrite = self.requested_rewrite
        true = rewrite.target_true.str_
        near = [(n, true) if isinstance(n, str) else (n.prompt, n.target) for n in self.neighborhood_prompts]
        return Edit(
            rewrite.prompt, rewrite.subject, rewrite.target_new.str_, true, tuple(self.paraphrase_prompts), tuple(near)
        )


class _MquakeRewrite(_Rewrite):
    question: str = ""


class Mquake(EditFormat):
    """MQuAKE: one to four edits a record, each with the same as a question. Its multi-hop questions are not asked."""

    identified_by = ("requested_rewrite",)
    requested_rewrite: list[_MquakeRewrite] = Field(min_length=1)

    @classmethod
    def reads(cls, record: Mapping[str, object]) -> bool:
        """Return whether it is a list of rewrites, where CounterFact has one."""
        return isinstance(record.get("requested_rewrite"), list)

    def edits(self) -> list[Edit]:
        """Return the record's edits; they have no neighbors."""
        return [
            Edit(
                rewrite.prompt,
                rewrite.subject,
                rewrite.target_new.str_,
                rewrite.target_true.str_,
                (rewrite.question,) if rewrite.question else (),
            )
            for rewrite in self.requested_rewrite
        ]


class Request(EditFormat):
    """A rewrite alone, as in MEMIT's notebook: CounterFact's without what is asked around it."""

    identified_by = ("target_new",)
    prompt: str
    subject: str
    target_new: _Target
    target_true: _Target | None = None

    @classmethod
    def reads(cls, record: Mapping[str, object]) -> bool:
        """Return whether its target is an object; in all other formats it is a text."""
        return isinstance(record.get("target_new"), Mapping)

    def edit(self) -> Edit:
        """Return the edit; there is nothing to measure paraphrase and locality on."""
        true = self.target_true.str_ if self.target_true else ""
        return Edit(self.prompt, self.subject, self.target_new.str_, true)


class WikiBigEdit(EditFormat):
    """WikiBigEdit's questions about changed facts; the old answer is unknown. Its multi-hop questions are not asked."""

    identified_by = ("update",)
    subject: str
    update: str
    ans: Answer
    rephrase: Texts = []
    personas: Texts = []
    loc: str = ""
    loc_ans: Answer = ""

    def edit(self) -> Edit:
        """Return the edit; a rephrasing by a persona is a rephrasing."""
        rephrases = tuple(text for text in (*self.rephrase, *self.personas) if text)
        near = ((self.loc, self.loc_ans),) if self.loc else ()
        return Edit(_filled(self.update, self.subject), self.subject, self.ans, "", rephrases, near)


class Zsre(EditFormat):
    """ZsRE in MEND's editing format: towards `alt`, the made-up answer."""

    identified_by = ("src",)
    subject: str
    src: str
    answers: list[str] = Field(min_length=1)
    alt: str
    rephrase: str = ""
    loc: str = ""
    loc_ans: Answer = ""

    def edit(self) -> Edit | None:
        """Return the edit; none without an `alt`, which some published records lack."""
        return self._towards(self.alt, self.answers[0]) if self.alt.strip() else None

    def _towards(self, new: str, true: str) -> Edit:
        rephrases = (self.rephrase,) if self.rephrase else ()
        return Edit(
            _filled(self.src, self.subject),
            self.subject,
            new,
            true,
            rephrases,
            ((self.loc, self.loc_ans),) if self.loc else (),
        )


class ZsreTrue(Zsre):
    """The same records as ROME and MEMIT edit them: towards the true answer; the model's own is unknown."""

    alt: str = ""

    def edit(self) -> Edit:
        """Return the edit; every record has one."""
        return self._towards(self.answers[0], "")


class _QaNeighbor(BaseModel):
    """A neighbor, as QAEdit spells it."""

    model_config = ConfigDict(strict=True)
    prompt: str = Field(validation_alias="loc")
    answer: Answer = Field(validation_alias="loc_ans")


class QaEdit(EditFormat):
    """Questions with their answers: `target` is the new one, the old one is unknown."""

    identified_by = ("target",)
    subject: str
    prompt: str
    target: Answer
    rephrase: Texts = []
    locality: list[_QaNeighbor] = []

    def edit(self) -> Edit:
        """Return the edit."""
        near = tuple((one.prompt, one.answer) for one in self.locality)
        prompt = _filled(self.prompt, self.subject)
        return Edit(prompt, self.subject, self.target, "", tuple(self.rephrase), near)


class _Grouped(BaseModel):
    """A neighbor below `locality`, or several in columns."""

    model_config = ConfigDict(strict=True)
    prompt: Texts
    ground_truth: list[Any] | str

    def pairs(self) -> list[tuple[str, str]]:
        answers = [self.ground_truth] if isinstance(self.ground_truth, str) else self.ground_truth
        if len(self.prompt) == 1:
            answers = [answers]  # equally good ones of the one prompt
        return [(prompt, str(_first(answer))) for prompt, answer in zip(self.prompt, answers, strict=True)]


Groups = Annotated[
    dict[str, list[_Grouped]],
    BeforeValidator(
        lambda groups: (
            {name: group if isinstance(group, list) else [group] for name, group in groups.items()}
            if isinstance(groups, dict)
            else groups
        )
    ),
]


class Flat(EditFormat):
    """The flattened format of editing libraries, of CounterFact and of ZsRE: the subject is already in the prompt."""

    identified_by = ("rephrase_prompt", "locality_prompt", "ground_truth", "locality")
    subject: str
    prompt: str
    target_new: Answer
    ground_truth: Answer = ""
    rephrase_prompt: Texts = []
    locality_prompt: str = ""
    locality_ground_truth: Answer = ""
    locality: Groups = {}

    def edit(self) -> Edit:
        """Return the edit; `<|endoftext|>` stands for an unknown true answer."""
        true = "" if self.ground_truth == "<|endoftext|>" else self.ground_truth
        near = [(self.locality_prompt, self.locality_ground_truth)] if self.locality_prompt else []
        near += [pair for group in self.locality.values() for one in group for pair in one.pairs()]
        prompt = _filled(self.prompt, self.subject)
        return Edit(prompt, self.subject, self.target_new, true, tuple(self.rephrase_prompt), tuple(near))


FORMATS: tuple[type[EditFormat], ...] = (Mquake, CounterFact, Request, WikiBigEdit, Zsre, QaEdit, Flat)
WITHOUT_SUBJECT = {"filtered_rephrases": "FEVER"}  # a field that only this format has
# What the formats call the same thing; of a name of another format nothing would be measured.
MEANT = (
    ("paraphrase_prompts", "rephrase", "rephrase_prompt", "rephrases"),
    ("neighborhood_prompts", "loc", "locality", "locality_prompt", "neighbors"),
)
NEAR = 0.85  # difflib's ratio: one letter more or less in ten


def format_of(record: Mapping[str, object]) -> type[EditFormat] | None:
    """Return the format that a record's fields identify, or None."""
    return next((format_ for format_ in FORMATS if format_.reads(record)), None)


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
