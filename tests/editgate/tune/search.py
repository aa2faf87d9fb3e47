"""The search: where to write, with the usual numbers; then numbers, at the best places; then the best on more edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from editgate.tune.space import Settings, Space
from editgate.tune.trials import Score, Trials

PLACES, FINALISTS = 3, 3  # that go on into the second and third round
FIRST, SECOND = 4, 8  # edits of a setting in the first and second round


@dataclass(frozen=True)
class Tried:
    """A setting and how good it was.

    Attributes:
        round: 1 to 3.
        settings: hyperparameters.
        score: over the edits of that round.
    """

    round: int
    settings: Settings
    score: Score


def search(trials: Trials, space: Space, places: Sequence[Settings], count: int) -> list[Tried]:
    """Return everything that was tried, the winner last.

    Args:
        trials: of one method on one model.
        space: what may be tried.
        places: the blocks to try, as hyperparameters.
        count: edits of the last round.

    Raises:
        EditorError: the method cannot apply an edit.
    """
    first = _round(1, trials, [{**place, **space.usual()} for place in places], min(FIRST, count))
    best = [{name: row.settings[name] for name in places[0]} for row in _best(first, PLACES)]
    wanted = [{**place, **numbers} for place in best for numbers in space.combinations()]
    second = _round(2, trials, wanted, min(SECOND, count))
    finalists = [row.settings for row in _best(second, FINALISTS)]
    third = _round(3, trials, finalists, count, with_perplexity=True)
    return [*first, *second, *reversed(_best(third, FINALISTS))]


def _round(
    number: int, trials: Trials, wanted: Sequence[Settings], count: int, *, with_perplexity: bool = False
) -> list[Tried]:
    with tqdm(total=len(wanted) * count, desc=f"round {number} of 3", unit="edit") as bar:
        tick: Callable[[], object] = bar.update
        return [
            Tried(number, settings, trials.score(settings, count, with_perplexity=with_perplexity, tick=tick))
            for settings in wanted
        ]


def _best(tried: Sequence[Tried], count: int) -> list[Tried]:
    """The best first; of equals what came first, which is nearer to what is usual."""
    return sorted(tried, key=lambda row: row.score.rank, reverse=True)[:count]
