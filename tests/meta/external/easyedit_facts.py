"""What the adapter for EasyEdit rests on, on record from the real package and read off an importable one.

    python -m meta.external.easyedit_facts COMMIT > tests/meta/external/easyedit_facts.toml

prints the record of the EasyEdit that is installed, whose commit a person gives.
"""

from __future__ import annotations

import inspect
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editors.external.easyedit import package

RECORD = Path(__file__).with_suffix(".toml")


def on_record() -> dict[str, Any]:
    """The facts of the real package."""
    return tomllib.loads(RECORD.read_text(encoding="utf-8"))


def observed(methods: Sequence[str]) -> dict[str, Any]:
    """The facts of the importable package about these methods.

    `padded_right` are all methods that it pads right. Of each method: the arguments of its function, the class of its
    hyperparameters, whether that has a field for the subject's token, whether its code asks `mom2_adjustment` before
    it reads second moments, whether its class keeps its memory only if `sequential_edit` is set, whether it names that
    class to `super`, whether it drops out without saying when, and whether it uses AdaLoRA without a number of steps.
    """
    return {"padded_right": sorted(package.padded_right()), "methods": {name: _of(name) for name in methods}}


def _of(name: str) -> dict[str, Any]:
    record, source = package.hyperparameter_class(name), package.source(name)
    return {
        "arguments": list(inspect.signature(package.fresh(name)).parameters),
        "hyperparameters": record.__name__,
        "fact_token": "fact_token" in vars(record).get("__annotations__", {}),
        "asks_mom2_adjustment": ".mom2_adjustment" in source,
        "asks_sequential_edit": '"sequential_edit", False' in source,
        "names_its_class_to_super": "super(" + name in source,
        "leaves_dropout_on": "lora_dropout" in source and ".train(" not in source and ".eval(" not in source,
        "adalora_without_steps": '"adalora"' in source and "total_step" not in source,
    }


def main(commit: str) -> None:
    """Print the record."""
    found = observed(package.names())
    print(f"# github.com/zjunlp/EasyEdit; python -m meta.external.easyedit_facts {commit}")
    print(f"commit = {json.dumps(commit)}\npadded_right = {json.dumps(found['padded_right'])}")
    for name, facts in found["methods"].items():
        print(f"\n[methods.{json.dumps(name)}]")
        print("\n".join(f"{key} = {json.dumps(value)}" for key, value in facts.items()))


if __name__ == "__main__":
    main(sys.argv[1])
