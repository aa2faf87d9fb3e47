"""Everything that depends on a library's private parts or on its version, one module a library.

Each entry says what it is, since which release it is there, and what happens when it changes: the way around it, or
`IncompatibleLibrary`, which names the missing part and the release that has none. Nothing is registered or patched at
import, and nothing else in `editgate` imports a private name. The editors' own list is `editors/models/compat.py`.
"""

from __future__ import annotations

from importlib.metadata import version
from pkgutil import resolve_name
from typing import Any

from editgate.errors import IncompatibleLibrary


def require(name: str, use: str) -> Any:  # noqa: ANN401 - private parts have no type that could be relied on
    """Return a library's private object by its dotted name.

    Args:
        name: such as `lm_eval.tasks._yaml_loader.load_yaml`.
        use: what it is needed for, to follow "editgate needs it to".

    Raises:
        IncompatibleLibrary: the installed release has no such object.
    """
    try:
        return resolve_name(name)
    except (ImportError, AttributeError) as error:
        library = name.partition(".")[0].lstrip("_")
        raise IncompatibleLibrary(
            f"{library} {version(library)} has no {name}; editgate needs it to {use}. "
            "Install the releases of requirements.lock, or a newer editgate."
        ) from error
