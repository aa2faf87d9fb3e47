"""What several orders of the edits failed: the record of it, the file that it is written to, and what tests expect."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from editgate import known_failures
from editgate.inputs import benchmarks
from editgate.inputs.benchmarks import ALL
from editgate.inputs.edit_lists import ordered
from editgate.known_failures import measure, render, summarize
from editgate.measure.edit_quality import KINDS
from editgate.verdict.outcome import Cell, Outcome
from editgate.verdict.threshold_files import read_file
from editgate.verdict.threshold_schema import KnownFailures, Measurement, Names
from editors import Edit
from meta.support.gate import ROOT
from meta.support.settings_factory import miniature, settings

if TYPE_CHECKING:
    from editgate.cases import Case
    from editgate.measure.session import EvaluationSession

NAMES = Names(("memit", "mine", "rome"), tuple(ALL), ("llama-mini",))
many = hypothesis_settings(max_examples=60, deadline=None)
CHECKS = ("mmlu", "efficacy")
COUNTS = (1, 2, 5, 7)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda text: f"because {text} it drifts")


@st.composite
def records(draw: st.DrawFn) -> KnownFailures:
    """Anything that a measurement at some Ns in some orders can lead to."""
    counts = sorted(draw(st.sets(st.sampled_from(COUNTS), min_size=1)))
    orders = draw(st.integers(1, 3))
    failed = st.lists(st.integers(0, orders), min_size=len(counts), max_size=len(counts))
    fails = {}
    for check in CHECKS:
        rows = dict(zip(counts, draw(failed), strict=True))
        if any(rows.values()):
            ends = draw(st.sampled_from([[0.5], [-0.86, 0.07]]))
            fails[check] = {n: Measurement(values=ends, failed=row) for n, row in rows.items() if row or n % 2}
    return KnownFailures(
        model="llama-mini",
        reason=draw(texts) if fails else None,
        batch_size=draw(st.sampled_from([1, 10])),
        measured_at=counts,
        orders=orders,
        edit_budget=draw(st.none() | st.just([counts[0]] * orders)),
        fails=fails,
    )


@many
@given(record=records(), edits=st.integers(1, 9))
def test_strict_needs_several_orders_that_all_failed_here_and_beyond(record: KnownFailures, edits: int) -> None:
    """Whatever was measured, a failure is certain only at an N that was tried, if every larger one failed as well."""
    for check in CHECKS:
        rows = record.fails.get(check, {})
        beyond = [rows[n].failed if n in rows else 0 for n in record.measured_at if n >= edits]
        certain = edits in record.measured_at and record.orders >= 2 and {*beyond} == {record.orders}
        assert record.always(check, edits) == certain
        assert not certain or record.covers(check, edits)


@many
@given(record=records(), edits=st.integers(1, 9))
def test_a_failure_is_expected_from_the_first_on_and_just_before_it(record: KnownFailures, edits: int) -> None:
    """It is not expected at an N that every order passed before the first failure, or below such an N."""
    for check in CHECKS:
        failed = [n for n, row in record.fails.get(check, {}).items() if row.failed]
        passed = [n for n in record.measured_at if failed and n < min(failed)]
        assert record.covers(check, edits) == (bool(failed) and not any(edits <= n for n in passed))


@many
@given(record=records())
def test_what_is_written_is_read_back(record: KnownFailures, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The file of a folder and the file of one's own are valid and say what was measured, character by character."""
    folder = tmp_path_factory.mktemp("thresholds")
    for name, folder_of, named in (
        ("rome", "llama-mini", {}),
        ("mine_too", "", {"editor": "mine", "model": "llama-mini"}),
    ):
        path = folder / f"{name}.toml"
        path.write_text(render(record, "command", **named), encoding="utf-8")
        file = read_file(path, path.name, NAMES, folder_of)
        assert file.contents.known_failures == [record]
        assert file.editor == named.get("editor", name)


def cells(order: dict[str, str]) -> list[Cell]:
    """One order's cells from, by check, one sign for each of N = 1, 5 and 10: + passes, - fails."""
    outcomes = {"+": Outcome.PASS, "-": Outcome.REGRESSION}
    return [
        Cell("rome-llama-mini", check, edits, 0.5, outcomes[sign], "capability", fails=sign == "-")
        for check, signs in order.items()
        for edits, sign in zip((1, 5, 10), signs, strict=True)
    ]


