"""Strategies that break a valid file: its JSON value at some place, or its bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Place = tuple[Any, str | int]  # the list or object, and the index or key in it

STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**12),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", " ", "{}", "\u2028", "\x85", "\x1c", "9" * 30, 10**400, -1, 0, 1.5, [], {}, [[]], [None]]),
    st.lists(st.integers(-2, 2) | st.text(max_size=2), max_size=6),
    st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=2), max_size=3),
)  # fmt: skip
TOKENS = st.sampled_from(
    [b"", b"\0", b"\n", b"\r", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xe9", b"{", b"}", b"[", b"]", b'"', b",", b":",
     b"=", b"#", b"'''", b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"1e999", b"true", b"null", b'"', b"[" * 3000,
     b"9" * 5000, b"{}", b"\xe2\x80\xa8"]
)  # fmt: skip


def _places(value: object) -> Iterator[Place]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield value, key
            yield from _places(each)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield value, index
            yield from _places(each)


@st.composite
def broken_values(draw: st.DrawFn, valid: Any) -> Any:  # noqa: ANN401 - whatever JSON can say
    """A copy of a JSON value in which one to three places were replaced, removed or doubled."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return draw(STRANGE)
        owner, at = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                owner[at] = draw(STRANGE)
            case "remove":
                del owner[at]
            case _ if isinstance(owner, dict):
                owner[draw(st.text(max_size=6))] = draw(STRANGE)
            case _:
                owner.append(draw(STRANGE))
    return value


@st.composite
def broken_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """A copy of a file in which one to three stretches were replaced by strange ones."""
    data = valid
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data = data[:start] + draw(TOKENS) + data[end:]
    return data


def broken_json(valid: object) -> st.SearchStrategy[bytes]:
    """A JSON file that was broken in one of the two ways."""
    text = json.dumps(valid, ensure_ascii=False, indent=1)
    written = broken_values(valid).map(lambda value: json.dumps(value).encode())
    return written | broken_bytes(text.encode())
