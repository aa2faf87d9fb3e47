"""Headlines: the edit budget, the sentence about safety, the result. None of them may be rosier than the cells."""

from __future__ import annotations

from dataclasses import replace

from editgate.report.safety import safety_line
from editgate.report.table import render
from editgate.report.trajectory_summary import trajectory_summaries
from editgate.verdict.outcome import Cell, Outcome
from meta.report.report_cases import cell, memit, others


def error(check: str, edits: int, area: str = "capability") -> Cell:
    """Return a cell that could not be evaluated."""
    return Cell("memit-llama-mini", check, edits, None, Outcome.NOT_EVALUATED, area, reason="NonFiniteModel: NaN")


def test_what_could_not_be_evaluated_ends_the_budget() -> None:
    """An error at N = 5 is not a pass there, although everything with a number passes."""
    (summary,) = trajectory_summaries(
        [cell("mmlu", 1, 1.0), cell("mmlu", 5, 1.0), cell("bbh", 1, 1.0), error("bbh", 5)]
    )
    assert summary.headline == "1 (at 5: bbh could not be evaluated)"


def test_what_did_not_run_ends_the_budget() -> None:
    """A benchmark that was judged at 1 and not at 5 does not pass at 5."""
    (summary,) = trajectory_summaries([cell("mmlu", 1, 1.0), cell("mmlu", 5, 1.0), cell("bbh", 1, 1.0)])
    assert summary.headline == "1 (at 5: bbh not run)"


def test_a_skipped_quality_does_not_end_the_budget() -> None:
    """A quality that is skipped because the edits have no such prompt counts for nothing."""
    skipped = replace(cell("paraphrase", 1, 0.0, "skipped", "quality"), value=None)
    (summary,) = trajectory_summaries([cell("mmlu", 1, 1.0), cell("mmlu", 5, 1.0), skipped, cell("paraphrase", 5, 1.0)])
    assert summary.headline.startswith("at least 5")


def test_the_summary_names_what_was_not_measured() -> None:
    """A budget over MMLU alone names the benchmarks and qualities that were not measured; a broken rule is named."""
    by_name = {each.trajectory: each for each in trajectory_summaries([cell("mmlu", 1, 1.0), *others()])}
    assert by_name["memit-llama-mini"].not_measured[:2] == ("bbh", "gsm8k")
    assert "efficacy" in by_name["memit-llama-mini"].not_measured
    assert by_name["kn-llama-mini"].rules_broken == ("weights_stay_finite",)


def test_safety_names_the_worst_first() -> None:
    """Collapse, regression, error, inconclusive, known failures; each with its Ns, in one line."""
    safety = [
        cell("truthfulqa", 1, 1.0, "pass", "safety"),
        cell("truthfulqa", 5, 0.9, "inconclusive", "safety"),
        cell("truthfulqa", 10, 0.7, "regression", "safety"),
        replace(cell("truthfulqa", 20, 0.5, "regression", "safety"), known_failure="known"),
        replace(cell("toxigen", 10, 1.3, "regression", "safety"), collapse="'No' on 97% of the items"),
        error("toxigen", 20, "safety"),
        cell("mmlu", 1, 0.1, "regression"),
    ]
    assert safety_line(safety) == (
        "SAFETY: memit-llama-mini collapsed (one answer to nearly everything, which is not safe): toxigen (N = 10); "
        "memit-llama-mini regressed: truthfulqa (N = 10); "
        "memit-llama-mini could not be evaluated: toxigen (N = 20); "
        "memit-llama-mini is inconclusive: truthfulqa (N = 5); "
        "memit-llama-mini has known failures: truthfulqa (N = 20)"
    )


def test_safety_is_clear_only_if_all_of_it_passes() -> None:
    """The good sentence needs passes alone; without a safety test there is no sentence."""
    good = [cell("toxigen", 1, 1.0, "pass", "safety"), cell("toxigen", 5, 1.0, "pass", "safety")]
    assert safety_line(good) == "SAFETY: no regression (toxigen at N = 1, 5)"
    assert "no regression" not in safety_line([*good, cell("toxigen", 10, 0.9, "inconclusive", "safety")])
    assert not safety_line([cell("mmlu", 1, 1.0)])


def test_the_table_tells_collapse_and_error_from_numbers() -> None:
    """A collapse shows no score, an error shows none either, and both are explained."""
    text = render([*memit(), error("triviaqa", 10)], 110)
    assert "collapse ✗" in text
    assert "1.20" not in text
    assert "error !" in text
    assert "neither a pass nor a regression" in text
    assert "error !" not in render(memit(), 110)


def test_troubles_of_a_kind_stand_together() -> None:
    """The line that ends a budget stays short: collapse, regressions, doubts, errors, each with its benchmarks."""
    (summary,) = trajectory_summaries([
        cell("mmlu", 1, 0.5, "regression"), cell("bbh", 1, 0.5, "regression"), cell("gsm8k", 1, 0.9, "inconclusive"),
        error("triviaqa", 1), replace(cell("toxigen", 1, 1.2, "regression", "safety"), collapse="'No' on 97%"),
    ])  # fmt: skip
    assert summary.headline == (
        "0 (at 1: toxigen collapsed; mmlu, bbh; gsm8k inconclusive; triviaqa could not be evaluated)"
    )
