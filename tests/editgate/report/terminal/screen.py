"""The last screen of a run: the answer first, and at most 60 lines of it, for any number of methods.

In this order: the verdict and the exit code's reason, safety, one table, the worst failures, where the rest is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from editgate import inert
from editgate.report.conclusion import NEW, Conclusion, Result, Standing, standing
from editgate.report.overview import Overview, OverviewCell, overview
from editgate.report.presentation import HELD, sentence_of, worst_first
from editgate.report.safety import listed, safety_brief
from editgate.report.terminal.details import budgets_over_orders, details
from editgate.report.terminal.style import STYLES, rendered
from editgate.report.trajectory_summary import by_trajectory, short_names
from editgate.verdict.outcome import Cell

LINES = 54  # of 60: pytest adds a heading, its last line, and what was skipped
NARROWEST, WIDEST = 80, 110  # columns
MOST_ROWS = 24  # methods in the table; a person reads on in the report
MOST_CHANGES = 8
MOST_BUDGETS = 12
WORST = 3
SENTENCE = 3  # lines of each of the worst
COLORS = {Result.PASS: "bold green", Result.NOTHING_JUDGED: "bold yellow"}
HEADS = {"truthfulqa_mc2": "truthful qa_mc2", "truthfulqa": "truthful qa", "commonsenseqa": "common senseqa"}


@dataclass(frozen=True)
class LastScreen:
    """What is shown, and how.

    Attributes:
        cells: one per gate test.
        conclusion: how the run ended.
        changes: what changed since an earlier report.
        written: where the report is, or why it is not; empty if none was asked for.
        width: columns of the terminal.
        color: whether it shows colors.
        verbose: whether a table per method comes first.
    """

    cells: Sequence[Cell]
    conclusion: Conclusion
    changes: Sequence[str] = ()
    written: str = ""
    width: int = WIDEST
    color: bool = False
    verbose: bool = False

    @property
    def columns(self) -> int:
        """The columns that are used."""
        return min(max(self.width, NARROWEST), WIDEST)

    def lines(self) -> list[str]:
        """Return the lines: at most `LINES`, and with `verbose` a table per method before them."""
        every = [line for each in details(self.cells, self.columns, color=self.color) for line in self._fitted(each)]
        head = self._head()
        if len(by_trajectory(self.cells)) == 1 and every:
            alone = [*head, *every, *self._tail(ways=[])]
            if len(alone) <= LINES:
                return alone
        tail = self._tail(ways=["-v shows a table per method"] if every and not self.verbose else [])
        screen = self._fitting(head, tail)
        return [*every, *screen] if self.verbose else screen

    def _fitting(self, head: Sequence[str], tail: Sequence[str]) -> list[str]:
        """All of it, with as many methods in the table as fit; of a table in two parts each row takes two lines."""
        most = MOST_ROWS
        lines = [*head, *self._overview(most), *tail]
        while len(lines) > LINES and most > 1:
            most = max(1, most - max(1, (len(lines) - LINES) // 2))
            lines = [*head, *self._overview(most), *tail]
        return lines

    def _head(self) -> list[str]:
        """The verdict, why the exit code is what it is, and safety."""
        found = self.conclusion
        style = COLORS.get(found.result, "bold red")
        safety = safety_brief(self.cells)
        bad = any(cell.area == "safety" and standing(cell) in NEW for cell in self.cells)
        return [
            *self._wrapped(found.line, style),
            *self._wrapped(found.reason),
            *(self._wrapped(safety, "bold red" if bad else "") if safety else []),
        ]

    def _overview(self, most: int) -> list[str]:
        """The table with at most so many methods, and what budgets were found where they were searched for."""
        table = overview(self.cells)
        budgets = budgets_over_orders(self.cells)
        lines = [line for budget in budgets[:MOST_BUDGETS] for line in self._wrapped(budget, most=2)]
        lines += [f"and {len(budgets) - MOST_BUDGETS} more"] if len(budgets) > MOST_BUDGETS else []
        if table is None:
            return lines
        left_out = len(table.rows) - most
        more = [f"and {left_out} more, all in the report (--report=DIR) or with -v"] if left_out > 0 else []
        legend = "; ".join([table.caption, *table.marks, "– not asked"])
        return ["", *self._grid(table, most), *more, *self._wrapped(legend), "", *lines]

    def _grid(self, table: Overview, most: int) -> list[str]:
        """The table; where the terminal is too narrow for it, in two parts, one below the other."""
        total = len(table.counts) > 1
        whole = self._part(table, most, range(len(table.checks)), total=total)
        if max(map(len, map(plain, whole))) <= self.columns:
            return whole
        qualities = [i for i, check in enumerate(table.checks) if check in {"efficacy", "paraphrase", "locality"}]
        others = [i for i in range(len(table.checks)) if i not in qualities]
        parts = [self._part(table, most, others, total=False), self._part(table, most, qualities, total=total)]
        return [line for part in parts for line in ([""] if part is not parts[0] else []) + part]

    def _part(self, table: Overview, most: int, columns: Collection[int], *, total: bool) -> list[str]:
        shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=0)
        shown.add_column("", no_wrap=True)
        for index in columns:
            shown.add_column("\n".join(HEADS.get(table.checks[index], table.checks[index]).split()), justify="right")
        if total:
            shown.add_column("all", justify="right")
        for row in table.rows[:most]:
            cells = [row.cells[index] for index in columns] + ([row.total] if total else [])
            shown.add_row(Text(inert.terminal(row.name, 24)), *map(_marked, cells))
        return rendered(shown, 10**3, color=self.color)

    def _tail(self, ways: Sequence[str]) -> list[str]:
        """The worst failures, what else a reader may wonder about, and where the rest is."""
        lines: list[str] = []
        worst = worst_first(self.cells, WORST)
        for cell in worst:
            word = "known " if standing(cell) is Standing.KNOWN else ""
            lines += self._wrapped(f"{word}{sentence_of(cell)}", most=SENTENCE)
        of_each = {what: [cell for cell in self.cells if standing(cell) is what] for what in Standing}
        if held := of_each[Standing.HELD]:
            names = short_names(by_trajectory(self.cells))
            counts = [f"{names[name]} {len(found)}" for name, found in by_trajectory(held).items()]
            alone = [f"{cell.check} at {cell.edits}" for cell in held]
            which = listed(counts if len(names) > 1 else alone)
            lines += self._wrapped(f"{HELD}: {which}")
        lines += [line for change in self.changes[:MOST_CHANGES] for line in self._wrapped(change, most=1)]
        if len(self.changes) > MOST_CHANGES:
            lines.append(f"and {len(self.changes) - MOST_CHANGES} more changes, all in the report")
        doubt = {Standing.ALLOWED, Standing.UNDECIDED} & set(self.conclusion.counts)
        more = "more items decide more (a larger --limit, or none); python -m editgate.power says which drops they show"
        hints = [more] if doubt else []
        where = [inert.terminal(self.written)] if self.written else []  # whole, so that it can be copied
        rest = "; ".join([*([] if self.written else ["--report=DIR writes everything"]), *ways, *hints])
        return [*lines, *self._wrapped(rest), *where]

    def _wrapped(self, text: str, style: str = "", most: int = 4) -> list[str]:
        lines = textwrap.wrap(
            inert.terminal(text, 4 * self.columns),
            self.columns,
            subsequent_indent="  ",
            max_lines=most,
            placeholder=" …",
            break_on_hyphens=False,
        )
        return [line for each in lines for line in rendered(Text(each, style=style), 10**3, color=self.color)]

    def _fitted(self, line: str) -> Iterable[str]:
        """A line of a table as it is, a sentence wrapped."""
        return self._wrapped(line) if ": " in line and "\x1b" not in line else [line]


def plain(line: str) -> str:
    """Return a line without colors."""
    return Text.from_ansi(line).plain


def _marked(cell: OverviewCell) -> Text:
    return Text(f"{cell.value} {cell.mark or ' '}", style=STYLES.get(cell.mark, ""))
