"""A report as data frames: `editgate.load_report("report/")`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editgate.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from editgate.report.run_report import RunReport

CELL_COLUMNS = (
    "trajectory", "check", "area", "edits", "value", "low", "high", "floor", "outcome", "standing", "before", "after",
    "chance", "items", "flipped", "collapse", "known_failure", "unexpected_pass", "fails", "perplexity",
    "perplexity_before", "routed", "external", "batch_size",
    "test",
)  # fmt: skip


@dataclass(frozen=True)
class LoadedReport:
    """A report that was written with `--report`.

    Attributes:
        report: everything in `report.json`, validated.
        folder: where it was read from; `items` are read from there too.
    """

    report: RunReport
    folder: Path

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per verdict and rule; `value` is retention, or the share for a quality; `standing` is to the gate."""
        from editgate.report.conclusion import standing  # noqa: PLC0415 - see `load_report`

        rows = [{**asdict(cell), "standing": standing(cell).value} for cell in self.report.cells]
        frame = _frame([{name: row[name] for name in CELL_COLUMNS} for row in rows], CELL_COLUMNS)
        return frame.astype({"outcome": str}) if rows else frame

    @cached_property
    def budgets(self) -> pd.DataFrame:
        """One row per trajectory: the edit budget and what ends it."""
        columns = ("trajectory", "budget", "failed_at", "ended_by", "headline")
        rows = [summary.model_dump(include=set(columns)) for summary in self.report.budgets]
        return _frame(rows, columns).astype({"failed_at": "Int64"})

    @cached_property
    def norms(self) -> pd.DataFrame:
        """One row per trajectory, N and weight that moved most: `norm_ratio` is norm after / norm before."""
        found = {
            (cell.trajectory, cell.edits, name): ratio
            for cell in self.report.cells
            for name, ratio in cell.norm_ratio.items()
        }
        columns = ("trajectory", "edits", "weight", "norm_ratio")
        return _frame([dict(zip(columns, (*key, ratio), strict=True)) for key, ratio in found.items()], columns)

    @cached_property
    def items(self) -> pd.DataFrame:
        """One row per item that got worse, from the `items.jsonl` beside the report.

        Raises:
            ConfigError: the file is missing, or a line of it is not an item of this version.
        """
        from editgate.report.data.items import FlippedItem, read_items  # noqa: PLC0415 - see `load_report`

        rows = [item.model_dump(mode="json") for item in read_items(self.folder / "items.jsonl")]
        return _frame(rows, tuple(FlippedItem.model_fields))


def load_report(path: str | Path) -> LoadedReport:
    """Return the report in a folder, or the one that a `report.json` is, as pandas data frames.

    Args:
        path: the folder of `--report`, or the `report.json` in it.

    Raises:
        ConfigError: there is no report, it is damaged, it is of another version, or pandas is missing.
    """
    from editgate.report.run_report import read_report  # noqa: PLC0415 - `import editgate` must not wait for it

    try:
        import pandas as pd  # noqa: F401, PLC0415 - only for whoever asks for frames
    except ImportError:
        raise ConfigError("load_report needs pandas, which is not installed: pip install pandas") from None
    given = Path(path)
    file = given / "report.json" if given.is_dir() else given
    return LoadedReport(read_report(file), file.parent)


def _frame(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - see `load_report`

    return pd.DataFrame(rows, columns=list(columns))
