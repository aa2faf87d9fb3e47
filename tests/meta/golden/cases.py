"""Cases of golden vectors: what a reference computed on a tiny model, found by walking a folder."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from editors import Edit, Editor, names

ROOT = Path(os.environ.get("EDITGATE_GOLDEN") or Path(__file__).parent / "vectors")
MODELS = ROOT / "models"
TOLERANCE = 1e-4
# One coordinate of the gradient in edit 1's search (1.7e-7) is little more than Adam's epsilon, so its step depends on
# float32's rounding: our own search differs from the reference's by 1.5e-4 in float64 and 2.4e-4 in float32.
ROUNDED = {("emmet-llama-tiny", f"edit{number}."): 5e-4 for number in (1, 2, 3)}
NUMBERED = ("edit", "case")

Span = tuple[int, int]
Step = tuple[str, list[dict[str, Any]]]  # prefix of the expected keys, requests applied together before they hold


@dataclass(frozen=True)
class Case:
    """One file of expected tensors with all that it takes to compute them again."""

    name: str
    folder: str
    expected: Path
    hparams: dict[str, Any]
    reference: str
    request: dict[str, Any] | None

    @property
    def model(self) -> str:
        """Name of the model that ends the folder's name."""
        return next(name for name in _folders(MODELS) if self.folder.endswith(f"-{name}"))

    @property
    def method(self) -> str | None:
        """The longest editor name that begins the folder's name."""
        fits = [name for name in names() if self.folder.startswith(name.replace("_", "-") + "-")]
        return max(fits, key=len, default=None)

    def tolerance(self, prefix: str) -> float:
        """Largest relative error after a step."""
        return ROUNDED.get((self.name, prefix), TOLERANCE)

    def runs(self) -> list[list[Step]]:
        """Trajectories from the unedited model: all `edit<i>` in order, each `case<i>`, the `batch`."""
        if self.request is not None:
            return [[("", [self.request])]]
        requests = _json(MODELS / "requests.json")
        tags = {key.partition(".")[0] for key in load_file(self.expected)}
        numbers = {kind: sorted(_number(tag, kind) for tag in tags if tag.startswith(kind)) for kind in NUMBERED}
        runs = [[(f"case{number}.", [requests[number]])] for number in numbers["case"]]
        if numbers["edit"]:
            edits = [(f"edit{number}.", [requests[number]]) for number in range(numbers["edit"][-1] + 1)]
            runs.append([*edits, ("final.", [])])
        if "batch" in tags:
            runs.append([("batch.", [requests[number] for number in _batch_requests(self.expected, self.model)])])
        return runs


@cache
def _batch_requests(expected: Path, model_name: str) -> list[int]:
    """Numbers of the requests that a batch is made of, in its order, read from the case's `cur_z`.

    In the first layer's `cur_z` [n, d] each row is a hidden state of the unedited model on the bare prompt of one
    request, so it occurs among the states of that request and of no other.

    Raises:
        ValueError: A row occurs among the states of no request.
    """
    model, tokenizer = load_model(model_name)
    tensors = load_file(expected)
    rows = tensors[min(key for key in tensors if key.startswith("batch.cur_z.layer"))]
    distances = []
    for request in _json(MODELS / "requests.json"):
        ids = tokenizer(request["prompt"], return_tensors="pt").input_ids
        with torch.no_grad():
            states = torch.cat(model(input_ids=ids, output_hidden_states=True).hidden_states).flatten(0, 1)
        distances.append(torch.cdist(rows, states, compute_mode="donot_use_mm_for_euclid_dist").amin(1))
    nearest, numbers = torch.stack(distances).min(0)
    if bool((nearest > TOLERANCE * rows.norm(dim=1)).any()):
        raise ValueError(f"{expected}: a row of cur_z is a hidden state of none of the prompts in requests.json")
    return numbers.tolist()


def _number(tag: str, kind: str) -> int:
    return int(tag.removeprefix(kind))


