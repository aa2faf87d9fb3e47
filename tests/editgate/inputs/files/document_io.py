"""Reads files of benchmark documents; an error names the file, the line and the field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import ALL, Benchmark
from editgate.inputs.files.document_schemas import SCHEMAS, Row, question_alone
from editgate.inputs.files.user_files import Record, read_records, read_toml
from editgate.inputs.files.validation import sentence
from editgate.inputs.harness import specs as harness
from editgate.inputs.harness.index import registered

if TYPE_CHECKING:
    import datasets


class BenchmarkSettings(BaseModel):
    """One table of settings.toml; None is what the benchmark's row says."""

    model_config = ConfigDict(strict=True, extra="forbid")
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None


_SETTINGS = TypeAdapter(dict[str, BenchmarkSettings])


def splits(folder: Path) -> dict[str, Path]:
    """Return the .json and .jsonl files of a folder, by name without suffix: the splits."""
    return {path.stem: path for path in sorted(folder.glob("*.json*")) if path.suffix in {".json", ".jsonl"}}


def read_settings(path: Path, benchmarks: Mapping[str, Benchmark] = ALL) -> dict[str, BenchmarkSettings]:
    """Return the tables of a settings file, by benchmark; tasks of lm-eval may have one, whether asked or not.

    Raises:
        ConfigError: it is not TOML, or has a table, a key or a value that is not allowed; names them.
    """
    tables = read_toml(path)
    if unknown := sorted(name for name in set(tables) - set(benchmarks) if name not in registered()):
        raise ConfigError(
            f"{path}: {unknown[0]!r} is no benchmark; allowed are tables of {', '.join(benchmarks)}, such as [gsm8k]."
        )
    try:
        return _SETTINGS.validate_python(tables)
    except ValidationError as error:
        raise ConfigError(
            f"{path}: {sentence(error)}. Allowed are num_fewshot, a whole number of at least 0, and max_new_tokens, "
            "one of at least 1."
        ) from error


def read_rows(path: Path, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return the documents of one .jsonl or .json file.

    Raises:
        ConfigError: not JSON, not a list of objects, empty, or a document that is not the benchmark's; names the file,
            the record with its line, and the field.
    """
    rows: list[dict[str, Any]] = []
    fields = harness.fields(benchmark, path.parent.name)
    for place, value, _ in _listed(read_records(path)):
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {place}: expected a document, a JSON object.")
        try:
            _schema(benchmark).model_validate(value)
        except ValidationError as error:
            raise ConfigError(f"{path}: {place} is no document of {benchmark.name}: {sentence(error)}.") from error
        if missing := [name for name in fields if name not in value]:
            raise ConfigError(f"{path}: {place} is no document of {benchmark.name}: field {missing[0]!r} is missing.")
        rows.append(value)
    if not rows:
        raise ConfigError(f"{path}: expected a list of documents, each a JSON object, and at least one.")
    return rows


def read_dataset(path: Path, benchmark: Benchmark) -> datasets.Dataset:
    """Return the documents as lm-eval takes them.

    Raises:
        ConfigError: as `read_rows`; or a field that may be read has values of several types.
    """
    import datasets  # noqa: PLC0415 - with pandas it takes seconds to import, and collecting reads no documents

    rows = read_rows(path, benchmark)
    try:
        return datasets.Dataset.from_list(rows)
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        if benchmark.task not in SCHEMAS:
            raise ConfigError(f"{path}: the values of a field are of several types ({error}).") from error
        # A column has one type; where a field that nobody reads has several, those that nobody reads are left out.
        return datasets.Dataset.from_list([_schema(benchmark).model_validate(row).model_dump() for row in rows])


def _schema(benchmark: Benchmark) -> type[Row]:
    """Return what a document must hold; of a benchmark that nobody wrote it down for, the question alone."""
    if benchmark.added:
        return Row  # what its templates name is looked for by name
    return SCHEMAS.get(benchmark.task) or question_alone(benchmark.question)


def _listed(records: list[Record]) -> list[Record]:
    """Return the records, or those of BBH's files under `examples`."""
    only = records[0].value if len(records) == 1 else None
    if isinstance(only, dict) and set(only) == {"canary", "examples"} and isinstance(only["examples"], list):
        return [Record(f"example {n}", value) for n, value in enumerate(only["examples"])]
    return records
