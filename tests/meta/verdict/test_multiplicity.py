"""`[multiplicity]` shares the probability of a false regression among the verdicts of a gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import ALL
from editgate.inputs.models import miniatures
from editgate.verdict.failure_message import Context, failure_message
from editgate.verdict.outcome import Outcome
from editgate.verdict.thresholds import SHIPPED, Floor, Policy, load_policy
from editgate.verdict.verdict import judge
from editors import names
from meta.verdict.test_verdict import evaluation

TABLE = '[multiplicity]\ncorrection = "{}"\nreason = "many methods stand on the line"\n'


def policy(*extra: Path) -> Policy:
    return load_policy(SHIPPED, names(), list(ALL), miniatures(), extra)


def test_the_shipped_policy_corrects_nothing_and_a_file_of_ones_own_does(tmp_path: Path) -> None:
    """5 % for each lower bound by default; with bonferroni 5 % divided by the number of verdicts."""
    mine = tmp_path / "default.toml"
    mine.write_text(TABLE.format("bonferroni"), encoding="utf-8")
    assert policy().lower_alpha(48) == 0.05
    assert policy(mine).lower_alpha(48) == pytest.approx(0.05 / 48)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("default.toml", TABLE.format("holm"), "multiplicity.correction"),
        ("default.toml", '[multiplicity]\ncorrection = "none"\n', "every number needs its reason"),
        ("rome.toml", TABLE.format("none"), "the same for all editors"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    """Another correction, none with a reason, and one for a single editor are usage errors."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        policy(tmp_path / name)


def test_a_thin_regression_is_inconclusive_where_many_verdicts_share_the_doubt() -> None:
    """The lower bound alone changes, and the message says how sure each bound is."""
    before, after = evaluation([1.0] * 400), evaluation([0.0] * 48 + [1.0] * 352)
    alone, shared = judge(before, after, 0.9), judge(before, after, 0.9, lower_alpha=0.05 / 48)
    assert alone.outcome is Outcome.REGRESSION
    assert shared.outcome is Outcome.INCONCLUSIVE
    assert shared.upper == alone.upper
    assert shared.detectable > alone.detectable
    said = failure_message(shared, Context("after 1 edit", Floor(0.9, "f", "k", "r"), "pytest"))
    assert "with 99.9% and 95% confidence" in " ".join(said.split())
