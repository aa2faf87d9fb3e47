"""The formats that lists of edits are published in, one record class each, and how each becomes an `Edit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from editgate.inputs.edit_format import (
    MEANT,
    Answer,
    EditFormat,
    Spelled,
    Subject,
    Texts,
    answered,
    filled,
    first,
    template_slot,
)
from editors import Edit


class _Rewrite(BaseModel):
    model_config = ConfigDict(strict=True)
    prompt: str
    subject: str
    target_new: Spelled
    target_true: Spelled
    question: str = ""

    def edit(self, rephrases: Sequence[str] = (), near: Sequence[tuple[str, str]] = ()) -> Edit:
        """Return the edit, asked in further ways."""
        return Edit(
            self.prompt,
            self.subject,
            self.target_new.str_,
            self.target_true.str_,
            tuple(rephrases),
            tuple(near),
            slot=template_slot(self.prompt),
        )


class _Neighbor(BaseModel):
    model_config = ConfigDict(strict=True)
    prompt: str
    target: str


class CounterFact(EditFormat):
    """CounterFact as published; neighbors are prompts, or in the multi-edit release objects with their answers."""

    called = "CounterFact"
    identified_by = ("requested_rewrite",)
    requested_rewrite: _Rewrite
    paraphrase_prompts: list[str] = Field([])
    neighborhood_prompts: list[str | _Neighbor] = Field([])

    def edits(self) -> Sequence[Edit]:
        """Return the edit; a neighbor that is only a prompt has the edited fact's own true answer."""
        true = self.requested_rewrite.target_true.str_
        near = [(n, true) if isinstance(n, str) else (n.prompt, n.target) for n in self.neighborhood_prompts]
        return [self.requested_rewrite.edit(self.paraphrase_prompts, near)]


class Mquake(EditFormat):
    """MQuAKE: one or several edits a record, each with a question of its own."""

    called = "MQuAKE"
    identified_by = ("requested_rewrite",)
    not_asked = ("questions",)
    requested_rewrite: list[_Rewrite] = Field(min_length=1)

    @classmethod
    def suits(cls, record: Mapping[str, object]) -> bool:
        """Return whether there is a list of rewrites."""
        return isinstance(record.get("requested_rewrite"), list)

    def edits(self) -> Sequence[Edit]:
        """Return the edits; what follows from several of them is not asked."""
        return [rewrite.edit(filled(rewrite.question)) for rewrite in self.requested_rewrite]


class Zsre(EditFormat):
    """ZsRE in MEND's editing format: towards `alt`, the made-up answer."""

    called = "ZsRE"
    identified_by = ("src",)
    subject: Subject = None
    src: str
    answers: list[str] = Field([], min_length=1)
    alt: str
    rephrase: str = ""
    loc: str = ""
    loc_ans: Answer = ""

    def edits(self) -> Sequence[Edit]:
        """Return the edit; none without an `alt`, which some published records lack."""
        return [self._towards(self.alt, self.answers[0] if self.answers else "")] if self.alt.strip() else []

    def _towards(self, new: str, true: str) -> Edit:
        return Edit(self.src, self.subject, new, true, filled(self.rephrase), answered(self.loc, self.loc_ans))


class ZsreTrue(Zsre):
    """The same records as ROME and MEMIT edit them: towards the true answer; the model's own is unknown."""

    answers: list[str] = Field(min_length=1)
    alt: str = ""

    def edits(self) -> Sequence[Edit]:
        """Return the edit; every record has one."""
        return [self._towards(self.answers[0], "")]


class WikiBigEdit(EditFormat):
    """Questions on what changed in Wikidata; the old answer is unknown. A persona asks the same in its own words."""

    called = "WikiBigEdit"
    identified_by = ("update",)
    not_asked = ("mhop",)
    subject: Subject = None
    update: str
    ans: Answer
    rephrase: str = ""
    personas: str = ""
    loc: str = ""
    loc_ans: Answer = ""

    def edits(self) -> Sequence[Edit]:
        """Return the edit; what follows from it in two steps is not asked."""
        again = filled(self.rephrase, self.personas)
        return [Edit(self.update, self.subject, self.ans, "", again, answered(self.loc, self.loc_ans))]


class UltraEdit(EditFormat):
    """UltraEditBench: questions with their answers."""

    called = "UltraEditBench"
    identified_by = ("ans",)
    subject: Subject = None
    prompt: str
    ans: Answer
    rephrase_prompt: str = ""
    loc: str = ""
    loc_ans: Answer = ""

    @classmethod
    def suits(cls, record: Mapping[str, object]) -> bool:
        """Return whether the answer has this format's name and no other's."""
        return "ans" in record and "target_new" not in record

    def edits(self) -> Sequence[Edit]:
        """Return the edit."""
        again, near = filled(self.rephrase_prompt), answered(self.loc, self.loc_ans)
        return [Edit(self.prompt, self.subject, self.ans, "", again, near)]


class _Output(BaseModel):
    model_config = ConfigDict(strict=True)
    answer: str = ""


