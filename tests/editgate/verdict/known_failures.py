"""Measures what a method is known to fail and writes it down: `python -m editgate.verdict.known_failures memit`.

The same edits are applied in several orders, each a trajectory of its own. What every order fails from some N on
becomes a strict expected failure, what only some fail one that is not strict. Reasons are a person's to write: those in
the file are kept, new limits get `--reason`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from editgate.measure.edit_quality import KINDS
from editgate.measure.session import EvaluationSession
from editgate.options import profiles, settings
from editgate.options.profiles import Profile
from editgate.options.settings import Settings
from editgate.verdict.bisection import budget
from editgate.verdict.judging import Measured, measured
from editgate.verdict.thresholds import SHIPPED

ORDERS = 3
HEAD = """\
# Known limits of {name}, measured with {orders} {word} of the edits: {command}
# Edit budget, the largest N up to which everything holds, by order: {budgets}
"""


Curve = dict[int, list[Measured]]  # by N, one entry an order


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write `thresholds/[<model>/]<editor>.toml`."""
    parser = argparse.ArgumentParser(description="Measure an editor's known limits over several orders of the edits.")
    parser.add_argument("editor")
    parser.add_argument("--model", default=profiles.MODEL)
    parser.add_argument("--profile", choices=profiles.PROFILES, default="default", help="whose N and items are asked")
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--reason", default="not yet explained")
    parser.add_argument("--store", type=Path, default=Path(".editgate"))
    given = parser.parse_args(arguments)
    asked = partial(_settings, given.editor, given.model, profiles.find(given.profile), store=given.store)
    curves = measure([asked(order=order) for order in range(given.orders)])
    file = file_of(given.editor, given.model)
    chosen = asked(order=0)
    reasons = {
        limit.benchmark: limit.reason
        for source in chosen.policy.sources
        if source.editor == given.editor
        for limit in source.contents.known_failure
        if limit.model == given.model
    }
    command = " ".join(
        ["python -m editgate.verdict.known_failures", *(sys.argv[1:] if arguments is None else arguments)]
    )
    text = render(command, given.model, curves, reasons, new=given.reason)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def file_of(editor: str, model: str) -> Path:
    """Return where the limits of an editor on a model stand: those of all but the default model in folders."""
    folder = SHIPPED
    return (folder if model == profiles.MODEL else folder / model) / f"{editor}.toml"


def measure(orders: Sequence[Settings]) -> dict[str, Curve]:
    """Return every benchmark's and quality's cells, by name, by N, one an order; settings have one editor and model."""
    curves: dict[str, Curve] = defaultdict(lambda: defaultdict(list))
    for chosen in orders:
        session = EvaluationSession(
            chosen, lambda text, order=chosen.order: print(f"order {order}: {text}", file=sys.stderr)
        )  # type: ignore[misc]
        (spec,) = (spec for spec in chosen.editors if spec.name in chosen.chosen_editors)
        (source,) = (source for source in chosen.models if source.name in chosen.chosen_models)
        for count, name, cell in measured(session, session.trajectory(spec, source)):
            curves[name][count].append(cell)
    return curves


def _settings(editor: str, model: str, profile: Profile, *, order: int, store: Path) -> Settings:
    return settings.read(
        model=(model,),
        editor=[editor],
        edits=profile.edits,
        edit_counts=profile.edit_counts,
        edit_order=order,
        limit=profile.limit,
        device="cpu",
        dtype="float32",
        store=store,
        inconclusive=profile.inconclusive,
        thresholds=SHIPPED,
    )


def bounds(curve: Curve) -> tuple[int | None, int | None]:
    """Return (the least N that some order fails, the least N from which on all do)."""
    counts = sorted(curve)
    some = next((n for n in counts if not all(cell.held for cell in curve[n])), None)
    every = None
    for n in reversed(counts):
        if len(curve[n]) == 1:
            break  # one order cannot say what any order would do
        if any(cell.held for cell in curve[n]):
            break
        every = n
    return some, every


def render(command: str, model: str, curves: dict[str, Curve], reasons: dict[str, str], *, new: str) -> str:
    """Return the file's text; a comment alone if nothing fails. `reasons` by benchmark, `new` where there is none."""
    orders = max((len(cells) for curve in curves.values() for cells in curve.values()), default=0)
    entries = [
        _entry(model, name, curve, reasons.get(name, new))
        for name, curve in sorted(curves.items())
        if bounds(curve)[0] is not None
    ]
    none = f"# Everything held on {model} at N = {', '.join(map(str, sorted(next(iter(curves.values())))))}.\n"
    budgets = ", ".join(str(_budget(curves, order)) for order in range(orders))
    word = "order" if orders == 1 else "orders"
    return "\n".join(
        [
            HEAD.format(name=command.split()[3], orders=orders, word=word, command=command, budgets=budgets),
            *(entries or [none]),
        ]
    )


def _budget(curves: dict[str, Curve], order: int) -> int:
    counts = next(iter(curves.values()))
    return budget({n: all(curve[n][order].held for curve in curves.values()) for n in counts})


def _entry(model: str, name: str, curve: Curve, reason: str) -> str:
    some, every = bounds(curve)
    lines = ["[[known_failure]]", f"model = {json.dumps(model)}", f"benchmark = {json.dumps(name)}"]
    if every is not None:
        lines.append(f"from_edits = {every}")
    if some is not None and some != every:
        lines.append(f"sometimes_from = {some}")
    word = "share" if name in KINDS else "retention"
    shown = ", ".join(f"{_range(curve[n])} at {n}" for n in sorted(curve) if some is not None and n >= some)
    lines += [f"reason = {json.dumps(reason, ensure_ascii=False)}", f'evidence = "{word} {shown}"']
    return "\n".join(lines) + "\n"


def _range(cells: Sequence[Measured]) -> str:
    """Return `0.41 to 0.63 (2 of 3 hold)`."""
    low, high = min(cell.value for cell in cells), max(cell.value for cell in cells)
    span = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    held = sum(cell.held for cell in cells)
    return span if held == 0 else f"{span} ({held} of {len(cells)} hold)"


if __name__ == "__main__":
    main()
