"""How far an estimate is off: `python -m meta.estimate.compare METHOD '{"edit_counts": "1,10", "limit": 100}' STORE`.

All times are seconds of processor time, so that a busy machine does not count. The store must be empty; the second
argument are the options of the gate, as `check_editor` takes them.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path

from editgate.cases import Case
from editgate.errors import EvaluationError
from editgate.estimate import speed, total
from editgate.estimate.work import left
from editgate.measure.integrity import rules_of
from editgate.measure.session import EvaluationSession
from editgate.measure.trajectory import Trajectory
from editgate.options.options import Options
from editgate.options.settings import read
from editgate.verdict.cell import checks_at, evaluate_cell


def main() -> None:
    """Estimate one method on one model, run all that the gate asks of it, and print both by part."""
    method, given, store = sys.argv[1:]
    chosen = read(Options.of(json.loads(given)), Path(store))
    session = EvaluationSession(chosen, lambda _: None)
    spec = next(editor for editor in chosen.editors if editor.name == method)
    model = next(model for model in chosen.models if model.name in chosen.chosen_models)
    rules = [Case(spec, model, rule) for rule in rules_of(spec)]
    cases = [*rules, *checks_at(session, Case(spec, model, "", benchmarks=chosen.benchmarks))]
    speed.time.perf_counter = time.process_time  # type: ignore[attr-defined]  # the one clock of the estimate
    found = total.estimate(left(session, cases))
    took: dict[str, float] = defaultdict(float)
    run = session.trajectory(spec, model)
    began = time.process_time()
    if found.matrices and isinstance(run, Trajectory):
        run.setup.supply()
    took["covariances"] = time.process_time() - began
    for case in cases:
        began = time.process_time()
        try:
            evaluate_cell(session, case)
        except EvaluationError as error:
            print(f"{case.id}: {error}")
        took["questions" if case.area in {"capability", "safety"} else "edits"] += time.process_time() - began
    for part in ("covariances", "edits", "questions"):
        print(f"{part}: estimated {getattr(found, part):.1f}, took {took[part]:.1f}")
    print(f"all: estimated {found.seconds():.1f}, took {sum(took.values()):.1f}")


if __name__ == "__main__":
    main()
