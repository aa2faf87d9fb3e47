"""Which method is best on a model: one table of what each keeps and costs after N edits, one at a time and all at once.

    python -m editgate.methods_table --into=docs/methods.md
    python -m editgate.methods_table rome memit grace --edit-counts=10 --batch-sizes=1,5

Everything but the seconds is the gate's own measurement and comes from the store where it lies there. The seconds are
measured by every run, on a new editor: compare them within one table. Methods are ordered by their weakest number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import editors
from editgate.cases import Case
from editgate.errors import ConfigError, EvaluationError
from editgate.inputs.editor_specs import EditorSpec
from editgate.inputs.models import ModelSource
from editgate.measure.edit_quality import KINDS
from editgate.measure.session import EvaluationSession
from editgate.measure.threads import single_threaded
from editgate.measure.trajectory import Trajectory
from editgate.options.options import Options, add_to
from editgate.options.profiles import MODEL
from editgate.options.programs import Parser
from editgate.options.settings import Settings, read
from editgate.verdict.cell import checks_at, evaluate_cell
from editors import EditorError

COUNT = "100"
TIMED = 10  # edits at least that the seconds are a mean over, if there are so many
BEGIN, END = "<!-- methods table: begin -->", "<!-- methods table: end -->"
HEAD = (
    "editor", "B", *KINDS, "retention, mean", "worst benchmark", "seconds an edit", "kept",
)  # fmt: skip
UNITS = ("B", "kB", "MB", "GB")
NOT_TAKEN = (
    "--editor --editor-arg --edited --edit-order --batch-size --budget --min-budget --report --compare"
).split()


@dataclass(frozen=True)
class Row:
    """What one method reached.

    Attributes:
        editor: its name.
        batch_size: edits applied at once.
        qualities: shares of efficacy, paraphrase and locality that the edits have prompts for.
        retention: by benchmark.
        seconds: an edit took, what is prepared before the first one left out.
        size: bytes that differ from the unedited model or are kept beside it.
    """

    editor: str
    batch_size: int
    qualities: dict[str, float]
    retention: dict[str, float]
    seconds: float
    size: int

    @property
    def worst(self) -> str:
        """The benchmark that kept least."""
        return min(self.retention, key=self.retention.__getitem__)

    @property
    def weakest(self) -> float:
        """The least of all qualities and retentions."""
        return min(*self.qualities.values(), *self.retention.values())

    def cells(self) -> list[str]:
        """As the table shows it."""
        mean = sum(self.retention.values()) / len(self.retention)
        return [
            f"`{self.editor}`",
            str(self.batch_size),
            *(f"{self.qualities[kind]:.2f}" if kind in self.qualities else "–" for kind in KINDS),
            f"{mean:.2f}",
            f"{self.retention[self.worst]:.2f} ({self.worst})",
            f"{self.seconds:.2g}",
            readable(self.size),
        ]


@dataclass(frozen=True)
class Failed:
    """A method without numbers, and why."""

    editor: str
    batch_size: int
    reason: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, show the table and write it into a page."""
    parser = _parser()
    given = parser.parse_args(arguments)
    with parser.ending_in_a_sentence():
        page = None if given.into is None else Page.read(given.into)
        options = Options.of_command_line(given)
        options = options.model_copy(update={"edit_counts": options.edit_counts or COUNT})
        runs = plan(options, given.methods, given.batch_sizes)
        rows = list(measure_all(runs))
    sizes = [f"--batch-sizes={given.batch_sizes}"] if given.batch_sizes else []
    command = " ".join(["python -m editgate.methods_table", *given.methods, *options.repeated(), *sizes])
    table = render(rows, command, runs[0])
    sys.stdout.write(table)
    if page is not None:
        page.write(table)
    if any(isinstance(row, Failed) for row in rows):
        sys.exit(1)


def _parser() -> Parser:
    parser = Parser(
        "editgate.methods_table",
        "Compare methods on one model: quality, retention, time and size after N edits.",
        not_taken=NOT_TAKEN,
    )
    parser.add_argument("methods", nargs="*", help="default: all built-in ones that suit the edits")
    parser.add_argument("--batch-sizes", metavar="B,B,…", help="edits applied at once. Default: 1 and all N of them")
    parser.add_argument("--into", type=Path, metavar="FILE", help=f"a page with {BEGIN} and {END}, for the table")
    add_to(parser)
    return parser


