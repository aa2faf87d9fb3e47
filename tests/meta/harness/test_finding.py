"""Any name of lm-eval leads to the tasks that lm-eval itself would ask, and to a metric, or is refused in one line."""

from __future__ import annotations

import logging
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.tasks import TaskManager

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import ALL, Benchmark, Leaf, nothing_to_guess, one_of_the_answers, one_of_the_choices
from editgate.inputs.harness import index, judging, leaves
from editgate.inputs.harness.index import Entry, entry_of, is_registered, registered
from editgate.inputs.harness.judging import Given
from editgate.inputs.models import miniatures
from editgate.options import chosen_benchmarks
from editgate.verdict.thresholds import SHIPPED, load_policy
from editors import names
from meta.support.quiz import write_quiz

POLICY = (SHIPPED / "default.toml",)


def _one(name: str, policies: tuple[Path, ...] = POLICY) -> Benchmark:
    """The benchmark of that name."""
    chosen = chosen_benchmarks.read(name, policies)
    assert chosen.names is not None
    (found,) = chosen.names
    return chosen.known[found]


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    """lm-eval's own index of all its tasks; making it takes a quarter of a minute."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager()


def test_names_mean_what_they_mean_to_lm_eval(manager: TaskManager) -> None:
    """Every name of lm-eval's own index is known, of the same kind, in the same file, with the same members."""
    kinds = {"TASK": "task", "GROUP": "group", "TAG": "tag", "PY_TASK": "class"}
    wanted = {
        name: Entry(kinds[entry.kind.name], entry.yaml_path, tuple(sorted(entry.tags)) if not entry.yaml_path else ())  # type: ignore[arg-type]
        for name, entry in manager.task_index.items()
    }
    assert len(wanted) > 10_000
    assert registered() == wanted


@pytest.mark.parametrize("name", ["ifeval", "mmlu", "arc_easy", "ai2_arc", "leaderboard", "ifeva", "../ifeval", ""])
def test_a_name_is_known_or_not(name: str) -> None:
    """Whether a name is registered is what the index says, also where its own file is asked first."""
    assert is_registered(name) == (name in registered())


def test_shipped_thresholds_are_read_without_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose benchmarks are in the table looks through none of lm-eval's 14,000 files, a second's work."""
    monkeypatch.setattr(index, "registered", lambda: pytest.fail("the index was made"))
    load_policy(SHIPPED, names(), [*ALL], miniatures())


GROUPS = (
    "mmlu",
    "mmlu_continuation",
    "ai2_arc",
    "blimp",
    "bbh_zeroshot",
    "mathqa",
    "mmlu_pro",
    "arithmetic",
    "pile_10k",
)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_taken_apart_as_lm_eval_does(
    name: str, manager: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group's tasks, and what they say of prompt, metric, shots and generation, are those that lm-eval builds."""
    built: dict[str, dict[str, Any]] = {}

    class Recorded:
        """Stands for lm-eval's task, which would fetch its data set."""

        def __init__(self, config: dict[str, Any]) -> None:
            self.task_name = config["task"]
            built[config["task"]] = config

    monkeypatch.setattr("lm_eval.tasks._factory.ConfigurableTask", Recorded)
    monkeypatch.setattr("lm_eval.tasks.manager.Task", Recorded)
    monkeypatch.setattr("lm_eval.api.group.Group.get_all_tasks", lambda _: [])  # what was built is all that counts
    manager.load([name])
    _, found = leaves.find(name, name)
    assert {leaf.task for leaf in found} == set(built)
    keys = ("doc_to_text", "doc_to_choice", "doc_to_target", "metric_list", "num_fewshot", "generation_kwargs",
            "filter_list", "description", "dataset_name", "output_type", "fewshot_config")  # fmt: skip
    for leaf in found:
        for key in keys:
            assert str(leaf.config.get(key)) == str(built[leaf.task].get(key)), (leaf.task, key)


