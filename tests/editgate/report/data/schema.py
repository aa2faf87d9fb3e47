"""The schemas of `report.json` and `items.jsonl`: `python -m editgate.report.data.schema DIR` writes them there.

They are generated from the models that write and read the files, so that both always say the same. The shipped ones lie
beside this module; a test compares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from editgate.report.data.items import FlippedItem
from editgate.report.run_report import RunReport

SHIPPED = Path(__file__).parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[str, type[BaseModel]] = {"report.schema.json": RunReport, "items.schema.json": FlippedItem}
NO_NUMBER = ["NaN", "Infinity", "-Infinity"]  # JSON has no signs for them


class _Generator(GenerateJsonSchema):
    """Numbers that are none are written as words."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """Allow the words."""
        return {"anyOf": [super().float_schema(schema), {"enum": NO_NUMBER}]}


def schemas() -> dict[str, str]:
    """Return each schema's text by its file's name; `items.schema.json` is that of one line."""
    return {name: json.dumps(_schema(model), indent=1, ensure_ascii=False) + "\n" for name, model in MODELS.items()}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema(schema_generator=_Generator)}


def main(arguments: Sequence[str]) -> int:
    """Write the schemas into the one folder that is named; without a name, the shipped ones."""
    folder = Path(arguments[0]) if arguments else SHIPPED
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
