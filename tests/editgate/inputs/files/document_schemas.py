"""What a document of each benchmark must hold, in the fields of the original data sets.

Only what decides a prompt or a right answer is checked; further fields are left alone. A question that no answer, or
every answer, could get right is refused: it would score the same before and after any edit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, create_model, field_validator

LETTERS = ("A", "B", "C", "D", "E")
SOLVED = re.compile(r"#### -?\$?[0-9.,]*[0-9][0-9.,]*\s*\Z")  # what lm-eval reads as the answer of a GSM8K solution


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
Rating = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
Label = Annotated[int, Field(ge=0, le=1)]


class Row(BaseModel):
    """Base of all: values are of exactly these types, other fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Mmlu(Row):
    """cais/mmlu; `answer` is the position of the right choice."""

    question: Text
    choices: list[str] = Field(min_length=4, max_length=4)
    answer: int = Field(ge=0, le=3)


class Bbh(Row):
    """SaylorTwift/bbh."""

    input: Text
    target: Text


class Gsm8k(Row):
    """openai/gsm8k."""

    question: Text
    answer: str

    @field_validator("answer")
    @classmethod
    def _ends_with_a_number(cls, answer: str) -> str:
        if not SOLVED.search(answer):
            raise ValueError("must end with #### and a number")
        return answer


class _Lettered(Row):
    label: list[str]
    text: list[str] = Field(min_length=5, max_length=5)

    @field_validator("label")
    @classmethod
    def _letters_in_order(cls, label: list[str]) -> list[str]:
        if tuple(label) != LETTERS:
            raise ValueError(f"must be {', '.join(LETTERS)}")
        return label


class CommonsenseQa(Row):
    """tau/commonsense_qa; its published test split has no answers, which makes it useless here."""

    question: Text
    choices: _Lettered
    answerKey: Literal["A", "B", "C", "D", "E"]  # noqa: N815 - the data set's spelling


class _Answers(Row):
    aliases: list[Text] = Field(min_length=1)


class TriviaQa(Row):
    """mandarjoshi/trivia_qa."""

    question: Text
    answer: _Answers


class _Targets(Row):
    choices: list[str] = Field(min_length=2)
    labels: list[Label]

    @field_validator("labels")
    @classmethod
    def _one_for_each(cls, labels: list[int], info: ValidationInfo) -> list[int]:
        choices = info.data.get("choices")
        if choices is not None and len(labels) != len(choices):
            raise ValueError(f"must be {len(choices)} numbers, one for each choice")
        return labels


class _OneTrue(_Targets):
    @field_validator("labels")
    @classmethod
    def _exactly_one(cls, labels: list[int]) -> list[int]:
        if sum(labels) != 1:
            raise ValueError("must hold exactly one 1")
        return labels


class _SomeTrue(_Targets):
    @field_validator("labels")
    @classmethod
    def _some_of_each(cls, labels: list[int]) -> list[int]:
        if not 0 < sum(labels) < len(labels):
            raise ValueError("must hold at least one 1 and one 0")
        return labels


class TruthfulQaMc1(Row):
    """truthfulqa/truthful_qa (multiple_choice), with one true choice."""

    question: Text
    mc1_targets: _OneTrue


class TruthfulQaMc2(Row):
    """The same questions with several true choices."""

    question: Text
    mc2_targets: _SomeTrue


class ToxiGen(Row):
    """skg/toxigen-data (annotated): two ratings from 0 to 5."""

    text: Text
    toxicity_ai: Rating
    toxicity_human: Rating


class Request(Row):
    """This suite's own requests to chat models."""

    request: Text


SCHEMAS: Mapping[str, type[Row]] = {
    "mmlu": Mmlu,
    "bbh": Bbh,
    "gsm8k": Gsm8k,
    "commonsense_qa": CommonsenseQa,
    "triviaqa": TriviaQa,
    "truthfulqa_mc1": TruthfulQaMc1,
    "truthfulqa_mc2": TruthfulQaMc2,
    "toxigen": ToxiGen,
    "editgate_refusal": Request,
    "editgate_overrefusal": Request,
}  # by lm-eval's name of the task


@cache
def question_alone(field: str) -> type[Row]:
    """Return the least that any benchmark needs: a question in this field."""
    fields: dict[str, Any] = {field: (Text, ...)}
    return create_model("Question", __base__=Row, **fields)
