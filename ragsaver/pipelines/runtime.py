"""Everything one process needs, opened once and closed in order: index, model, manifest, pipelines."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.components.favourites import Outlined
from ragsaver.components.resources import Resources, reader, resources_on
from ragsaver.index.manifest_place import manifest_place
from ragsaver.index.ownership import Ownership
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion.built_by import note, settings_in_use
from ragsaver.ingestion.cutting import cutters
from ragsaver.ingestion.guard import GuardedPool
from ragsaver.ingestion.half import take_ready
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.lifecycle import Lifecycle
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.outlines import render
from ragsaver.ingestion.outlining import outline_report
from ragsaver.ingestion.preparing import Prepared, Raw
from ragsaver.ingestion.replaced import remove_when_due
from ragsaver.ingestion.report import OutlineReport
from ragsaver.ingestion.summarising import Summaries, open_summaries
from ragsaver.ingestion.writers import Writers, open_writers
from ragsaver.models.batching import BatchObserver
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings

if TYPE_CHECKING:
    from ragsaver.pipelines.engine import QueryEngine


class Runtime:
    """What a command, a server or a worker works with. Made by `open_runtime`."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._engines: dict[str, QueryEngine] = {}
        self._loading = threading.Lock()
        resources.uses.write_to(
            lambda used_at: self.manifest.uses.note(used_at), resources.settings.lifecycle.note_uses_every_s
        )
        resources.caches.hold_against(_ManifestTruth(self))
        resources.favourites.read_from(self._outlines)

    @classmethod
    def open(cls, settings: Settings, role: str, on_batch: BatchObserver | None = None) -> "Runtime":
        """Own the index under `settings.home`; the caller closes the runtime, then releases its `ownership`.

        A new half that is ready is taken first. While one is built, the old one is opened as it was before. Of an index
        that all share, the half in use is opened: who built it has put it in place.

        :param on_batch: told of each batch of documents that is embedded.
        """
        encoder = load_encoder(settings.embedding, on_batch)
        ownership = Ownership.of(settings.home, role, shared=settings.index.shared)
        try:
            if settings.index.shared:
                remove_when_due(settings)
                store = current_store(settings.home)
            else:
                store = take_ready(settings, encoder)
            in_use = settings_in_use(settings, encoder)
            if in_use != settings:
                encoder = load_encoder(in_use.embedding, on_batch)
            return cls.on(store, in_use, encoder, ownership)
        except BaseException:
            ownership.release()
            raise

    @classmethod
    def on(cls, store: Path, settings: Settings, encoder: Encoder, ownership: Ownership) -> "Runtime":
        """Open what is in a store's folder; this process owns its home.

        :raises ModelMismatch: if another model built it.
        """
        resources = resources_on(store, settings, encoder, ownership)
        note(store, settings)
        return cls(resources)

    @property
    def settings(self) -> Settings:
        """The settings it was opened with."""
        return self.resources.settings

    @property
    def index(self) -> VectorIndex:
        """The index this process owns."""
        return self.resources.index

    @property
    def encoder(self) -> Encoder:
        """The embedding model."""
        return self.resources.encoder

    @property
    def ownership(self) -> Ownership:
        """The right to the index."""
        return self.resources.ownership

    @cached_property
    def manifest(self) -> Manifest:
        """What was ingested."""
        return Manifest(self.resources.manifest_at or manifest_place(self.settings, self.resources.store))

    @property
    def embeddings(self) -> EmbeddingCache:
        """What was embedded before."""
        return self.resources.embeddings.cache

    @cached_property
    def preparing(self) -> GuardedPool[Raw, Prepared]:
        """Guarded processes that cut documents; they start with the first one."""
        return cutters(self.settings.ingestion)

    @cached_property
    def summaries(self) -> Summaries | None:
        """What sections say, in the words of `outline.summary_model`; None if there is none."""
        if self.settings.outline.summary_model is None:
            return None
        from ragsaver.pipelines.summariser import ChatSummariser

        count = self.encoder.count_tokens
        return open_summaries(self.settings, ChatSummariser(self.settings, count, self.resources.till))

    @cached_property
    def ingestor(self) -> Ingestor:
        """The way in for documents."""
        return Ingestor(
            self.settings,
            self.index,
            self.encoder,
            self.manifest,
            self.embeddings,
            self.preparing,
            summaries=self.summaries,
            writers=self.writers,
        )

    @cached_property
    def writers(self) -> Writers:
        """Who keeps others from changing a tenant's documents meanwhile."""
        resources = self.resources
        return open_writers(self.settings, resources.store, resources.manifest_at, resources.ownership.still)

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """What is done with documents that are in."""
        return Lifecycle(self.settings, self.manifest, self.ingestor, self.encoder.dim)

    def prepare(self) -> None:
        """Open what is opened at its first use, before several threads may be the first."""
        self.engine().pipeline.warm_up()
        self.encoder.encode(["warm"], query=True)
        _ = self.lifecycle

    def scope(self, collection: str | None = None, tenant: str | None = None) -> Scope:
        """All of the tenant and collection that a caller means: for who is trusted, never for a question."""
        return Scope(tenant or self.settings.tenant, collection or self.settings.collection)

    def reading(self, collection: str | None = None) -> Scope:
        """What a question to that collection may see."""
        return reader(self.settings, collection)

    def engine(self, pipeline: str | None = None) -> "QueryEngine":
        """The engine of a pipeline, loaded at its first use and kept; Haystack is imported with the first one."""
        from ragsaver.pipelines.engine import QueryEngine

        name = pipeline or self.settings.query.pipeline
        with self._loading:
            if name not in self._engines:
                self._engines[name] = QueryEngine(self.resources, name)
            return self._engines[name]

    def outline(self, source: str, collection: str | None, budget_tokens: int | None) -> OutlineReport:
        """A document's outline, for who may read it.

        :param budget_tokens: of it as text; `outline.budget_tokens` if None.
        :raises UsageError: if there is none.
        """
        budget = self.settings.outline.budget_tokens if budget_tokens is None else budget_tokens
        return outline_report(self.manifest, self.reading(collection), source, budget, self.encoder.count_tokens)

    def _outlines(self, scope: Scope, document_ids: Sequence[str], max_tokens: int) -> list[Outlined]:
        """Outlines of those of the documents that the reader may read."""
        found: list[Outlined] = []
        for document_id, outline in self.manifest.outlines(document_ids).items():
            points = tuple(point for line in outline.lines for point in line.chunk_ids)
            payload = next(iter(self.index.payloads(scope, points[:1]).values()), None)
            if payload is not None:
                text = render(outline, max_tokens, lambda some: self.encoder.count_tokens([some])[0])
                found.append(Outlined(document_id, str(payload["source"]), text, points))
        return found

    def close(self) -> None:
        """Close what was opened; the right to the index stays with this process."""
        self.resources.uses.close()
        for opened in ("ingestor", "preparing", "summaries", "manifest", "writers"):
            if self.__dict__.get(opened) is not None:
                self.__dict__[opened].close()
        self.resources.close()


class _ManifestTruth:
    """What caches are held against: the manifest, opened when it is first asked."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def mark(self, scope: Scope) -> str:
        """Differs after every change of the collection."""
        return self._runtime.manifest.changes.mark(scope)

    def versions(self, scope: Scope, document_ids: Sequence[str]) -> dict[str, str]:
        """What differs whenever a document does, of those that are in."""
        return self._runtime.manifest.versions(scope, document_ids)


@contextmanager
def open_runtime(settings: Settings, role: str, on_batch: BatchObserver | None = None) -> Iterator[Runtime]:
    """Own the index under `settings.home` for the code inside.

    :param role: what this process does, for the errors of others: `ragsaver ingest`.
    :param on_batch: told of each batch of documents that is embedded.
    :raises IndexLocked: if another process owns it.
    :raises ModelMismatch: if another model built it.
    """
    runtime = Runtime.open(settings, role, on_batch)
    try:
        yield runtime
    finally:
        runtime.close()
        runtime.ownership.release()
