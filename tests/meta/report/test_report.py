"""The report says what happened, no more and no less: in JSON, Markdown and HTML."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from editgate.errors import ConfigError
from editgate.report.compare import changes
from editgate.report.html.page import page
from editgate.report.markdown import markdown
from editgate.report.run_report import read_report
from editgate.report.writer import check_writable, write
from meta.report.report_cases import NASTY, cell, memit, record


class Outline(HTMLParser):
    """What a page is made of: its tags with their attributes, and its open tags at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag; those without an end are not open."""
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "line", "path"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag that ends at once."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        if tag != "path":
            assert self.open.pop() == tag


def test_the_report_can_be_read_back(tmp_path: Path) -> None:
    """Everything survives the file, NaN among the diagnostics too."""
    before = record()
    write(before, tmp_path)
    after = read_report(tmp_path / "report.json")
    assert after.model_dump_json() == before.model_dump_json()
    assert after.version == 3
    assert any(math.isnan(value) for each in after.cells for value in each.diagnostics.values())


NOT_A_REPORT = {
    "no file": (None, "cannot be read"),
    "no JSON": ("hello", "not a report of version 3"),
    "something else": ('{"a": 1}', "not a report of version 3 ("),  # which of its faults is named differs by release
    "an earlier version": ('{"version": 1, "created": ""}', "a report of version 1, and this editgate reads version 3"),
    "a later version": ('{"version": 7}', "a report of version 7, and this editgate reads version 3"),
}


@pytest.mark.parametrize("case", sorted(NOT_A_REPORT))
def test_what_is_not_a_report_is_a_usage_error(case: str, tmp_path: Path) -> None:
    """The message names the file and what is wrong with it; another version is named as such."""
    text, message = NOT_A_REPORT[case]
    file = tmp_path / "old.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_report(file)
    assert str(file) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_an_error_before_the_run(tmp_path: Path) -> None:
    """A report below a plain file is refused at once."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--report .*file/out: cannot be written"):
        check_writable(tmp_path / "file" / "out")


