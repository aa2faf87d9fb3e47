"""Benchmarks run on request only, and print what one edit, or one benchmark's prompts, took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from meta.speed.counting import Floor, Passes
from meta.speed.rigs import Rig, gpt2_small, llama_mini

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    model: str
    method: str
    seconds: float
    passes: Passes
    floor: Floor


@dataclass(frozen=True)
class InferenceLine:
    """One line of the table of backends; seconds for all prompts of one benchmark.

    Attributes:
        benchmark: its name.
        edits: how many were made before.
        prompts: how many, options counted one by one.
        hflm: lm-eval's HFLM.
        engine: the shared-prefix engine.
        drafted: the engine with drafts; None where nothing is generated.
        bare: the model alone, every token that differs once.
    """

    benchmark: str
    edits: int
    prompts: int
    hflm: float
    engine: float
    drafted: float | None
    bare: float


LINES = pytest.StashKey[list[Line]]()
INFERENCE = pytest.StashKey[list[InferenceLine]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the benchmarks of this folder unless only benchmarks are wanted (the plugin knows no such way).

    Those of inference run with `-k inference`.
    """
    if config.getoption("benchmark_only"):
        return
    timed = {"benchmark"} if "inference" in config.getoption("keyword") else {"benchmark", "report_inference"}
    here = (item for item in items if HERE in item.path.parents)
    out = {item for item in here if not timed.isdisjoint(getattr(item, "fixturenames", ()))}
    if out:
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]


@pytest.fixture
def told(request: pytest.FixtureRequest) -> list[Line]:
    """Lines of the table at the end of the run."""
    return request.config.stash.setdefault(LINES, [])


@pytest.fixture(scope="session")
def report_inference(request: pytest.FixtureRequest) -> Callable[[InferenceLine], None]:
    """Add a line to the table of backends at the end of the run."""
    return request.config.stash.setdefault(INFERENCE, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was timed, if anything was."""
    edits, backends = config.stash.get(LINES, []), config.stash.get(INFERENCE, [])
    tables = [_edit_table(edits)] * bool(edits) + [_inference_table(backends)] * bool(backends)
    for table in tables:
        console = Console(width=120, no_color=True)
        with console.capture() as capture:
            console.print(table)
        terminalreporter.write_line(capture.get())


def _inference_table(lines: list[InferenceLine]) -> Table:
    caption = "bare: the model alone, each token that differs once; ratio: HFLM over the fastest; at most: over bare"
    table = Table(title="all prompts of a benchmark, CPU seconds, one thread", caption=caption)
    table.add_column("benchmark")
    for name in ("edits", "prompts", "HFLM", "engine", "drafted", "bare", "ratio", "at most"):
        table.add_column(name, justify="right")
    for line in lines:
        seconds = [f"{number:.2f}" if number else "" for number in (line.hflm, line.engine, line.drafted, line.bare)]
        ratio = line.hflm / min(line.engine, line.drafted or line.engine)
        table.add_row(
            line.benchmark, str(line.edits), str(line.prompts), *seconds, f"{ratio:.1f}", f"{line.hflm / line.bare:.1f}"
        )
    return table


def _edit_table(lines: list[Line]) -> Table:
    caption = "passes of the edited model: whole-model equivalents; bare: seconds of these passes with nothing else"
    table = Table(title="one edit, one thread, the fastest of some", caption=caption)
    for name in ("model", "method"):
        table.add_column(name)
    for name in ("seconds", "forward", "backward", "tokens", "logits", "GFLOP", "GB read", "bare", "ratio"):
        table.add_column(name, justify="right")
    for line in lines:
        passes, floor = line.passes, line.floor
        numbers = [f"{passes.forward:.1f}", f"{passes.backward:.1f}", f"{passes.tokens:.0f}", str(passes.logits)]
        numbers += [f"{floor.gigaflops:.1f}", f"{floor.gigabytes:.2f}", f"{floor.seconds:.3f}"]
        numbers.append(f"{line.seconds / floor.seconds:.1f}" if floor.seconds else "")
        table.add_row(line.model, line.method, f"{line.seconds:.3f}", *numbers)
    return table


MODELS: dict[str, Callable[[], Rig]] = {"llama-mini": llama_mini, "gpt2-small": gpt2_small}


@pytest.fixture(scope="session", params=MODELS)
def rig(request: pytest.FixtureRequest) -> Rig:
    """A model and all that its editors are given."""
    return MODELS[request.param]()
