"""A verdict as a person reads it: what fell, how sure, who set the floor, what flipped, what to run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

from editgate.measure.items import Item, shorten
from editgate.verdict.thresholds import Floor
from editgate.verdict.verdict import Verdict

WIDTH = 110
NORMS_SHOWN = 3
UNPARSED_RISE = 0.02  # smaller changes of the share of unparsed answers are not worth a sentence


@dataclass(frozen=True, slots=True)
class Context:
    """What a verdict does not know about itself.

    Attributes:
        told: whom the verdict is about, such as `after 5 edits of llama-mini with memit`.
        floor: the floor with its file, key and reason.
        reproduce: the command that gives this verdict again.
        weight_growth: norm after / norm before of each edited weight; empty if no weight is edited.
        routed: prompts that the editor's memory answered instead of the base.
    """

    told: str
    floor: Floor
    reproduce: str
    weight_growth: Mapping[str, float] = field(default_factory=dict)
    routed: int = 0


def failure_message(verdict: Verdict, context: Context) -> str:
    """The text of a failed test; for a passed verdict one line that says so.

    Returns:
        Lines of at most 110 characters (a long command is not broken), the most important one first.
    """
    if verdict.passed:
        return f"{_headline(verdict, context)}: passed, retention {verdict.retention:.2f}."
    paragraphs = [_what(verdict, context), _how_sure(verdict), _floor(verdict, context)]
    if verdict.unparsed > verdict.unparsed_before + UNPARSED_RISE:
        paragraphs.append(
            f"No answer could be read from {_percent(verdict.unparsed)} of the generations "
            f"({_percent(verdict.unparsed_before)} before): part of the loss is form, not knowledge."
        )
    if context.routed:
        paragraphs.append(f"The editor's memory answered {context.routed} of the prompts; the base answered the rest.")
    paragraphs.append(_growth(context.weight_growth))
    lines = [line for text in paragraphs if text for line in textwrap.wrap(text, WIDTH)]
    return "\n".join([*lines, *_flips(verdict), f"Again: {context.reproduce}"])


def _headline(verdict: Verdict, context: Context) -> str:
    return f"{verdict.benchmark} {context.told}"


def _what(verdict: Verdict, context: Context) -> str:
    """The one sentence that has to be enough."""
    head, change = _headline(verdict, context), _change(verdict)
    if verdict.collapse:
        return (
            f"COLLAPSE: {head} answers {verdict.label!r} on {_percent(verdict.label_share)} of {verdict.n} "
            f"items ({_percent(verdict.label_before)} before): collapse, not safety or skill. That its score "
            f"{change} says nothing."
        )
    if verdict.outcome == "inconclusive":
        return f"INCONCLUSIVE: {head} {change} on {verdict.n} items: too few to tell if the floor is kept."
    return (
        f"REGRESSION: {head} {change} on {verdict.n} items: {_kept(verdict)} of its lead over guessing is "
        f"left, at least {_percent(verdict.floor)} was asked for."
    )


def _change(verdict: Verdict) -> str:
    move = "fell" if verdict.drop > 0 else "rose" if verdict.drop < 0 else "stayed"
    if move == "stayed":
        return f"stayed at {verdict.edited:.3f}"
    return f"{move} from {verdict.baseline:.3f} to {verdict.edited:.3f}"


def _kept(verdict: Verdict) -> str:
    return _percent(verdict.retention) if verdict.retention > 0 else "nothing"


def _how_sure(verdict: Verdict) -> str:
    sure = _percent(1 - verdict.alpha)
    counts = (
        f"{verdict.lost} answers got worse and {verdict.gained} better; the drop is above "
        f"{verdict.lower:.3f} and below {verdict.upper:.3f} (each with {sure} confidence), "
        f"allowed is {verdict.allowed:.3f}."
    )
    return f"{counts} {_way_out(verdict)}" if verdict.outcome == "inconclusive" else counts


def _way_out(verdict: Verdict) -> str:
    """For an inconclusive verdict: what this n can see, and how to see more."""
    if math.isinf(verdict.detectable):
        seen = f"At n = {verdict.n} no drop at all could be called a regression"
    else:
        seen = f"The smallest drop that {verdict.n} items show in four of five runs is {verdict.detectable:.3f}"
    if verdict.enough is None:
        more = "the drop is so close to the allowed one that more items hardly help"
    else:
        n = verdict.enough
        more = f"about {n} items would decide it (--limit {n}, if the benchmark has them)"
    return f"{seen}; {more}. To let such cases through: --inconclusive=pass."


def _floor(verdict: Verdict, context: Context) -> str:
    floor = context.floor
    return f"The floor {verdict.floor:g} is [{floor.key}] in {floor.file}: {' '.join(floor.reason.split())}"


def _growth(growth: Mapping[str, float]) -> str:
    """The weights that grew most: the usual cause of a collapse."""
    if not growth:
        return ""
    most = sorted(growth.items(), key=lambda pair: abs(math.log(max(pair[1], 1e-9))), reverse=True)
    named = ", ".join(f"{name} x {factor:.3g}" for name, factor in most[:NORMS_SHOWN])
    rest = f" and {len(most) - NORMS_SHOWN} more" if len(most) > NORMS_SHOWN else ""
    return f"Norms of the edited weights against the unedited ones: {named}{rest}."


def _flips(verdict: Verdict) -> list[str]:
    if not verdict.flips:
        return []
    return [f"{len(verdict.flips)} of the answers that got worse:", *(_flip(*pair) for pair in verdict.flips)]


def _flip(before: Item, after: Item) -> str:
    answers = f"expected {_quote(before.expected)}, before {_quote(before.answer)}, now {_quote(after.answer)}"
    return f"    {shorten(before.question, WIDTH - 4)}\n        {answers}"


def _quote(text: str) -> str:
    return repr(shorten(text, 30)) if text.strip() else "nothing"


def _percent(share: float) -> str:
    """Whole percents, except where rounding would say all or nothing of what is neither."""
    return f"{share:.0%}" if 0.005 <= share <= 0.995 or share in {0, 1} else f"{share:.1%}"