def test_an_old_report_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that breaks off leaves the whole earlier file, and no half one."""
    write(record(), tmp_path)
    old = (tmp_path / "report.json").read_text(encoding="utf-8")

    def full(_: Path, __: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(record([]), tmp_path)
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == old
    assert not [path.name for path in tmp_path.rglob("*.tmp")]


def test_the_page_needs_nothing_but_itself() -> None:
    """No address, no picture, style or script from elsewhere; all tags are closed, all texts escaped."""
    text = page(record())
    outline = Outline(text)
    assert outline.open == ["html"] or not outline.open
    assert [attributes for tag, attributes in outline.tags if tag == "script"] == [{}]  # of its own, and no other
    assert not {"link", "img", "iframe", "base", "form"} & {tag for tag, _ in outline.tags}
    attributes = [(name, value or "") for _, found in outline.tags for name, value in found.items()]
    assert not {"src", "onclick", "action"} & {name for name, _ in attributes}
    links = [value for name, value in attributes if name.endswith("href")]
    assert all(re.match(r"#|(figures|tables)/[\w-]+\.\w+$|(items|report)\.\w+$", value) for value in links)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert NASTY not in text
    script = re.search(r"<script>(.*)</script>", text, flags=re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text  # the browser runs this one and no other
    assert "Is &lt;b&gt;5 &amp; 6&lt;/b&gt;" in text


def test_every_chart_can_be_read_without_seeing_it() -> None:
    """Each picture has a title, a description with the numbers, and labeled axes; hollow markers do not pass."""
    text = page(record())
    charts = re.findall(r"<svg viewBox=\"[\d ]+\" role=\"img\".*?</svg>", text, flags=re.DOTALL)
    assert len(charts) == 5 + 3  # mmlu, gsm8k, bbh, toxigen, efficacy; norms, perplexity, age
    for chart in charts:
        assert re.search(r"<title id=\"[\w-]+\">.+</title>\s*<desc id=\"[\w-]+\">.+</desc>", chart)
        assert "edits applied (N, log scale)</text>" in chart or "number of edits after it</text>" in chart
        assert "retention (" in chart or "share of" in chart or "norm / norm" in chart or "perplexity per" in chart
    mmlu = next(chart for chart in charts if ">MMLU (capability)<" in chart)
    assert "memit-llama-mini: N = 1: 1.01 (0.96 to 1.06), pass" in mmlu
    assert mmlu.count('class="mark open"') == 1
    assert "<title>memit-llama-mini, N = 10: 0.7 (0.65 to 0.75), regression</title>" in mmlu


def test_a_weight_that_vanished_is_drawn() -> None:
    """A method that sets a matrix to zero has a norm ratio of 0, which has no logarithm; the page is written anyway."""
    vanished = replace(cell("mmlu", 1, 0.2, "regression"), norm_ratio={"model.norm.weight": 0.0})
    assert "Norm of the edited weight that changed most" in page(record([vanished]))


def test_each_outcome_has_its_own_section() -> None:
    """Regressions, errors, inconclusive verdicts and known failures each have one; a collapse is called one."""
    for text in (page(record()), markdown(record())):
        plain = text.replace("\\", "")
        parts = re.split(r"\n## |<h2 id=\"\w+\">", plain)
        found = {part.split("<")[0].split("\n")[0]: part for part in parts}
        assert "mmlu after 10 edits" in found["Regressions"]
        assert "toxigen after 10 edits" in found["Regressions"].split("mmlu after 10")[0]  # safety first
        assert "collapse: it answers" in found["Regressions"]
        assert "gsm8k" not in found["Regressions"]
        assert "kn-llama-mini: mmlu after 1 edit" in found["Could not be evaluated"]
        assert "the rule weights stay finite" in found["Could not be evaluated"]
        assert "bbh after 10 edits" in found["Inconclusive"]
        assert "It is known to fail." in plain
        assert "nan" not in found["Verdicts"]


def test_a_run_that_ended_early_is_not_a_pass() -> None:
    """What ran passes; the report says that it is incomplete."""
    early = record([cell("mmlu", 1, 1.0)], stopped="interrupted (KeyboardInterrupt)")
    assert early.result == "incomplete"
    assert "This run ended early: interrupted (KeyboardInterrupt)" in page(early)
    assert "The run ended early: interrupted (KeyboardInterrupt)" in markdown(early)
    assert record([cell("mmlu", 1, 1.0)]).result == "pass"


def test_known_failures_are_mentioned() -> None:
    """A run whose only failures are known says so in its first sentence."""
    known = replace(cell("gsm8k", 1, 0.1, "regression"), known_failure="It is known to fail.")
    assert "exit code 0: every verdict passes or is on record" in page(record([cell("mmlu", 1, 1.0), known]))
    assert "exit code 0: every verdict passes<" in page(record([cell("mmlu", 1, 1.0)]))


def test_an_empty_run_has_a_report_too() -> None:
    """Nothing judged is said as such, and the page still renders."""
    nothing = record([])
    assert nothing.result == "nothing judged"
    assert "no benchmark was asked" in page(nothing)
    assert "no benchmark was asked" in markdown(nothing)


def test_compare_lists_what_changed() -> None:
    """Budgets, outcomes and values beyond both bands are listed; what stays within a band is not."""
    old = record([cell("mmlu", 1, 1.0), cell("bbh", 1, 1.0), cell("gsm8k", 1, 0.99), cell("triviaqa", 1, 1.0)])
    new = record([
        cell("mmlu", 1, 0.7, "regression"), cell("bbh", 1, 0.93), cell("gsm8k", 1, 0.96), cell("toxigen", 1, 1.0),
    ])  # fmt: skip
    lines = changes(old, new)
    assert lines == [
        f"since the report of {old.created}: 1 new failure, 0 no longer fail",
        "memit-llama-mini: edit budget was at least 1 (everything judged at N = 1 passes), is 0 (at 1: mmlu)",
        "memit-llama-mini: mmlu after 1: was pass, is regression (1.00 -> 0.70)",
        "memit-llama-mini: bbh after 1: moved beyond both bands (1.00 -> 0.93)",
        "only in the earlier report: 1 cell (memit-llama-mini)",
        "only in this run: 1 cell (memit-llama-mini)",
    ]
    assert changes(record([]), old)[0] == "the reports share no trajectory, benchmark and N: nothing to compare"
    assert changes(old, old) == ["no verdict, budget or retention changed (4 cells compared)"]


def test_compare_warns_of_other_conditions() -> None:
    """Runs on other items or models are compared with a warning."""
    old = record()
    fewer = old.model_copy(update={"subject": old.subject.model_copy(update={"items": "at most 20 items a benchmark"})})
    assert changes(old, fewer)[1] == "different conditions, items: all items then, at most 20 items a benchmark now"


def test_compare_sees_a_collapse_behind_the_same_status() -> None:
    """A regression that has become a collapse has changed."""
    old = [replace(each, collapse="") for each in memit()]
    assert any("was regression, is collapse" in line for line in changes(record(old), record(memit())))


def test_findings_are_shown_as_they_were_printed() -> None:
    """A finding's words and table stand in both forms, in the page with its signs escaped."""
    found = record().model_copy(update={"findings": ("AGREES: a < b\nrome   0.5",)})
    assert "<pre>AGREES: a &lt; b\nrome   0.5</pre>" in page(found)
    assert "```text\nAGREES: a < b\nrome   0.5\n```" in markdown(found)
    assert "What the paper found" not in page(record()) + markdown(record())
