"""Models that were not trained here: by hub id or directory, with their own documents, texts and hyperparameters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import AutoTokenizer

from editgate.errors import ConfigError
from editgate.inputs import covariance_texts, models
from editgate.inputs.benchmarks import BENCHMARKS
from editgate.inputs.documents import HubDocuments, LocalDocuments
from editgate.inputs.lm_tasks import load
from editgate.miniature.recipes import WEIGHTS
from editgate.options import settings
from editors import HyperparameterError, create
from editors.core.hyperparameters import defaults
from editors.core.weights import same_bits
from editors.models import covariance
from editors.models.architecture import Architecture
from meta.support import tiny_models as tiny
from meta.support import toy

PAPER = {
    "gpt2-xl": ("rome", "memit", "pmet", "mend", "kn", "grace", "serac"),
    "meta-llama/Llama-2-7b-hf": ("rome", "memit", "pmet", "mend", "kn", "grace", "serac"),
    "meta-llama/Llama-2-7b-chat-hf": ("rome", "memit", "pmet", "mend", "kn", "grace", "serac"),
    "mistralai/Mistral-7B-v0.1": ("rome", "memit", "pmet", "kn"),
    "mistralai/Mistral-7B-Instruct-v0.1": ("rome", "memit", "pmet", "kn"),
    **{f"EleutherAI/pythia-{size}": ("rome", "memit") for size in ("160m", "410m", "1b", "2.8b", "6.9b", "12b")},
}


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is found without asking anybody, unless the hub is switched off."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def _folder(place: Path, name: str = "some-model", **config: object) -> Path:
    """A directory with a config and nothing else."""
    folder = place / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}), encoding="utf-8")
    return folder


def _saved(place: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny random model as a directory."""
    folder = place / "tiny-random"
    tiny.model("llama", dtype=dtype).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_a_directory_is_no_miniature_unless_its_manifest_says_so(tmp_path: Path) -> None:
    """A model from elsewhere is asked the hub's documents, never those of a world that it has never seen."""
    folder = _folder(tmp_path)
    source = models.find(str(folder))
    assert isinstance(source.documents, HubDocuments)
    assert source.training() == ()
    assert not source.miniature
    shutil.copy(WEIGHTS / "llama-mini" / "manifest.json", folder)
    copied = models.find(str(folder))
    assert copied.miniature
    assert isinstance(copied.documents, LocalDocuments)
    (folder / "manifest.json").write_text('{"name": "of something else"}', encoding="utf-8")
    assert not models.find(str(folder)).miniature
    with pytest.raises(ConfigError, match=r"has the name of a shipped model but not its manifest\.json"):
        models.find(str(_folder(tmp_path, "llama-mini")))


