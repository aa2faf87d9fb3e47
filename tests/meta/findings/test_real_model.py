"""Retention curves of a model from elsewhere: what the file holds, and what the page makes of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from findings import real_model, real_model_page
from findings.real_model import Asked, Curve, Measured
from findings.real_model_page import BEGIN, END, fails_at, left, main, recorded
from findings.tables import never

KINDS = ("efficacy", "paraphrase", "locality")


def _curve(editor: str, order: int, kept: list[float]) -> Curve:
    shares: dict[str, list[float | None]] = {kind: [1.0, 0.5] for kind in KINDS}
    retention = {"arc_easy": kept, "piqa": [1.0, 1.0]}
    return Curve(
        editor=editor, order=order, retention=retention, right_after=shares, at_the_end=shares, norm_ratio=[1.0, 1.5]
    )


KEPT = {"rome": ([1.0, 0.2], [1.0, 0.4]), "memit": ([1.0, 0.9], [1.0, 1.0]), "kn": ([0.5, 0.1], [0.5, 0.1])}
MEASURED = Measured(
    command="python -m findings.real_model M.gguf --editor=rome",
    model="M",
    edits="F.json",
    counts=(1, 5),
    benchmarks={
        "arc_easy": Asked(score=0.6, chance=0.25, items=50, above_chance=True),
        "piqa": Asked(score=0.7, chance=0.5, items=50, above_chance=True),
        "bbh": Asked(score=0.2, chance=0.2, items=50, above_chance=False),
    },
    curves=[
        _curve(name, order, kept)
        for name, both in {
            "rome": ([1.0, 0.2], [1.0, 0.4]),
            "memit": ([1.0, 0.9], [1.0, 1.0]),
            "kn": ([0.5, 0.1],) * 2,
        }.items()
        for order, kept in enumerate(both)
    ],
)


def test_what_is_left_is_the_mean_over_benchmarks_and_orders() -> None:
    """Of ROME 1.0 and 0.65 are left, so it fails at 5; KN fails at once, MEMIT never."""
    found = left(MEASURED)
    assert found["rome"] == pytest.approx({1: 1.0, 5: 0.65})
    assert [fails_at(found[name]) for name in ("kn", "rome", "memit")] == [1, 5, math.inf]


def test_the_page_has_the_numbers_of_the_file_and_of_the_record(tmp_path: Path) -> None:
    """Between the marks stand the model's, the miniature's and the paper's edits to failure; the rest is kept."""
    page, figure, file = tmp_path / "page.md", tmp_path / "curves.svg", tmp_path / "curves.json"
    page.write_text(f"# before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    file.write_text(MEASURED.model_dump_json(), encoding="utf-8")
    main([str(file), f"--into={page}", f"--figure={figure}"])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    mini = {name: never(fails_at(kept)) for name, kept in recorded().items()}
    assert f"| `rome` | 5, 5 | 5 | {mini['rome']} | 50 |" in text
    assert "| `rome` | `arc_easy` | 1.00 | 0.30 (0.20 to 0.40) |" in text
    assert "| `bbh` | 0.20 | 0.20 | 50 | no |" in text
    assert "Spearman" in text
    assert "<svg" in figure.read_text(encoding="utf-8")


def test_runs_of_several_methods_make_one_page(tmp_path: Path) -> None:
    """The curves of all files are shown, shorter ones too; a run at other Ns is refused: no table could hold it."""
    page, files = tmp_path / "page.md", [tmp_path / "a.json", tmp_path / "b.json"]
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    halves = MEASURED.curves[:2], MEASURED.curves[2:]
    for file, curves in zip(files, halves, strict=True):
        file.write_text(MEASURED.model_copy(update={"curves": curves}).model_dump_json(), encoding="utf-8")
    main([*map(str, files), f"--into={page}"])
    assert real_model_page.render(MEASURED, recorded()) in page.read_text(encoding="utf-8")
    short = Curve.model_validate(
        _curve("ftl", 0, [1.0]).model_dump() | {"retention": {"arc_easy": [1.0]}, "norm_ratio": [1.0]}
    )
    files[1].write_text(
        MEASURED.model_copy(update={"curves": [short], "counts": (1,)}).model_dump_json(), encoding="utf-8"
    )
    main([*map(str, files), f"--into={page}"])
    assert "| `ftl` | `arc_easy` | 1.00 | – |" in page.read_text(encoding="utf-8")
    files[1].write_text(MEASURED.model_copy(update={"counts": (1, 10)}).model_dump_json(), encoding="utf-8")
    with pytest.raises(SystemExit):
        main([*map(str, files), f"--into={page}"])


def test_a_page_without_marks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written into a page that has no place for it."""
    page, file = tmp_path / "page.md", tmp_path / "curves.json"
    page.write_text("# mine\n", encoding="utf-8")
    file.write_text(MEASURED.model_dump_json(), encoding="utf-8")
    with pytest.raises(SystemExit):
        main([str(file), f"--into={page}"])
    assert "needs the lines" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "# mine\n"


def test_methods_are_measured_order_by_order_and_the_file_is_the_result(tmp_path: Path) -> None:
    """Two methods over two orders: the whole first order comes before the second; counts and benchmarks fit."""
    file = tmp_path / "curves.json"
    real_model.main(
        [
            "pythia-mini-s",
            "--editor=rome",
            "--editor=grace",
            "--benchmarks=toxigen",
            "--edit-counts=1,2",
            "--limit=20",
            "--orders=2",
            f"--json={file}",
            f"--store={tmp_path / 'store'}",
        ]
    )
    found = Measured.model_validate_json(file.read_text(encoding="utf-8"))
    assert [(curve.editor, curve.order) for curve in found.curves] == [
        ("grace", 0), ("rome", 0), ("grace", 1), ("rome", 1),
    ]  # fmt: skip
    assert found.benchmarks["toxigen"].items == 20
    assert all(len(curve.retention["toxigen"]) == len(found.counts) == 2 for curve in found.curves)
    assert all(curve.norm_ratio == [1.0, 1.0] for curve in found.curves if curve.editor == "grace")
    assert all(curve.norm_ratio[1] > 1.0 for curve in found.curves if curve.editor == "rome")
