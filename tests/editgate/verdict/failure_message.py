"""A verdict as a person reads it: what fell, how sure, which floor, what flipped, what to run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from editgate import inert
from editgate.inputs.probes import KL, LARGEST
from editgate.measure.items import Item, shorten, shorten_apart
from editgate.verdict.outcome import Outcome
from editgate.verdict.thresholds import Floor

if TYPE_CHECKING:
    from editgate.verdict.verdict import Verdict

WIDTH = 110
MAX_NORMS = 3
LONGEST = 10_000  # characters of one paragraph
GROWN = 10.0  # times its size before; from here on a reader asks whether that can be right
GROWN_NORM = (
    "A norm that grew much is often the cause of damage and never its proof: closed-form methods write where ordinary "
    "text has almost no signal, and a small model has many such directions."
)
UNPARSED_RISE = 0.02  # smaller changes of the share of unparsed answers are not worth a sentence


@dataclass(frozen=True, slots=True)
class Context:
    """What a verdict does not know about itself.

    Attributes:
        subject: what the verdict is about, such as `after 5 edits of llama-mini with memit`.
        floor: the floor with its file, key and reason.
        command: gives this verdict again.
        norm_ratio: norm after / norm before of each edited weight; empty if no weight is edited.
        routed: prompts that the editor's memory answered instead of the base.
    """

    subject: str
    floor: Floor
    command: str
    norm_ratio: Mapping[str, float] = field(default_factory=dict)
    routed: int = 0


def failure_message(verdict: Verdict, context: Context) -> str:
    """The text of a failed test; for a passed verdict one line that says so.

    Returns:
        Lines of at most 110 characters (a long command is not broken), the most important one first.
    """
    headline = f"{verdict.benchmark} {context.subject}"
    if verdict.passed:
        return f"{headline}: passed, retention {verdict.retention:.2f}."
    floor = context.floor
    paragraphs = [
        _verdict_sentence(verdict, headline),
        _confidence(verdict),
        f"The floor {verdict.floor:g} is [{floor.key}] in {floor.file}, with its reason.",
    ]
    if verdict.unparsed > verdict.unparsed_before + UNPARSED_RISE:
        paragraphs.append(
            f"No answer could be read from {_percent(verdict.unparsed)} of the generations "
            f"({_percent(verdict.unparsed_before)} before): part of the loss is form, not knowledge."
        )
    if context.routed:
        paragraphs.append(f"The editor's memory answered {context.routed} of the prompts; the base answered the rest.")
    paragraphs.append(_norms(context.norm_ratio))
    lines = [line for text in paragraphs if text for line in textwrap.wrap(inert.terminal(text, LONGEST), WIDTH)]
    if verdict.flips:
        lines += [f"{len(verdict.flips)} of the answers that got worse:", *(_flip(*pair) for pair in verdict.flips)]
    return "\n".join([*lines, f"Again: {context.command}"])


def _verdict_sentence(verdict: Verdict, headline: str) -> str:
    """The one sentence that has to be enough."""
    if verdict.probe:
        return f"{verdict.outcome.upper()}: {headline} {_probe_change(verdict)}."
    move = "fell" if verdict.drop > 0 else "rose"
    change = f"{move} from {verdict.baseline:.3f} to {verdict.edited:.3f}"
    change = change if verdict.drop else f"stayed at {verdict.edited:.3f}"
    if verdict.collapse:
        return (
            f"COLLAPSE: {headline} answers {verdict.label!r} on {_percent(verdict.label_share)} of {verdict.n} items "
            f"({_percent(verdict.label_before)} before). The score {change}; it is meaningless here."
        )
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return f"INCONCLUSIVE: {headline} {change} on {verdict.n} items: too few to decide if the floor is kept."
    kept = _percent(verdict.retention) if verdict.retention > 0 else "nothing"
    return (
        f"REGRESSION: {headline} {change} on {verdict.n} items: {kept} of its lead over guessing is left, at least "
        f"{_percent(verdict.floor)} is required."
    )


def _probe_change(verdict: Verdict) -> str:
    """What a probe says, in its own unit, and what is allowed."""
    if verdict.benchmark == KL:
        return (
            f"is {verdict.edited:.3g} nats a token away from the unedited model on {verdict.n} prompts; at most "
            f"{verdict.allowed:.3g} is allowed"
        )
    times = math.exp(min(verdict.drop, LARGEST))
    return (
        f"went from {verdict.baseline:.4g} to {verdict.edited:.4g} ({times:.3g} times as much) on {verdict.n} lines; "
        f"at most {1 / verdict.floor:.3g} times is allowed"
    )


def _confidence(verdict: Verdict) -> str:
    """The bounds of the drop; of an inconclusive verdict also what this n can see, and how to see more."""
    if verdict.probe:
        return (
            f"The cost is above {verdict.lower:.3g} and below {verdict.upper:.3g} nats a token (each with "
            f"{_percent(1 - verdict.alpha)} confidence), allowed is {verdict.allowed:.3g}."
        )
    bounds = (
        f"{verdict.lost} items scored worse and {verdict.gained} better; the drop is above {verdict.lower:.3f} and "
        f"below {verdict.upper:.3f} ({_certainty(verdict)} confidence), allowed is "
        f"{verdict.allowed:.3f}."
    )
    if verdict.outcome is not Outcome.INCONCLUSIVE:
        return bounds
    visible = f"The smallest drop that {verdict.n} items show in four of five runs is {verdict.detectable:.3f}"
    if math.isinf(verdict.detectable):
        visible = f"At n = {verdict.n} no drop at all could be called a regression"
    more = f"about {verdict.enough} items would decide it (--limit {verdict.enough}, if the benchmark has them)"
    if verdict.enough is None:
        more = "the drop is so close to the allowed one that more items hardly help"
    return f"{bounds} {visible}; {more}. To let such cases through: --inconclusive=pass."


def _certainty(verdict: Verdict) -> str:
    lower, upper = (f"{100 * (1 - alpha):.4g}%" for alpha in (verdict.lower_alpha, verdict.alpha))
    return f"each with {upper}" if lower == upper else f"with {lower} and {upper}"


def _norms(norm_ratio: Mapping[str, float]) -> str:
    """The weights whose norm changed most: the usual cause of a collapse."""
    if not norm_ratio:
        return ""
    most = sorted(norm_ratio.items(), key=lambda pair: abs(math.log(max(pair[1], 1e-9))), reverse=True)
    named = ", ".join(f"{name} x {factor:.3g}" for name, factor in most[:MAX_NORMS])
    rest = f" and {len(most) - MAX_NORMS} more" if len(most) > MAX_NORMS else ""
    large = f" {GROWN_NORM}" if max(norm_ratio.values()) >= GROWN else ""
    return f"Norms of the edited weights against the unedited ones: {named}{rest}.{large}"


def _flip(before: Item, after: Item) -> str:
    texts = shorten_apart([before.expected, before.answer, after.answer], 30)
    expected, then, now = (repr(text) if text else "nothing" for text in texts)
    question = inert.terminal(shorten(before.question, WIDTH - 4))
    return f"    {question}\n        {inert.terminal(f'expected {expected}, before {then}, now {now}')}"


def _percent(share: float) -> str:
    """Whole percents, except where rounding would say all or nothing of what is neither."""
    return f"{share:.0%}" if 0.005 <= share <= 0.995 or share in {0, 1} else f"{share:.1%}"
