"""The rule that a method leaves the tokenizer alone: all models and methods of a run share one.

Another padding side, a longer vocabulary or another template changes what every later model is asked, without a sign.
"""

from __future__ import annotations

import json
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from editgate.errors import BaselineModified
from editgate.measure.trajectory import Trajectory

SETTINGS = ("padding_side", "truncation_side", "model_max_length", "chat_template", "special_tokens_map")
PER_CALL = ("padding", "truncation")  # left behind by each call that pads or cuts, and set anew by the next


def the_tokenizer_stays_as_it_is(run: Trajectory) -> None:
    """After an edit the tokenizer is the one in the model's files; a padding token may be named where there was none.

    Raises:
        BaselineModified: it is not; names what differs.
    """
    edit = run.edits[0]
    run.fresh_editor().apply_many(run.edits[: run.spec.rule_size])
    pristine = AutoTokenizer.from_pretrained(run.base.source.location, trust_remote_code=False)
    before, now = _described(pristine), _described(run.base.tokenizer)
    if before["special_tokens_map"].get("pad_token") is None:
        now["special_tokens_map"].pop("pad_token", None)
    changed = [name for name in before if before[name] != now[name]]
    if not changed:
        return
    if more := sorted(set(run.base.tokenizer.get_vocab()) - set(pristine.get_vocab())):
        what = f"{len(more)} more tokens, first {more[0]!r}"
    elif changed[0] in SETTINGS:
        what = f"{changed[0]} {_short(now[changed[0]])} instead of {_short(before[changed[0]])}"
    else:
        what = f"another {changed[0]}"
    raise BaselineModified(
        f"{run.name}: after the edit {edit.text!r} -> {edit.target_new!r} the tokenizer that all models and methods "
        f"share has {what}. Work on a copy: tokenizer = copy.deepcopy(tokenizer)."
    )


def _described(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    parts = {name: value for name, value in backend.items() if name not in PER_CALL}
    own = {name: getattr(tokenizer, name, None) for name in SETTINGS}
    own["special_tokens_map"] = dict(tokenizer.special_tokens_map)
    return {**own, **parts}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
