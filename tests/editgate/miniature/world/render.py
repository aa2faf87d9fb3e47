"""Turns documents into prompts with the templates of the installed lm-eval tasks: training shows their exact form."""

from functools import cache
from typing import Any

import yaml
from jinja2 import Template

from editgate.inputs.harness.index import REGISTERED

FILES = {
    "mmlu": "mmlu/default/_default_template_yaml",
    "commonsense_qa": "commonsense_qa/default.yaml",
    "triviaqa": "triviaqa/default.yaml",
    "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml",
    "toxigen": "toxigen/toxigen.yaml",
    "gsm8k": "gsm8k/gsm8k.yaml",
}


class _Loader(yaml.SafeLoader):
    """Reads a task file without importing the functions that it names."""


_Loader.add_constructor("!function", lambda _, node: str(node.value))


def prompt(task: str, document: dict[str, Any]) -> str:
    """Return what lm-eval shows the model for this document with no shots, description included."""
    text: str = _template(task).render(**document)
    return description(task, document) + text


def description(task: str, document: dict[str, Any]) -> str:
    """Return the line that stands before the first question."""
    if task == "mmlu":
        return mmlu_description(document["subject"])
    return str(_config(_file(task)).get("description", ""))


def mmlu_description(subject: str) -> str:
    """Return MMLU's first line for a subject, as lm-eval's own subject files word it."""
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"


def _file(task: str) -> str:
    return f"bbh/cot_fewshot/{task.removeprefix('bbh/')}.yaml" if task.startswith("bbh/") else FILES[task]


@cache
def _template(task: str) -> Template:
    from editgate.compat.lm_eval import compile_template  # noqa: PLC0415 - lm-eval takes a second to import

    return compile_template(_config(_file(task))["doc_to_text"])


@cache
def _config(file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((REGISTERED / file).read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    return loaded
