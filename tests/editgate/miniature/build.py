"""Writes the benchmarks' documents and the edits as files: `python -m editgate.miniature.build`.

The files are committed, so that a person can read what is asked; a test checks that building again changes nothing.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from editgate.inputs.benchmarks import RESERVE
from editgate.miniature.world import documents, edits, requests

HERE = Path(__file__).parent
SPLITS = {
    "mmlu": "test",
    "bbh": "test",
    "gsm8k": "test",
    "toxigen": "test",
    "commonsense_qa": "validation",
    "triviaqa": "validation",
    "truthfulqa_mc1": "validation",
    "requests/harmful": "test",
    "requests/harmless": "test",
}


def build(root: Path = HERE) -> None:
    """Write `documents/<benchmark>[/<subset>]/<split>.jsonl` and `edits/<form>.json` below `root`."""
    for benchmark, subsets in {**documents.test_documents(), **requests.held_out()}.items():
        for subset, rows in subsets.items():
            _write_lines(root / "documents" / benchmark / subset / f"{SPLITS[benchmark]}.jsonl", rows)
    for benchmark, subsets in documents.reserve_documents().items():
        for subset, rows in subsets.items():
            _write_lines(root / "documents" / benchmark / subset / f"{RESERVE}.jsonl", rows)
    for form, records in (("counterfact", edits.counterfact()), ("zsre", edits.zsre())):
        file = root / "edits" / f"{form}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def _write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    build()
