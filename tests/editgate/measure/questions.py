"""What models are asked in one run: each benchmark is prepared once, and only if something of it must be asked.

The keys of answers hold a digest of the questions. Where the store remembers it, they stay unread.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from editgate import importing
from editgate.cache.store import Store, form_of
from editgate.errors import StoreError
from editgate.inputs.benchmarks import Benchmark
from editgate.inputs.documents import LocalDocuments
from editgate.inputs.files import model_files
from editgate.inputs.harness.index import digest_of_registered
from editgate.inputs.models import ModelSource, folder_of
from editgate.inputs.unedited_model import UneditedModel
from editgate.measure import remembered
from editgate.measure.time_spent import spending
from editgate.measure.tried_once import TriedOnce
from editgate.options.settings import Settings

if TYPE_CHECKING:
    from editgate.measure.prepare import Prepared

Block = tuple[int, int]  # how many items were asked before, and after it
Name = tuple[str, str, Block | None]  # a tokenizer's digest, a benchmark, and a part of it


def questions_key(
    source: ModelSource, benchmark: Benchmark, tokenizer: str, *, after: int, limit: int | None
) -> str | None:
    """Return what a model is asked depends on, or None if that cannot be told from files.

    Args:
        source: of the model; its files say what a turn of a chat looks like, which is in no tokenizer.
        benchmark: whose questions they are.
        tokenizer: its digest.
        after: how many were asked before.
        limit: how many may be asked with those.
    """
    folder, documents = folder_of(source), source.documents_of(benchmark)
    if folder is None or benchmark.added or not isinstance(documents, LocalDocuments):
        return None
    return Store.key(
        benchmark=benchmark.name,
        task=digest_of_registered(benchmark.folder),
        documents=documents.digest(benchmark),
        files=model_files.digest(folder, weights=False),
        tokenizer=tokenizer,
        after=after,
        limit=limit,
        **remembered.code_and_libraries(),
    )


class Questions:
    """One process's access to what is asked.

    Args:
        settings: benchmarks, the limit of items and the store.
        tried: what failed before in this run.
    """

    def __init__(self, settings: Settings, tried: TriedOnce) -> None:
        self._settings, self._tried = settings, tried
        self._prepared: dict[Name, Prepared] = {}
        self._digests: dict[Name, str] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def digest(self, base: UneditedModel, benchmark: str, block: Block | None) -> str:
        """Return the digest of what a model is asked; it is prepared for that only if the store does not know it."""
        name = (base.identity["tokenizer"], benchmark, block)
        if name not in self._digests:
            row, (after, limit) = self._settings.benchmarks[benchmark], block or (0, self._settings.limit)
            key = questions_key(base.source, row, name[0], after=after, limit=limit)
            compute = partial(self._digest_of_prepared, base, benchmark, block)
            self._digests[name] = remembered.remember(self._settings.store, "questions", key, compute, form_of(str))
        return self._digests[name]

    def _digest_of_prepared(self, base: UneditedModel, benchmark: str, block: Block | None) -> str:
        return self.prepared(base, benchmark, block).digest

    def prepared(self, base: UneditedModel, benchmark: str, block: Block | None = None) -> Prepared:
        """Return what a model is asked, tokenized once.

        Raises:
            StoreError: it is not what the same files gave before.
        """
        name = (base.identity["tokenizer"], benchmark, block)
        if name not in self._prepared:
            with spending("reading questions"), self._tried.trying(("documents", name[0], benchmark)):
                found = self._prepare(base, benchmark, block)
                if found.digest != self._digests.get(name, found.digest):
                    raise StoreError(
                        f"{benchmark}: the same files gave other questions before, or the store's folder questions/ is "
                        "damaged. Remove that folder."
                    )
            self._prepared[name] = found
        return self._prepared[name]

    def _prepare(self, base: UneditedModel, benchmark: str, block: Block | None) -> Prepared:
        importing.what_measures()
        from editgate.measure.prepare import prepare  # noqa: PLC0415 - see `importing`
        from editgate.measure.probes import prepare_probe  # noqa: PLC0415 - as above

        row, (after, limit) = self._settings.benchmarks[benchmark], block or (0, self._settings.limit)
        if row.probe:
            return prepare_probe(row, base.tokenizer, limit)
        return prepare(row, base.source.documents_of(row), base.tokenizer, limit, after=after)

    def count(self, source: ModelSource, benchmark: str) -> int:
        """Return how many items are asked at most in blocks: those of `--limit`, else all and the reserve."""
        if (source.name, benchmark) not in self._counts:
            importing.what_measures()
            from editgate.measure.prepare import count  # noqa: PLC0415 - see `importing`

            row = self._settings.benchmarks[benchmark]
            with self._tried.trying(("number of documents", source.name, benchmark)):
                limit = sys.maxsize if self._settings.limit is None else self._settings.limit
                self._counts[source.name, benchmark] = count(row, source.documents_of(row), limit)
        return self._counts[source.name, benchmark]

    def let_go(self) -> None:
        """Forget what was prepared, with its tokenizers."""
        self._prepared = {}