class KnowledgeEditor(EditFormat):
    """KnowledgeEditor's FEVER and ZsRE: towards the first alternative. As published they name no subject."""

    called = "KnowledgeEditor (FEVER, ZsRE)"
    identified_by = ("alternatives", "filtered_rephrases")
    subject: Subject = None
    input: str
    alternatives: list[str] = Field(min_length=1)
    output: list[_Output] = Field([])
    filtered_rephrases: list[str] = Field([])

    def edits(self) -> Sequence[Edit]:
        """Return the edit; a rephrase that repeats the input is none."""
        true = next((output.answer for output in self.output if output.answer), "")
        again = tuple(text for text in filled(*self.filtered_rephrases) if text != self.input)
        return [Edit(self.input, self.subject, self.alternatives[0], true, again)]


class _QaNeighbor(BaseModel):
    """A neighbor, as QAEdit spells it."""

    model_config = ConfigDict(strict=True)
    prompt: str = Field(validation_alias="loc")
    answer: Answer = Field(validation_alias="loc_ans")


class QaEdit(EditFormat):
    """Questions with their answers: `target` is the new one, the old one is unknown."""

    called = "QAEdit"
    identified_by = ("target",)
    subject: Subject = None
    prompt: str
    target: Answer
    rephrase: Texts = Field([])
    locality: list[_QaNeighbor] = Field([])

    @classmethod
    def suits(cls, record: Mapping[str, object]) -> bool:
        """Return whether there is a `target` and no `target_new`, which has its meaning in all other formats."""
        return super().suits(record) and "target_new" not in record

    def edits(self) -> Sequence[Edit]:
        """Return the edit."""
        near = tuple((one.prompt, one.answer) for one in self.locality)
        return [Edit(self.prompt, self.subject, self.target, "", filled(*self.rephrase), near)]


class _Grouped(BaseModel):
    """A neighbor below `locality`, or several in columns."""

    model_config = ConfigDict(strict=True)
    prompt: Texts
    ground_truth: list[Any] | str

    def pairs(self) -> list[tuple[str, str]]:
        answers = [self.ground_truth] if isinstance(self.ground_truth, str) else self.ground_truth
        if len(self.prompt) == 1:
            answers = [answers]  # equally good ones of the one prompt
        return [(prompt, str(first(answer))) for prompt, answer in zip(self.prompt, answers, strict=True)]


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

    called = "editing libraries (flattened)"
    identified_by = ("rephrase_prompt", "locality_prompt", "ground_truth", "locality")
    subject: Subject = None
    prompt: str
    target_new: Answer
    ground_truth: Answer = ""
    rephrase_prompt: Texts = Field([])
    locality_prompt: str = ""
    locality_ground_truth: Answer = ""
    locality: Groups = Field({})

    def edits(self) -> Sequence[Edit]:
        """Return the edit; `<|endoftext|>` stands for an unknown true answer."""
        true = "" if self.ground_truth == "<|endoftext|>" else self.ground_truth
        near = list(answered(self.locality_prompt, self.locality_ground_truth))
        near += [pair for group in self.locality.values() for one in group for pair in one.pairs()]
        return [Edit(self.prompt, self.subject, self.target_new, true, filled(*self.rephrase_prompt), tuple(near))]


class Request(EditFormat):
    """A request as MEMIT's notebook writes it, without questions: CounterFact's rewrite alone."""

    called = "MEMIT's requests"
    identified_by = ("target_new",)
    prompt: str
    subject: str
    target_new: Spelled
    target_true: Spelled | None = None

    @classmethod
    def suits(cls, record: Mapping[str, object]) -> bool:
        """Return whether the target is an object, and there is nothing to ask that this format would leave out."""
        asked = any(name in record for group in MEANT for name in group)
        return isinstance(record.get("target_new"), Mapping) and not asked

    def edits(self) -> Sequence[Edit]:
        """Return the edit."""
        true = self.target_true.str_ if self.target_true else ""
        return [Edit(self.prompt, self.subject, self.target_new.str_, true, slot=template_slot(self.prompt))]


class Own(EditFormat):
    """The fields of `Edit`, and a number for whoever made the list; a field of any other name would not be measured."""

    model_config = ConfigDict(extra="forbid")
    called = "editgate"
    identified_by = ("target_new",)
    prompt: str
    subject: Subject = None
    target_new: str
    target_true: str = ""
    rephrases: list[str] = Field([])
    neighbors: list[list[str]] = Field([])
    slot: int | None = None
    id: int | str | None = None
    case_id: int | str | None = None

    def edits(self) -> Sequence[Edit]:
        """Return the edit."""
        return [Edit.from_dict(self.model_dump(exclude={"id", "case_id"}))]


FORMATS: tuple[type[EditFormat], ...] = (
    CounterFact, Zsre, WikiBigEdit, KnowledgeEditor, QaEdit, UltraEdit, Flat, Own,
)  # fmt: skip
NARROWER: tuple[type[EditFormat], ...] = (Mquake, Request)  # what these have in a field tells them from others


def format_of(record: Mapping[str, object]) -> type[EditFormat] | None:
    """Return the format that a record's fields identify, or None."""
    return next((format_ for format_ in (*NARROWER, *FORMATS) if format_.suits(record)), None)
