"""What a person can do about an error of the Hugging Face hub: one line with the command."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from editgate.inputs.files.user_files import read_object

OFFLINE = (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError)
# In this order: a gated repository counts as not found, and a file that is not in the cache as an entry not found.
ADVICE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (GatedRepoError, "it is gated. Ask for access on its page, then log in once: hf auth login"),
    (RepositoryNotFoundError, "the hub has nothing of that name, or it is private. Log in: hf auth login"),
    (OFFLINE, "it is not on this machine and the hub cannot be reached. Fetch it once online: hf download {name}"),
    (EntryNotFoundError, "a file is missing there"),
    (ImportError, "a package is missing. Install it: pip install accelerate"),
)


def advice(error: BaseException, name: str) -> str:
    """Return what is wrong with `name` and what helps, in one line: by the first known cause, else in its own words."""
    causes = list(_causes(error))
    for kind, words in ADVICE:
        if any(isinstance(cause, kind) for cause in causes):
            return f"{words.format(name=name)}."
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def unreachable(error: BaseException) -> bool:
    """Return whether the reason is that the hub cannot be reached."""
    return any(isinstance(cause, OFFLINE) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


@cache
def has_chat_template(location: str) -> bool:
    """Return whether the tokenizer of a model's directory, or of a hub id, has a chat template.

    Of a hub id a small file is downloaded; one that is gated, missing or out of reach has none.

    Raises:
        RepositoryNotFoundError: the hub has nothing of that name.
        ConfigError: `tokenizer_config.json` is no JSON object.
    """
    if (Path(location) / "chat_template.jinja").is_file():
        return True
    file = Path(location) / "tokenizer_config.json"
    if not Path(location).is_dir():
        downloaded = _download(location, file.name)
        if downloaded is None:
            return False
        file = downloaded
    return file.is_file() and bool(read_object(file).get("chat_template"))


def _download(repository: str, name: str) -> Path | None:
    """Return a file of the hub, or its copy on this machine; None if there is neither."""
    try:
        return Path(hf_hub_download(repository, name))
    except RepositoryNotFoundError as error:
        if not isinstance(error, GatedRepoError):
            raise
    except (HfHubHTTPError, EntryNotFoundError, *OFFLINE):
        pass
    cached = try_to_load_from_cache(repository, name)
    return Path(cached) if isinstance(cached, str) else None
