"""Benchmarks run if asked for (`--benchmark-only`), and say in a table what one edit took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from meta.speed.counting import Passes
from meta.speed.rigs import Rig, gpt2_small, llama_mini

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    model: str
    method: str
    seconds: float
    passes: Passes


LINES = pytest.StashKey[list[Line]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the benchmarks of this folder unless only benchmarks are wanted (the plugin knows no such way)."""
    if config.getoption("benchmark_only"):
        return
    out = {item for item in items if HERE in item.path.parents and "benchmark" in getattr(item, "fixturenames", ())}
    if out:
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]


@pytest.fixture
def told(request: pytest.FixtureRequest) -> list[Line]:
    """Lines of the table at the end of the run."""
    return request.config.stash.setdefault(LINES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print seconds and passes of one edit, a line for each method and model."""
    lines = config.stash.get(LINES, [])
    if not lines:
        return
    table = Table(title="one edit, one thread", caption="passes of the edited model: whole-model equivalents")
    for name in ("model", "method"):
        table.add_column(name)
    for name in ("median seconds", "forward", "backward", "tokens forward"):
        table.add_column(name, justify="right")
    for line in lines:
        passes = line.passes
        numbers = (f"{passes.forward:.1f}", f"{passes.backward:.1f}", f"{passes.tokens:.0f}")
        table.add_row(line.model, line.method, f"{line.seconds:.3f}", *numbers)
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(table)
    terminalreporter.write_line(capture.get())


MODELS: dict[str, Callable[[], Rig]] = {"llama-mini": llama_mini, "gpt2-small": gpt2_small}


@pytest.fixture(scope="session", params=MODELS)
def rig(request: pytest.FixtureRequest) -> Rig:
    """A model and all that its editors are given."""
    return MODELS[request.param]()
