"""Four bundles of defaults for the command line; what is given there goes before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from editgate.errors import ConfigError
from editgate.inputs import models

MODEL = "llama-mini"
COUNTS = "1,5,10,20,50,100"
EDITS = "counterfact"


@dataclass(frozen=True)
class Profile:
    """What is asked where the command line does not say.

    Attributes:
        name: as `--profile` takes it.
        purpose: what it is for, in words.
        models: names for `--model`; none: one must be given.
        edit_counts: for `--edit-counts`.
        limit: for `--limit`; None: all items.
        edits: for `--edits`.
        inconclusive: for `--inconclusive`.
    """

    name: str
    purpose: str
    models: Callable[[], tuple[str, ...]] = lambda: (MODEL,)
    edit_counts: str = COUNTS
    limit: int | None = None
    edits: str = EDITS
    inconclusive: str = "fail"

    def __str__(self) -> str:
        """What it sets, in one line."""
        named = ", ".join(self.models()) or "the one given"
        items = "all items" if self.limit is None else f"at most {self.limit} items a benchmark"
        return (
            f"profile {self.name} ({self.purpose}): model {named}; {self.edits} at N = {self.edit_counts}; {items}; "
            f"inconclusive is a {self.inconclusive}"
        )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke", "a few minutes, finds only what breaks badly", edit_counts="1,5", limit=50, inconclusive="pass"
        ),
        Profile("default", "the gate"),
        Profile(
            "nightly",
            "every shipped model with every method",
            models=models.miniatures,
            edit_counts="1,10,50",
            limit=100,
            inconclusive="pass",
        ),
        Profile(
            "paper",
            "grid, data set, order, shots and hyperparameters of Li et al. 2024",
            models=tuple,
            edit_counts="1,5,10,20,50,100,500,1000",
        ),
    )
}


def find(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        ConfigError: there is none; the message lists them.
    """
    if name not in PROFILES:
        raise ConfigError(f"--profile {name!r} is unknown. Allowed: {', '.join(PROFILES)}.")
    return PROFILES[name]
