"""Says in words what pydantic found."""

from __future__ import annotations

from pydantic import ValidationError

LONGEST = 120  # characters of a value that are shown


def sentence(error: ValidationError) -> str:
    """Return the first fault in words: the field, what is wrong with it, and its value."""
    fault = error.errors()[0]
    message = fault["msg"].removeprefix("Value error, ")
    said = f"{message[0].lower()}{message[1:]}"
    if not fault["loc"]:
        return said
    *parents, field = map(str, fault["loc"])
    within = f" in {'.'.join(parents)}" if parents else ""
    if fault["type"] == "missing":
        return f"field {field!r} is missing{within}"
    return f"field {field!r}{within} is {brief(fault['input'])}: {said}"


def brief(value: object, longest: int = LONGEST) -> str:
    """Return a value as Python writes it, cut after so many characters."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= longest else f"{text[:longest]}…"
