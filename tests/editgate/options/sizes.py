"""Sizes of memory and files, as people write them: `20GB`, `500MB`, `1.5GiB`."""

from __future__ import annotations

from pydantic import ByteSize, TypeAdapter

_SIZE = TypeAdapter(ByteSize)


def in_bytes(text: str) -> int:
    """Return the bytes that a text names; a number without a unit is bytes.

    Raises:
        ValueError: it names no size, or one beyond all bounds.
    """
    try:
        return int(_SIZE.validate_python(text))  # which raises a ValueError of its own
    except OverflowError as error:
        raise ValueError(str(error)) from error
