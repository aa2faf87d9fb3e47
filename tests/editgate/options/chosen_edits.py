"""Which edits a run applies, how many, and in which order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from editgate.errors import ConfigError
from editgate.inputs import edit_lengths, edit_lists
from editgate.inputs.files.validation import brief
from editgate.inputs.models import ModelSource, Sources
from editgate.options import profiles
from editgate.options.options import Options
from editgate.options.profiles import Profile
from editors import Edit

if TYPE_CHECKING:
    from editgate.options.settings import Settings

NUMBER = re.compile(r"0*[1-9][0-9]{0,8}")  # of edits: ASCII digits, and fewer than any list holds


def parse_counts(text: str) -> tuple[int, ...]:
    """Return the Ns of `--edit-counts`, ascending and without repetitions.

    Raises:
        ConfigError: one of them is no whole number of at least 1.
    """
    counts = set()
    for part in text.split(","):
        if not NUMBER.fullmatch(part.strip()):
            raise ConfigError(
                f"--edit-counts {brief(text)}: {brief(part.strip())} is not a number of edits. "
                f"Allowed: whole numbers of at least 1, separated by commas, such as {profiles.COUNTS}."
            )
        counts.add(int(part))
    return tuple(sorted(counts))


def read(
    options: Options, profile: Profile, known: Sources, chosen: Sources
) -> tuple[tuple[int, ...], dict[str, tuple[Edit, ...]]]:
    """Return the Ns and every model's edits; for a model that was changed elsewhere, one N and the edits listed."""
    counts = parse_counts(options.edit_counts or profile.edit_counts)
    if options.edited:
        ((model, source),) = chosen.items()
        skip_bad = options.skip_bad_edits
        listed = edit_lists.load(options.edits, source, skip_bad=skip_bad) if options.edits else ()
        return (max(len(listed), 1),), {model: listed}
    name = options.edits or profiles.EDITS
    wanted = {model: source for model, source in known.items() if model in chosen or _suits(source, name)}
    found = {model: edit_lists.load(name, source, skip_bad=options.skip_bad_edits) for model, source in wanted.items()}
    for model in chosen:
        _check_enough(name, counts, found[model])
    return counts, found


def without_long_edits(found: Settings, options: Options) -> Settings:
    """Refuse edits that are longer than a model's context, or leave them out where that is asked for.

    Raises:
        ConfigError: names the first record, and how many tokens it has and may have.
    """
    wanted = options.edits or found.profile.edits
    edits, skipped, name = dict(found.edits), list(found.skipped_edits), found.edits_name
    for source in found.models:
        if source.name not in found.chosen_models or not edits[source.name]:
            continue
        listed = edit_lists.by_record(wanted)
        used = listed if options.skip_bad_edits else dict(list(listed.items())[: found.counts[-1]])
        long = edit_lengths.too_long(used, source)
        if long and not options.skip_bad_edits:
            (place, why), *others = long.items()
            more = f" So are {len(others)} others." if others else ""
            raise ConfigError(f"--edits {wanted}: {place}: {why}.{more} {edit_lists.SKIP} leaves them out.")
        if long:
            kept = [edit for place, edit in listed.items() if place not in long]
            _check_enough(wanted, found.counts, kept)
            edits[source.name] = edit_lists.ordered(kept, found.counts[-1], found.order)
            skipped += [f"{place}: {why}" for place, why in long.items()]
            name = f"{name}; {len(long)} too long for {source.name} and skipped"
    return replace(found, edits=edits, edits_name=name, skipped_edits=tuple(skipped))


def checked_order(options: Options) -> int:
    """Return which order the edits come in; 0 is the file's own."""
    if options.edit_order < 0:
        raise ConfigError(
            f"--edit-order is {options.edit_order}; allowed: 0 (the file's own order), or the seed of another."
        )
    if options.budget is not None or options.min_budget is not None:
        _check_orders(options.edited, options.edit_order)
    return options.edit_order


def _suits(source: ModelSource, edits: str) -> bool:
    return source.miniature or edits not in edit_lists.SHIPPED


def _check_enough(edits: str, counts: Sequence[int], found: Sequence[Edit]) -> None:
    if counts[-1] > len(found):
        raise ConfigError(
            f"--edit-counts asks for {counts[-1]} edits, but {edits} holds {len(found)}. "
            f"Allowed: at most {len(found)}, or another --edits FILE."
        )


def _check_orders(edited: Path | None, edit_order: int) -> None:
    if edited:
        raise ConfigError(f"--budget needs edits that are applied here; --edited {edited} has none. Give an --editor.")
    if edit_order:
        raise ConfigError(f"--budget goes through orders 0, 1, …; --edit-order={edit_order} asks for one of them.")