def test_metric_shots_and_chance_are_the_tasks_own() -> None:
    """What each kind of task is judged by, and what guessing scores there."""
    found = {name: _one(name) for name in ("arc_easy", "lambada_openai", "gsm8k_cot", "anli", "winogrande")}
    told = {
        name: (row.metric_key, row.kind, row.num_fewshot, row.chance, row.area, len(row.leaves))
        for name, row in found.items()
    }
    assert told == {
        "arc_easy": ("acc_norm,none", "choice", 0, one_of_the_choices, "capability", 1),
        "lambada_openai": ("acc,none", "continuation", 0, nothing_to_guess, "capability", 1),
        "gsm8k_cot": ("exact_match,strict-match", "generated", 8, one_of_the_answers, "capability", 1),
        "anli": ("acc,none", "choice", 0, one_of_the_choices, "capability", 3),
        "winogrande": ("acc,none", "choice", 0, one_of_the_choices, "capability", 1),
    }


def test_a_name_of_the_table_is_the_tables() -> None:
    """The suite's names and their lm-eval tasks mean the rows of the table, unchanged; `default` means all of them."""
    assert chosen_benchmarks.read(None, POLICY) == chosen_benchmarks.ChosenBenchmarks(ALL, None)
    chosen = chosen_benchmarks.read("mmlu,commonsense_qa,truthfulqa_mc1,arc_easy", POLICY)
    assert chosen.names == frozenset({"mmlu", "commonsenseqa", "truthfulqa", "arc_easy"})
    assert {name: chosen.known[name] for name in ALL} == ALL
    assert chosen_benchmarks.read("default", POLICY).names == frozenset(ALL)


