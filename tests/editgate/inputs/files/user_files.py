"""Reads the text, JSON, JSON lines and TOML that users hand in; what cannot be read names the file and the place.

Nothing but `ConfigError` leaves these functions. Refused are: another encoding than UTF-8 or UTF-16 with its mark, a
key that stands twice in an object, half of a surrogate pair, numbers and nesting beyond what Python reads.
"""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from editgate.errors import ConfigError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that may be half of a pair
TOO_DEEP = "is nested too deeply; allowed: some hundred levels"
TOO_LONG = "holds a number of thousands of digits"


class Record(NamedTuple):
    """One value of a list, or of one line.

    Attributes:
        place: such as "record 3", or "record 3 (line 5)" where each line holds one.
        value: what it is.
        fault: why there is none.
    """

    place: str
    value: object
    fault: str = ""


def read_text(path: Path, shown: str = "") -> str:
    """Return a file's text; `shown` is its name for people, the path unless given.

    Raises:
        ConfigError: it cannot be read, or is in another encoding; names the line.
    """
    shown = shown or str(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise ConfigError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    encoding = "utf-16" if data.startswith(UTF_16) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise ConfigError(
            f"{shown}, line {line}: not {encoding.upper().removesuffix('-SIG')} (byte 0x{byte:02x}; perhaps "
            "Windows-1252). Save the file as UTF-8."
        ) from error


def parse_json(text: str, where: str) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Return the value of a JSON text.

    Raises:
        ConfigError: it is not JSON, or holds what is refused here; begins with `where`, and has the line.
    """
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        place = f", line {error.lineno}" if "\n" in text.strip() else ""
        raise ConfigError(f"{where}{place}: not JSON ({error.msg} at column {error.colno}).") from error
    except _TwiceGivenError as error:
        raise ConfigError(f"{where}: the key {error.args[0]!r} stands twice in one object.") from None
    except RecursionError:
        raise ConfigError(f"{where}: {TOO_DEEP}.") from None
    except ValueError:  # the only other one is Python's limit of digits
        raise ConfigError(f"{where}: {TOO_LONG}.") from None
    if SURROGATE.search(text) and (broken := next(_broken_texts(found), None)) is not None:
        raise ConfigError(f"{where}: {broken!r} holds half of a surrogate pair, which is no character.")
    return found


def read_json(path: Path, shown: str = "") -> Any:  # noqa: ANN401 - whatever JSON can say
    """Return the value of a JSON file.

    Raises:
        ConfigError: as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, shown), shown or str(path))


def read_object(path: Path, shown: str = "") -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ConfigError: as `read_json`, or it holds something else.
    """
    found = read_json(path, shown)
    if not isinstance(found, dict):
        raise ConfigError(f"{shown or path}: must hold a JSON object, not {_kind(found)}.")
    return found


def read_records(path: Path, *, faults: bool = False) -> list[Record]:
    """Return the records of a file: a JSON list, one object, or one JSON value a line, whatever the file is called.

    Args:
        path: The file.
        faults: Return a line that is not JSON as a record with its fault, instead of raising.

    Raises:
        ConfigError: as `read_text` and `parse_json`.
    """
    text = read_text(path)
    if _is_one_value(text, path.suffix):
        found = parse_json(text, str(path))
        return [Record(f"record {n}", value) for n, value in enumerate(found if isinstance(found, list) else [found])]
    records: list[Record] = []
    # Not splitlines(): U+2028, U+0085 and others end no line in JSON, and public files have them inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"record {len(records)} (line {number})"
            try:
                records.append(Record(place, parse_json(line, f"{path}: {place}")))
            except ConfigError as error:
                if not faults:
                    raise
                records.append(Record(place, None, str(error).removeprefix(f"{path}: {place}: ").removesuffix(".")))
    return records


def read_toml(path: Path, shown: str = "") -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    shown = shown or str(path)
    text = read_text(path, shown)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown}: not TOML ({error}).") from error
    except RecursionError:
        raise ConfigError(f"{shown}: {TOO_DEEP}.") from None
    except ValueError as error:  # Python's limit of digits, and dates that do not exist
        said = TOO_LONG if "digits" in str(error) else f"not TOML ({error})"
        raise ConfigError(f"{shown}: {said}.") from error


class _TwiceGivenError(Exception):
    """A key stands twice in an object."""


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceGivenError(next(name for name in names if names.count(name) > 1))
    return found


def _is_one_value(text: str, suffix: str) -> bool:
    """Return whether the text is one JSON value, and not one a line; of what cannot be read its file's name decides."""
    text = text.strip()
    if text.startswith("["):
        return True
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return suffix != ".jsonl"
    return end == len(text)


def _broken_texts(value: object) -> Iterator[str]:
    """Yield the texts, keys included, that cannot be written as UTF-8."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, str) and any("\ud800" <= sign <= "\udfff" for sign in each):
            yield each


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def is_file(path: Path) -> bool:
    """Return whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_dir(path: Path) -> bool:
    """Return whether there is such a folder; a name that none can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