def test_documents_and_text_of_ones_own_are_used(tmp_path: Path) -> None:
    """`--documents` and `--covariance-text` replace the hub for such a model, and are refused for a miniature."""
    text = tmp_path / "text.txt"
    text.write_text("One paragraph.\n\n" + "word " * 1000, encoding="utf-8")
    documents = toy.write_documents(tmp_path / "documents")
    source = models.find("gpt2-xl", documents=documents, covariance_text=text)
    assert source.documents == LocalDocuments(documents.resolve(), for_hub=True)
    assert [len(piece) <= covariance_texts.PIECE for piece in source.corpus()] == [True] * 4
    assert source.corpus()[0] == "One paragraph."
    with pytest.raises(ConfigError, match="llama-mini was trained here and has its own"):
        models.find("llama-mini", documents=documents)
    with pytest.raises(ConfigError, match="llama-mini was trained here and has its own"):
        models.find("llama-mini", covariance_text=text)


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    """A directory without documents and a file without text are usage errors that name themselves."""
    blank = tmp_path / "blank.txt"
    blank.write_text(" \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"not a documents directory. Allowed: one that holds any of bbh/"):
        models.find("gpt2-xl", documents=tmp_path)
    with pytest.raises(ConfigError, match=r"blank.txt' holds no text"):
        models.find("gpt2-xl", covariance_text=blank)
    with pytest.raises(ConfigError, match=r"nowhere.txt': cannot be read"):
        models.find("gpt2-xl", covariance_text=tmp_path / "nowhere.txt")


@pytest.mark.parametrize("model", PAPER)
def test_every_model_of_the_paper_has_its_hyperparameters(model: str) -> None:
    """The hub id leads to the tables of each method that the paper ran on that model."""
    source = models.find(model)
    assert source.location == model
    assert "/" not in source.name
    assert all(defaults(method, source.hyperparameters) is not None for method in PAPER[model])


def test_a_directory_finds_hyperparameters_by_its_first_name(tmp_path: Path) -> None:
    """The directory's own name counts first, then what its config says it was loaded from; else there are none."""
    config = {"_name_or_path": "/data/models/Mistral-7B-v0.1/"}
    assert models.find(str(_folder(tmp_path, "a", **config))).hyperparameters == "mistral-7b-v0.1"
    assert models.find(str(_folder(tmp_path, "Llama-2-7b-hf", **config))).hyperparameters == "llama-2-7b-hf"
    assert models.find(str(_folder(tmp_path, "b"))).hyperparameters == ""


def test_without_hyperparameters_the_error_says_what_to_give() -> None:
    """A model that no table knows is refused with the tables there are and the values that are missing."""
    model, texts = tiny.model(), tiny.CORPUS
    with pytest.raises(HyperparameterError, match=r"memit has no defaults .* gpt2-xl, .*or give layers, v_num_grad"):
        create("memit", model, tiny.tokenizer(), corpus=texts)
    with pytest.raises(HyperparameterError, match="rome has no defaults for the model 'llama-9'"):
        create("rome", model, tiny.tokenizer(), corpus=texts, defaults="llama-9", **tiny.settings("rome"))
    create("mend", model, tiny.tokenizer(), training=tiny.EDITS, defaults="pythia-1b", **tiny.settings("mend"))


UNREACHABLE = {
    "gated": (GatedRepoError("gated", response=Mock()), "it is gated. .* hf auth login"),
    "missing": (RepositoryNotFoundError("none", response=Mock()), "nothing of that name.* hf auth login"),
    "offline": (LocalEntryNotFoundError("not here"), "the hub cannot be reached.* hf download some/model"),
    "no accelerate": (ImportError("accelerate"), "pip install accelerate"),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_what_the_hub_refuses_is_one_line_with_the_command(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gated, missing and unreachable models end in one line that says what to run."""
    cause, message = UNREACHABLE[case]

    def refuse(*_: object, **__: object) -> None:
        raise OSError("We could not.\nSee above.") from cause

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(ConfigError, match=message) as raised:
        models.load(models.find("some/model"), device="cpu", dtype="float32")
    assert "\n" not in str(raised.value)


def test_documents_that_the_hub_cannot_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hub a benchmark's error names its data set and the way out."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(ConfigError, match=r"gsm8k: Couldn't reach 'openai/gsm8k'.* --documents DIR"):
        load(BENCHMARKS["gsm8k"], HubDocuments())
    with pytest.raises(ConfigError, match=r"wikitext.* --covariance-text FILE"):
        covariance_texts.wikitext()


def test_documents_stand_in_for_the_hub_exactly(tmp_path: Path) -> None:
    """BBH's original files are read and asked with lm-eval's own three examples; missing examples are an error."""
    folder = tmp_path / "bbh" / "navigate"
    folder.mkdir(parents=True)
    examples = [{"input": f"Turn left {number} times.", "target": "Yes"} for number in range(3)]
    (folder / "test.json").write_text(json.dumps({"canary": "keep", "examples": examples}), encoding="utf-8")
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "1?", "answer": "#### 1"}\n', encoding="utf-8")
    source = LocalDocuments.standing_in(tmp_path)
    (task,) = load(BENCHMARKS["bbh"], source).values()
    assert [document["input"] for document in task.eval_docs] == [each["input"] for each in examples]
    prompt = task.fewshot_context(task.eval_docs[0], source.settings(BENCHMARKS["bbh"]).num_fewshot)
    assert prompt.count("\nA: Let's think step by step.\n") == 4
    with pytest.raises(ConfigError, match=r"gsm8k asks for 8 few-shot examples.*num_fewshot = 0 below .gsm8k."):
        load(BENCHMARKS["gsm8k"], source)


def test_any_device_is_one_where_there_is_room(tmp_path: Path) -> None:
    """`--device auto` loads through accelerate; a model that fits on one device is on one, in its type."""
    source = models.find(str(_saved(tmp_path)))
    assert settings._device("auto") == "auto"
    loaded = models.load(source, device="auto", dtype="bfloat16")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert len({parameter.device for parameter in loaded.model.parameters()}) == 1


def test_covariances_tell_their_cost_before() -> None:
    """Tokens and bytes are exact, and the time is what two small products suggest."""
    model, words = tiny.model(), tiny.tokenizer()
    editor = create("memit", model, words, corpus=tiny.CORPUS, contexts=tiny.CONTEXTS, **tiny.settings("memit"))
    architecture = Architecture(model)
    told = covariance.cost(architecture, words, tiny.CORPUS, [architecture.down(0), architecture.down(1)])
    assert told.tokens == sum(len(words(text)["input_ids"]) for text in tiny.CORPUS)
    assert told.size == 2 * 8 * 24**2
    assert 0 < told.seconds < 60
    assert editor.cost().startswith(f"2 covariances over {told.tokens} tokens: 9.2e-06 GB of memory, about ")
    editor.prepare()
    assert editor.cost() == ""


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["rome", "memit"])
def test_half_precision_is_edited_in_full(method: str, device: str) -> None:
    """In bfloat16 one edit is finite, makes its target likelier, keeps the type, and is undone bit by bit."""
    model = tiny.model("llama", dtype=torch.bfloat16)
    torch.nn.Module.to(model, device)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    edit, words = tiny.EDITS[3], tiny.tokenizer()
    editor = create(
        method,
        model,
        words,
        covariances=tiny.moments(model),
        contexts=[["{}"]],
        **tiny.settings(method, v_num_grad_steps=20, v_lr=0.05, v_weight_decay=0.0, clamp_norm_factor=50.0),
    )
    ids = torch.tensor([words(f"{edit.text} {edit.target_new}")["input_ids"]], device=device)
    start = len(words(edit.text)["input_ids"])

    def wrong() -> float:
        logits = model(input_ids=ids).logits[0, start - 1 : -1].float()
        return float(torch.nn.functional.cross_entropy(logits, ids[0, start:]))

    unedited = wrong()
    editor.apply(edit)
    assert all(value.isfinite().all() and value.dtype == torch.bfloat16 for value in editor.state().values())
    assert wrong() < unedited
    editor.undo()
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())