def _folders(path: Path) -> list[str]:
    return sorted((each.name for each in path.iterdir() if each.is_dir()), key=len, reverse=True)


def _json(path: Path) -> Any:  # noqa: ANN401 - JSON is anything
    return json.loads(path.read_text(encoding="utf-8"))


def _reference(meta: dict[str, Any]) -> str:
    """The official repositories ran on transformers 4, EasyEdit on 5."""
    return "official" if str(meta.get("env", {}).get("transformers", "5")).startswith("4.") else "easyedit"


def _cases() -> list[Case]:
    cases = []
    for folder in sorted(ROOT.iterdir()) if ROOT.is_dir() else []:
        if (folder / "expected.safetensors").exists():
            meta = _json(folder / "meta.json") if (folder / "meta.json").exists() else {}
            hparams = _json(folder / "hparams.json")
            expected = folder / "expected.safetensors"
            cases.append(Case(folder.name, folder.name, expected, hparams, _reference(meta), None))
            continue
        for expected in sorted(folder.glob("expected.*.*.safetensors")):
            meta = _json(expected.with_name("meta" + expected.stem.removeprefix("expected") + ".json"))
            _, variant, reference, _ = expected.name.split(".")
            name = f"{folder.name}/{variant}"
            cases.append(Case(name, folder.name, expected, meta["hparams"], reference, meta["request"]))
    return cases


CASES = _cases()


def edit_of(request: dict[str, Any]) -> Edit:
    prompt = request.get("prompt_template") or request["prompt"]
    return Edit(prompt, request["subject"], request["target_new"], request.get("ground_truth", ""))


def contexts_of(method: str) -> list[list[str]]:
    """The file's groups for a method; a flat list is one group, and methods without an entry use MEMIT's."""
    given = _json(MODELS / "contexts.json")
    groups = given.get(method, given["memit"])
    return [groups] if isinstance(groups[0], str) else groups


def adapted(case: Case) -> dict[str, Any]:
    """Hyperparameters that say in our words what a reference says by its module paths.

    PMET's `rewrite_module_tmps` are paths of the matrices written.
    """
    if "rewrite_module_tmps" not in case.hparams:
        return {}
    parts = [
        "attention" if "attn" in path or "attention" in path else "mlp" for path in case.hparams["rewrite_module_tmps"]
    ]
    return {"rewrite": parts}


def projections_of(case: Case) -> list[Tensor]:
    """AlphaEdit's projections [f, f] of each layer, where the case gives them (`P` of its inputs)."""
    inputs = case.expected.with_name("inputs.safetensors")
    return list(load_file(inputs).get("P", [])) if case.method == "alphaedit" and inputs.exists() else []


def _token_asked_for(tokenizer: PreTrainedTokenizerBase, text: str, span: Span, which: str) -> int:
    """Index of the token of `text` that the fact token names, from the subject's span in characters."""
    spans, (start, end) = tokenizer(text, return_offsets_mapping=True)["offset_mapping"], span
    covers = [index for index, (left, right) in enumerate(spans) if left < end and right > start]
    if which == "subject_first":  # a token of its own for the space before the subject counts as its first
        lone_space = text[:start].endswith(" ") and (start - 1, start) in {tuple(span) for span in spans}
        return covers[0] - lone_space
    return min(covers[-1] + (which == "subject_first_after_last"), len(spans) - 1)


def _token_read(tokenizer: PreTrainedTokenizerBase, text: str, span: Span, which: str, by: str) -> int:
    """Index of the token of `text` that a reference reads, by its own arithmetic."""
    before, subject, after = text[: span[0]], text[slice(*span)], text[span[1] :]

    def count(part: str) -> int:
        return len(tokenizer(part)["input_ids"])

    if by == "official" and before:
        before, subject = before.removesuffix(" "), " " + subject
    last = (count(before) + count(subject) if by == "official" else count(before + subject)) - 1
    if which == "subject_first":
        return count(before) if by == "official" else count(before) % count(text)
    return last + (which == "subject_first_after_last" and after != "")


