"""Each private part of lm-eval that is used does what `compat.lm_eval` says, and so does its absence."""

from __future__ import annotations

import logging
from pathlib import Path

import lm_eval.api.task
import lm_eval.tasks
import lm_eval.utils
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models import utils
from lm_eval.models.huggingface import HFLM

from editgate.compat import lm_eval as compat
from editgate.errors import IncompatibleLibrary
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.documents import LocalDocuments
from editgate.inputs.lm_tasks import load
from meta.support import toy

TEMPLATE = Path(lm_eval.tasks.__file__).parent / "mmlu/default/_default_template_yaml"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ConfigurableTask:
    """GSM8K over a few documents: two filters."""
    source = LocalDocuments(toy.write_documents(tmp_path_factory.mktemp("documents")))
    return load(BENCHMARKS["gsm8k"], source)["gsm8k"]


def _prompts(task: ConfigurableTask) -> list[str]:
    task.set_fewshot_seed(1)
    task.build_all_requests(limit=3)
    return [instance.args[0] for instance in task.instances]


def test_templates_are_compiled_once_and_prompts_stay(task: ConfigurableTask) -> None:
    """Inside, one text gives one template object; prompts are equal; everything is put back."""
    expected, environment, tqdm = _prompts(task), lm_eval.utils.env.from_string, lm_eval.api.task.tqdm
    with compat.templates_compiled_once():
        assert lm_eval.utils.env.from_string("{{a}}") is lm_eval.utils.env.from_string("{{a}}")
        assert lm_eval.api.task.tqdm is not tqdm
        assert _prompts(task) == expected
    assert lm_eval.utils.env.from_string == environment
    assert lm_eval.api.task.tqdm is tqdm


def test_without_the_patched_names_nothing_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release without `env` and `tqdm` there is used as it is, still quiet."""
    monkeypatch.delattr(lm_eval.utils, "env")
    monkeypatch.delattr(lm_eval.api.task, "tqdm")
    with compat.templates_compiled_once():
        assert not hasattr(lm_eval.utils, "env")
        assert logging.getLogger("lm_eval").level == logging.ERROR


def test_one_filter_is_applied(task: ConfigurableTask) -> None:
    """The named filter reads the response, and no other one does."""
    instance = Instance("generate_until", {}, ("", {}), 0, resps=["So the answer is 12. #### 34"])
    compat.apply_filter(task, "strict-match", [instance])
    assert instance.filtered_resps == {"strict-match": "34"}


def test_without_filters_the_error_names_them(task: ConfigurableTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of another make is an error that names the missing part and the way out."""
    monkeypatch.delattr(task, "_filters")
    with pytest.raises(IncompatibleLibrary, match=r"has no _filters.*requirements\.lock"):
        compat.apply_filter(task, "none", [])


def test_a_task_file_is_read_with_its_functions() -> None:
    """`!function` is imported on request and stays a name otherwise."""
    folder = TEMPLATE.parents[2] / "truthfulqa"
    named = compat.load_task_file(folder / "truthfulqa_mc2.yaml", functions=False)["process_results"]
    loaded = compat.load_task_file(folder / "truthfulqa_mc2.yaml", functions=True)["process_results"]
    assert isinstance(named, str)
    assert callable(loaded)


def test_prompts_are_written_by_lm_evals_environment() -> None:
    """A template has lm-eval's own filters."""
    assert compat.compile_template("{{a | regex_replace('b', 'c')}}").render(a="abba") == "acca"


def test_contexts_and_generations_end_where_hflm_ends_them() -> None:
    """The context's length is the config's; the end of text is a stop string; a text is cut before its first one."""
    model, tokenizer = toy.model(), toy.tokenizer(bos=True)
    assert compat.max_length(model.config, tokenizer) == model.config.max_position_embeddings
    assert compat.stop_sequences(("\n",), "</s>") == ["\n", "</s>"]
    assert compat.cut_generation("one\ntwo", ["\n", "</s>"]) == "one"


@pytest.mark.parametrize(
    ("owner", "name", "use"),
    [
        ("lm_eval.tasks._yaml_loader", "load_yaml", lambda: compat.load_task_file(TEMPLATE, functions=False)),
        ("lm_eval.utils", "env", lambda: compat.compile_template("")),
        ("lm_eval.models.utils", "resolve_max_length", lambda: compat.max_length(None, None)),
        ("lm_eval.models.utils", "handle_stop_sequences", lambda: compat.stop_sequences((), "")),
        ("lm_eval.models.utils", "postprocess_generated_text", lambda: compat.cut_generation("", [])),
        ("lm_eval.models.huggingface.HFLM", "_model_call", lambda: compat.CheckedHFLM(None, None, "toy", 1)),
        ("lm_eval.models.huggingface.HFLM", "_loglikelihood_tokens", lambda: compat.CheckedHFLM(None, None, "toy", 1)),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(owner: str, name: str, use: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """An lm-eval without the part is an error that names it, the installed release and the way out."""
    if name == "_loglikelihood_tokens":
        monkeypatch.delattr(lm_eval.api.model.TemplateLM, name)
    monkeypatch.delattr(f"{owner}.{name}")
    assert callable(use)
    with pytest.raises(IncompatibleLibrary, match=rf"lm_eval [\d.]+ has no {owner}\.{name}.*requirements\.lock"):
        use()


def test_hflm_ties_no_weight() -> None:
    """HFLM's constructor alone would put the embedding in the place of an edited head; this one does not."""
    model, tokenizer = toy.model(tied=True), toy.tokenizer(bos=True)
    head = torch.nn.Linear(32, 400, bias=False)
    model.lm_head = head
    compat.CheckedHFLM(model, tokenizer, "toy", 1)
    assert model.lm_head is head
    assert not torch.equal(head.weight, model.get_parameter("model.embed_tokens.weight"))
    with compat.quiet():
        HFLM(pretrained=model, tokenizer=tokenizer, backend="causal")
    assert torch.equal(head.weight, model.get_parameter("model.embed_tokens.weight")), "the reason for this is gone"


def test_the_private_names_are_those_of_the_lower_bound() -> None:
    """The functions of `lm_eval.models.utils` are there under the installed release."""
    assert all(
        callable(getattr(utils, name))
        for name in ("resolve_max_length", "handle_stop_sequences", "postprocess_generated_text")
    )