def plan(options: Options, methods: Sequence[str], batch_sizes: str | None) -> list[Settings]:
    """Return the settings of each size of batches, with the methods that take such.

    Raises:
        ConfigError: something is wrong, or there are several Ns; no batch is as large as a size.
    """
    first = read(options.model_copy(update={"editor": tuple(methods)}), Path(".editgate"), model_names=(MODEL,))
    if len(first.counts) != 1:
        raise ConfigError(f"--edit-counts {options.edit_counts}: the table is of one N. Allowed: one number.")
    (count,) = first.counts
    (source,) = (model for model in first.models if model.name in first.chosen_models)
    if not first.benchmarks_of(source):
        raise ConfigError(
            f"{source.name} is asked no benchmark, so there is no retention. Allowed: other --benchmarks."
        )
    found = []
    for size in _sizes(batch_sizes, count):
        able = [name for name in methods if size == 1 or editors.takes_batches(name)]
        if methods and not able:
            raise ConfigError(f"--batch-sizes {size}: {', '.join(methods)} take one edit at a time. Allowed: 1.")
        changes = {"editor": tuple(able), "batch_size": size}
        found.append(read(options.model_copy(update=changes), Path(".editgate"), model_names=(MODEL,)))
    return found


def _sizes(text: str | None, count: int) -> list[int]:
    if text is None:
        return sorted({1, count})
    sizes = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if any(not 1 <= size <= count for size in sizes) or len({*sizes}) < len(sizes):
        raise ConfigError(f"--batch-sizes {text}; allowed: different numbers from 1 to N = {count}.")
    return sizes


def measure_all(runs: Sequence[Settings]) -> Iterator[Row | Failed]:
    """Measure every method at every size of batches that it takes."""
    for settings in runs:
        session = EvaluationSession(settings, lambda text: print(text, file=sys.stderr))
        (source,) = (model for model in settings.models if model.name in settings.chosen_models)
        wanted = settings.chosen_editors or {spec.name for spec in settings.editors}
        for spec in settings.editors:
            if spec.name in wanted and settings.suits(spec, source):
                try:
                    yield measure(session, spec, source)
                except (EditorError, EvaluationError) as error:
                    yield Failed(spec.name, spec.batch_size, f"{type(error).__name__}: {error}")


def measure(session: EvaluationSession, spec: EditorSpec, source: ModelSource) -> Row:
    """Measure one method at the one N of the settings.

    Raises:
        EvaluationError: there is no verdict.
        EditorError: the method cannot apply an edit.
    """
    (count,) = session.settings.counts
    case = Case(spec, source, "", benchmarks=session.settings.benchmarks)
    cells = [evaluate_cell(session, at) for at in checks_at(session, case)]
    values = {cell.check: cell.value for cell in cells if cell.value is not None}
    run = session.trajectory(spec, source)
    assert isinstance(run, Trajectory)  # no editor here is a model that was changed elsewhere
    return Row(
        spec.name,
        spec.batch_size,
        {kind: values[kind] for kind in KINDS if kind in values},
        {check: value for check, value in values.items() if check not in KINDS},
        seconds_an_edit(run, count),
        sum(tensor.nbytes for tensor in run.editor_at(count).state().values()),
    )


def seconds_an_edit(run: Trajectory, count: int) -> float:
    """Return the mean over the first edits, whole batches of them, of a new editor that is prepared."""
    size = run.spec.batch_size
    timed = min(count, -(-TIMED // size) * size)
    editor = run.fresh_editor()
    editor.prepare()
    with single_threaded(run.base):
        begun = perf_counter()
        for batch in run.batches(timed):
            editor.apply_many(batch)
        return (perf_counter() - begun) / timed


def render(rows: Sequence[Row | Failed], command: str, settings: Settings) -> str:
    """Return the table in Markdown, the method with the best weakest number first, and what could not be measured."""
    (count,), (model,) = settings.counts, settings.chosen_models
    measured = sorted((row for row in rows if isinstance(row, Row)), key=lambda row: (-row.weakest, row.editor))
    lines = [f"`{command}`: {model} after {count} edits of {settings.edits_name}.", ""]
    lines += [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(row.cells())} |" for row in measured]
    failed = [row for row in rows if isinstance(row, Failed)]
    lines += ["", *(f"- `{row.editor}` at B = {row.batch_size} has no numbers. {row.reason}" for row in failed)]
    return "\n".join(lines).rstrip() + "\n"


def readable(size: int) -> str:
    """Return bytes in a unit that leaves few digits."""
    value, units = float(size), iter(UNITS)
    unit = next(units)
    while value >= 1000 and unit != UNITS[-1]:
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}"


@dataclass(frozen=True)
class Page:
    """A page with a place for a table, or for several.

    Attributes:
        file: where it lies.
        before, after: what stands around the table, the marks included.
    """

    file: Path
    before: str
    after: str

    @classmethod
    def read(cls, file: Path, begin: str = BEGIN, end: str = END) -> Page:
        """Read the page; `begin` and `end` are the marks.

        Raises:
            ConfigError: it cannot be read, or does not have both marks once, in order.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--into {file}: {error}. Allowed: a page in UTF-8.") from error
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended) or begin in rest or end in before + after:
            raise ConfigError(f"--into {file}: it needs the lines {begin} and {end}, once each, in this order.")
        return cls(file, before + begin, end + after)

    def write(self, table: str) -> None:
        """Put the table between the marks."""
        self.file.write_text(f"{self.before}\n\n{table}\n{self.after}", encoding="utf-8")


if __name__ == "__main__":
    main()