def _arithmetic(case: Case) -> str:
    """Whose arithmetic a reference counts tokens by: the authors of AlphaEdit and EMMET took EasyEdit's."""
    return "easyedit" if case.method in {"alphaedit", "emmet"} else case.reference


def misread(case: Case, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why the reference's numbers rest on a wrong token, if they do."""
    which = case.hparams.get("fact_token", "subject_last")
    if which == "last":
        return "for fact_token 'last' the references read index -1 of padded rows, which is padding"
    requests = [request for run in case.runs() for _, together in run for request in together]
    templates = [template for group in contexts_of(case.method or "") for template in group]
    for edit, template in product(map(edit_of, requests), templates):
        place = template.replace("{}", edit.prompt)
        start, text = place.index("{}"), place.replace("{}", edit.about)
        span = (start, start + len(edit.about))
        right = _token_asked_for(tokenizer, text, span, which)
        read = _token_read(tokenizer, text, span, which, _arithmetic(case))
        if read != right:
            return f"the {case.reference} reference reads token {read} of {text!r}; {which} is token {right}"
    return None


def load_model(name: str, attention: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A tiny model in float32, with transformers' default attention unless one is named, and its tokenizer."""
    return (
        AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32, attn_implementation=attention),
        AutoTokenizer.from_pretrained(MODELS / name),
    )


class Tape:
    """Records what an editor hands out, by name, and joins repeated entries in order."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Tensor]] = defaultdict(list)

    def __call__(self, name: str, value: Tensor) -> None:
        """Take one entry."""
        self.entries[name].append(value)

    def joined(self) -> dict[str, Tensor]:
        """All entries by name; repeated ones stacked."""
        return {name: torch.stack(many) if len(many) > 1 else many[0] for name, many in self.entries.items()}


def probes_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Logits of the edited model on each probe text alone: of its last token, and of all."""
    with torch.no_grad():
        texts = [tokenizer(text, return_tensors="pt").input_ids for text in _json(MODELS / "probes.json")]
        logits = [model(input_ids=ids).logits[0] for ids in texts]
    return {
        "probe_last_logits": torch.stack([each[-1] for each in logits]),
        "probe_full_logits": torch.cat(logits),
    }


def relative(got: Tensor, wanted: Tensor) -> float:
    if got.shape != wanted.shape:
        got = got.reshape(wanted.shape) if got.numel() == wanted.numel() else got[:0]
    if got.numel() == wanted.numel() == 0:
        return 0.0
    difference = float((got.double() - wanted.double()).norm()) if got.numel() else float("inf")
    return difference / max(float(wanted.double().norm()), 1e-30)


def _find(got: dict[str, Tensor], key: str) -> Tensor | None:
    """The recorded tensor of a key; where only one matrix is edited its name may be missing from the key."""
    longer = [name for name in got if name.startswith(key + ".")]
    if key in got:
        return got[key]
    return got[longer[0]] if len(longer) == 1 else None


def errors(editor: Editor, base: dict[str, Tensor], wanted: dict[str, Tensor], tape: Tape) -> dict[str, float]:
    """Relative error of each expected tensor after a step; infinite for one that was not produced."""
    weights = {f"weight.{name}": value.detach() for name, value in editor.model.named_parameters()}
    got = tape.joined() | weights | probes_of(editor.model, editor.tokenizer)
    errors = {}
    for key, value in wanted.items():
        found = _find(got, key)
        if found is None:
            empty = value.numel() == 0
            errors[key] = 0.0 if empty else float("inf")
            continue
        errors[key] = relative(found, value)
        if key in weights:  # the change too: on a small edit the weight itself would hide it
            old = base[key.removeprefix("weight.")]
            rounding = torch.finfo(value.dtype).eps * float(old.norm() / (value - old).norm().clamp_min(1e-30))
            errors[f"{key} (change)"] = max(0.0, relative(found - old, value - old) - rounding)
    return errors