def test_two_runs_in_one_process_do_not_share(tmp_path: Path) -> None:
    """What one run adds, another does not know; the same name may mean another file there."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    files = [str(write_quiz(tmp_path / folder, size)) for folder, size in (("a", 5), ("b", 6))]
    first, second = (chosen_benchmarks.read(file, POLICY) for file in files)
    assert set(first.known) - set(ALL) == {"quiz"}
    assert first.known["quiz"].definition != second.known["quiz"].definition
    assert "quiz" not in ALL
    assert "quiz" not in chosen_benchmarks.read("arc_easy", POLICY).known


def test_a_table_says_otherwise(tmp_path: Path) -> None:
    """`[benchmarks.NAME]` sets area, metric, chance, shots and length; the last file that has one counts."""
    first, last = tmp_path / "1" / "default.toml", tmp_path / "2" / "default.toml"
    for file, metric in ((first, "acc_norm"), (last, "acc")):
        file.parent.mkdir()
        file.write_text(f'[benchmarks.arc_easy]\nmetric = "{metric}"\narea = "safety"\nchance = 0.3\nnum_fewshot = 2\n'
                        'reason = "a test"\n', encoding="utf-8")  # fmt: skip
    row = _one("arc_easy", (first, last))
    assert (row.metric, row.area, row.num_fewshot, row.chance({}, [])) == ("acc", "safety", 2, 0.3)


REFUSED = {
    "arc_easyy": r"lm-eval has no task, group or tag 'arc_easyy'\. Did you mean arc_easy,",
    "mmluu": r"no such benchmark, and no such task of lm-eval\. Did you mean mmlu\?",
    "arc_easy,,piqa": r"nothing before or after a comma",
    "arc_easy,arc_easy": r"arc_easy is named twice",
    "nowhere.yaml": r"no such file",
    "wikitext": r"wikitext cannot be judged: its score is a perplexity",
    "humaneval": r"humaneval runs code that the model writes",
    "squadv2": r"squadv2 is a Python class",
    "glue": r"cola has no metric that is a share of right answers \(mcc: not a mean",
    "openllm": r"64 tasks are asked or judged in different ways \(arc_challenge: acc_norm,none, choice, 25 examples; ",
    "gsm8k_cot_self_consistency": r"samples its answers",
    "drop": r"what guessing scores by em cannot be known.*\[benchmarks\.drop\] with chance = NUMBER",
}


@pytest.mark.parametrize("names", REFUSED)
def test_what_cannot_be_judged_is_refused_in_one_line(names: str) -> None:
    """The line names the option, the task, the reason, and near names or what is allowed."""
    with pytest.raises(ConfigError, match=rf"^--benchmarks .*{REFUSED[names]}") as raised:
        chosen_benchmarks.read(names, POLICY)
    assert "\n" not in str(raised.value)


BAD_TABLES = {
    "mmlu": ('reason = "x"', r"benchmarks\.mmlu: this suite says how mmlu is judged"),
    "piqa": ("chance = 1.5\nreason = 'x'", r"benchmarks\.piqa: .*chance.* is 1\.5"),
    "arc_easy": ("chance = 0.5", r"field 'reason' is missing"),
    "lambada_openai": (
        "metric = 'perplexity'\nreason = 'x'",
        r"no metric 'perplexity' to be judged by \(.*\)\. Allowed: acc\.",
    ),
    "gsm8k_cot": ("filter = 'loose'\nreason = 'x'", r"no filter 'loose'\. Allowed: strict-match, flexible-extract"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_refused(name: str, tmp_path: Path) -> None:
    """File or option, key, value and what is allowed."""
    file = tmp_path / "default.toml"
    file.write_text(f"[benchmarks.{name}]\n{BAD_TABLES[name][0]}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=BAD_TABLES[name][1]):
        chosen_benchmarks.read(name, (file,))


def test_code_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    """A missing package and a fault in a task's own code are one line at collection."""
    (tmp_path / "scoring.py").write_text("import no_such_package\n", encoding="utf-8")
    file = tmp_path / "own.yaml"
    file.write_text("task: own\nprocess_results: !function scoring.score\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"needs what is not installed here: the module no_such_package"):
        chosen_benchmarks.read(str(file), POLICY)
    (tmp_path / "scoring.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.yaml cannot be read \(ZeroDivisionError"):
        chosen_benchmarks.read(str(file), POLICY)


def test_what_a_task_is_depends_on_its_code(tmp_path: Path) -> None:
    """Other scoring code beside a task's file is another benchmark to the store."""
    (tmp_path / "own.yaml").write_text(
        "task: own\nprocess_results: !function scoring.score\nmetric_list:\n  - metric: exact_match\n", encoding="utf-8"
    )
    found = []
    for factor in (1, 10):
        (tmp_path / "scoring.py").write_text(f"def score(doc, results):\n    return {{'exact_match': {factor}}}\n")
        found.append(leaves.definition(leaves.find(str(tmp_path / "own.yaml"), "x")[1]))
    assert found[0] != found[1]


@given(st.text(string.ascii_lowercase + "_", min_size=1, max_size=12))
def test_any_text_is_a_name_or_a_refusal(name: str) -> None:
    """Whatever is asked for, the end is an entry or one line that holds the text."""
    if name in registered():
        assert entry_of(name, "--benchmarks") == registered()[name]
        return
    with pytest.raises(ConfigError, match=repr(name)) as raised:
        entry_of(name, "--benchmarks")
    assert "\n" not in str(raised.value)


METRICS = st.lists(
    st.fixed_dictionaries(
        {"metric": st.sampled_from(["acc", "acc_norm", "acc_bytes", "f1", "mcc", "brier_score", "own"])},
        optional={"aggregation": st.sampled_from(["mean", "f1", "perplexity"]), "higher_is_better": st.booleans()},
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda entry: entry["metric"],
)


@given(METRICS)
def test_the_metric_is_a_mean_where_more_is_better(metrics: list[dict[str, Any]]) -> None:
    """Whatever a task reports, what is judged is a mean, not one where less is better, and `acc_norm` goes first."""
    leaf = Leaf("task", {"output_type": "multiple_choice", "metric_list": metrics})
    try:
        row = judging.added("task", [leaf], Given(chance=0.5), "--benchmarks task")
    except ConfigError:
        row = None
    good = {
        entry["metric"]
        for entry in metrics
        if entry.get("higher_is_better", True)
        and (entry.get("aggregation") == "mean" or ("aggregation" not in entry and entry["metric"].startswith("acc")))
    }
    assert (row is None) == (not good)
    if row is not None:
        assert row.metric in good
        assert "acc_norm" not in good or row.metric == "acc_norm"
