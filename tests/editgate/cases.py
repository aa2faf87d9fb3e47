"""What one test of the gate is about: the only parameter that such a test has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from editgate.inputs.benchmarks import ALL, Benchmark
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.edit_quality import KINDS

EDIT_BUDGET = "edit budget"
CURVE = "curve"


@dataclass(frozen=True)
class Case:
    """One check of one editor on one model.

    Attributes:
        editor: the method, or a model that was changed elsewhere.
        model: the unedited model.
        check: a benchmark, a quality, a rule of integrity, `EDIT_BUDGET` or `CURVE`.
        edits: N; 0 where a check is not about one N.
        benchmarks: those that the run knows.
    """

    editor: EditorSpec
    model: ModelSource
    check: str
    edits: int = 0
    benchmarks: Mapping[str, Benchmark] = field(default_factory=lambda: ALL, repr=False, compare=False)

    @property
    def trajectory(self) -> str:
        """Such as `memit-llama-mini`, or `memit-b100-llama-mini` in batches of 100."""
        return f"{self.editor.label}-{self.model.name}"

    @property
    def id(self) -> str:
        """Such as `memit-llama-mini-n10`, `memit-llama-mini-edits_accumulate`, `memit-llama-mini`.

        Benchmarks that are not in the table share one test: `memit-llama-mini-arc_easy-n10`.
        """
        if self.edits:
            row = self.benchmarks.get(self.check)
            return "-".join([self.trajectory, *([row.name] if row and row.added else []), f"n{self.edits}"])
        return f"{self.trajectory}-{self.check}" if self.area == "integrity" else self.trajectory

    @property
    def area(self) -> str:
        """What a failure would mean: capability, safety, quality, budget, curve or integrity."""
        if self.check in self.benchmarks:
            return self.benchmarks[self.check].area
        return {EDIT_BUDGET: "budget", CURVE: "curve"}.get(
            self.check, "quality" if self.check in KINDS else "integrity"
        )


@dataclass(frozen=True)
class BaselineCase:
    """One benchmark of one unedited model."""

    model: ModelSource
    benchmark: str

    @property
    def id(self) -> str:
        """Such as `llama-mini-mmlu`."""
        return f"{self.model.name}-{self.benchmark}"


def trajectory_in(test: str, trajectories: Iterable[str]) -> str:
    """Return which of these trajectories the id of a test is about; empty if none.

    Args:
        test: such as `tests/…/test_mmlu.py::test_mmlu[memit-llama-mini-n10]`.
        trajectories: their names; of two that begin alike the longer one counts.
    """
    parameters = test.partition("[")[2]
    found = (name for name in trajectories if parameters.startswith((f"{name}-", f"{name}]")))
    return max(found, key=len, default="")