def test_a_record_counts_the_orders_that_failed() -> None:
    """From the first N on that some order failed it has every N, with the values; what never failed is left out."""
    orders = [cells({"mmlu": "+--", "gsm8k": "+++"}), cells({"mmlu": "++-", "gsm8k": "+++"})]
    record = summarize("llama-mini", orders, "why")
    five, ten = Measurement(values=[0.5], failed=1), Measurement(values=[0.5], failed=2)
    assert (record.measured_at, record.orders, record.reason) == ([1, 5, 10], 2, "why")
    assert record.fails == {"mmlu": {5: five, 10: ten}}


def test_the_budget_of_an_order_ends_before_its_first_failure() -> None:
    """By order; any benchmark that fails ends it, and a later pass does not count."""
    orders = [{"mmlu": "+++", "bbh": "++-"}, {"mmlu": "+-+", "bbh": "+++"}, {"mmlu": "+++", "bbh": "-++"}]
    assert summarize("llama-mini", [cells(order) for order in orders], "why").edit_budget == [5, 1, 0]


def test_a_method_that_fails_nothing_has_a_file_too() -> None:
    """It says what was measured, and that all of it passed."""
    text = render(summarize("llama-mini", [cells({"mmlu": "+++"})], "unused"), "python -m editgate.known_failures rome")
    assert tomllib.loads(text) == {
        "known_failures": {"measured_at": [1, 5, 10], "orders": 1, "edit_budget": [10], "fails": {}}
    }
    assert "everything passed" in text


def test_every_benchmark_and_quality_is_measured_at_every_n_in_every_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is skipped, because no edit has the prompts for it, is left out."""
    asked = []

    def evaluate(_: object, case: Case, *, order: int) -> Cell:
        asked.append((order, case.edits, case.check))
        outcome = Outcome.SKIPPED if case.check == "locality" else Outcome.PASS
        return Cell("rome-llama-mini", case.check, case.edits, 1.0, outcome, case.area)

    monkeypatch.setattr(known_failures, "evaluate_cell", evaluate)
    chosen = settings(tmp_path, edit_counts="1,5", editor="rome")
    session = cast("EvaluationSession", SimpleNamespace(settings=chosen, announce=lambda _: None))
    editor = next(spec for spec in chosen.editors if spec.name == "rome")
    found = measure(session, editor, miniature(chosen), 2)
    checks = (*benchmarks.BENCHMARKS, *KINDS)
    assert sorted(asked) == sorted((order, edits, check) for order in (0, 1) for edits in (1, 5) for check in checks)
    assert [{cell.check for cell in order} for order in found] == [{*checks} - {"locality"}] * 2


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, where a measurement takes no time: one order of three fails mmlu at N = 10."""
    monkeypatch.chdir(tmp_path)
    found = [cells({"mmlu": "++-"}), cells({"mmlu": "+++"}), cells({"mmlu": "+++"})]
    monkeypatch.setattr(known_failures, "measure", lambda *_: found)
    return tmp_path


def test_a_reason_in_the_file_stays(measured: Path) -> None:
    """Measuring again keeps what a person wrote, unless --reason says something else; a new file has none yet."""
    file = measured / "known_failures.toml"
    for arguments, reason in (
        ([], "not yet explained"),
        (["--reason=it drifts"], "it drifts"),
        ([], "it drifts"),
    ):
        known_failures.main(["editgate.controls:NoOp", *arguments])
        assert tomllib.loads(file.read_text())["known_failures"]["reason"] == reason
    record = tomllib.loads(file.read_text())
    assert (record["editor"], record["known_failures"]["model"]) == ("noop", "llama-mini")
    assert file.read_text().startswith("# python -m editgate.known_failures editgate.controls:NoOp\n")


