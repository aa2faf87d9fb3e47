"""Templates of what a model reads: text with fields in braces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from editors.core.errors import HyperparameterError

_FIELD = re.compile(r"\{(\w+)\}")


def fill(template: str, words: Mapping[str, str]) -> str:
    """The template with each field replaced once: braces in the words stay as they are."""
    return _FIELD.sub(lambda match: words[match[1]], template)


def check_template(name: str, template: str, allowed: Iterable[str]) -> str:
    """The template itself.

    Raises:
        HyperparameterError: It contains another field, or not exactly one {query}.
    """
    fields = _FIELD.findall(template)
    unknown = sorted(set(fields) - set(allowed))
    if unknown or fields.count("query") != 1:
        fault = f"the unknown field {{{unknown[0]}}}" if unknown else f"{fields.count('query')} times {{query}}"
        names = ", ".join(f"{{{field}}}" for field in allowed)
        raise HyperparameterError(
            f"{name} is {template!r} with {fault}; allowed are {names}, and {{query}} exactly once"
        )
    return template