def test_a_checkout_keeps_the_records_of_its_methods(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A built-in method's record goes to the model's folder, which says the model; somebody else's does not."""
    monkeypatch.setattr(known_failures, "SHIPPED", measured / "thresholds")
    known_failures.main(["rome", "--model=gpt2-mini", "--profile=nightly"])
    text = (measured / "thresholds" / "gpt2-mini" / "rome.toml").read_text()
    assert "model =" not in text
    assert text.startswith("# python -m editgate.known_failures rome --profile=nightly --model=gpt2-mini\n")
    known_failures.main(["editgate.controls:NoOp"])
    assert sorted(path.name for path in measured.rglob("*.toml")) == ["known_failures.toml", "rome.toml"]


def test_a_record_of_batches_lies_beside_that_of_single_edits(
    measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a file of its own, which says the method and the size; neither may be written over the other."""
    monkeypatch.setattr(known_failures, "SHIPPED", measured / "thresholds")
    folder = measured / "thresholds" / "llama-mini"
    known_failures.main(["memit"])
    known_failures.main(["memit", "--batch-size=10"])
    assert sorted(path.name for path in folder.iterdir()) == ["memit-b10.toml", "memit.toml"]
    text = (folder / "memit-b10.toml").read_text()
    assert text.startswith('# python -m editgate.known_failures memit --batch-size=10\neditor = "memit"\n')
    file = read_file(folder / "memit-b10.toml", "file", NAMES, "llama-mini")
    assert (file.editor, file.contents.known_failures[0].batch_size) == ("memit", 10)
    with pytest.raises(SystemExit):
        known_failures.main(["memit", "--batch-size=10", f"--output={folder / 'memit.toml'}"])
    assert "holds more than what memit-b10 fails on llama-mini" in capsys.readouterr().err


def test_an_installed_package_is_not_written_to(
    measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There every record is a file of one's own, and one in the package is refused."""
    package = measured / "somewhere" / "editgate"
    monkeypatch.setattr(known_failures, "SHIPPED", package / "thresholds")
    monkeypatch.setattr(known_failures, "INSTALLED", True)
    known_failures.main(["rome"])
    assert [path.name for path in measured.rglob("*.toml")] == ["known_failures.toml"]
    with pytest.raises(SystemExit):
        known_failures.main(["rome", f"--output={package / 'thresholds' / 'llama-mini' / 'rome.toml'}"])
    assert "Allowed: a file of your own, such as --output=known_failures.toml" in capsys.readouterr().err
    assert not package.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rome", "--orders=0"], "--orders is 0; allowed: at least 1"),
        (["rome", "--output=lib/site-packages/editgate/x.toml"], "is in an installed package"),
        (["rome", "--output=floors.toml"], "holds more than what rome fails on llama-mini"),
        (["rome", "--output=others.toml"], "holds more than what rome fails on llama-mini"),
        (["rome", "--editor-arg=v_lr=0.1"], "known failures of rome are those of its shipped hyperparameters"),
        (["remo"], "rome"),
        (["rome", "--edit-counts=none"], "--edit-counts 'none'"),
    ],
)
def test_what_would_be_lost_or_never_read_is_not_written(
    arguments: list[str], message: str, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A usage error before anything is measured, with the value and the way out."""
    floor = '[area.safety]\nfloor = 0.9\nreason = "r"\n'
    (measured / "floors.toml").write_text(f'editor = "rome"\n{floor}')
    record = KnownFailures(model="llama-mini", measured_at=[1], orders=1)
    (measured / "others.toml").write_text(render(record, "command", editor="memit", model="llama-mini"))
    before = {path: path.read_text() for path in measured.glob("*.toml")}
    with pytest.raises(SystemExit) as ended:
        known_failures.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_text() for path in measured.glob("*.toml")} == before


def test_an_order_moves_the_first_edits_only() -> None:
    """Every order ends with the same edits applied; the file's own order is number 0, the rest stays in place."""
    edits = [Edit("{} is", str(n), "x") for n in range(30)]
    orders = [ordered(edits, 20, order) for order in range(3)]
    assert orders[0] == tuple(edits)
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(o[:20], key=lambda e: e.about) == sorted(edits[:20], key=lambda e: e.about) for o in orders)
    assert all(order[20:] == tuple(edits[20:]) for order in orders)


@pytest.mark.parametrize(("changes", "strict"), [({}, True), ({"limit": 50}, False), ({"inconclusive": "pass"}, False)])
def test_a_known_failure_is_strict_only_where_it_was_measured(
    changes: dict[str, object],
    strict: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """With fewer items a verdict is often inconclusive: that ROME at 50 edits does not fail then is no surprise."""
    chosen = settings(tmp_path, edit_counts="50", **changes)
    (spec,) = (spec for spec in chosen.editors if spec.name == "rome")
    known = chosen.known_failure(spec, miniature(chosen), "mmlu", 50)
    assert known is not None
    assert known.always is strict


def test_every_record_that_is_shipped_is_explained() -> None:
    """What `known_failures` writes where no person has looked yet is in no file."""
    files = sorted((ROOT / "thresholds").rglob("*.toml"))
    assert files
    assert [str(file) for file in files if known_failures.UNEXPLAINED in file.read_text(encoding="utf-8")] == []
