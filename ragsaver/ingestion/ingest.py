"""Bring documents in, and pay only for what changed.

Each document passes the gates (`gates`), what is left of it becomes a change (`planning`), and changes are applied
in batches (`applying`). A stop anywhere is mended by the next run.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import Applier, Embedded, Paid, Step
from ragsaver.ingestion.estimating import MILLION
from ragsaver.ingestion.gates import Gates, Preparing, printable
from ragsaver.ingestion.identity import IdentifiedChunk
from ragsaver.ingestion.manifest import DocumentRecord, Manifest, now
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.planner import Planner, require_affordable
from ragsaver.ingestion.planning import Change, batches, original_of
from ragsaver.ingestion.preparing import Prepared, Raw, prepare, recipe_of
from ragsaver.ingestion.quota import admitted
from ragsaver.ingestion.report import (
    ChunkCounts,
    DocumentCounts,
    EmbeddingSpend,
    ExpiredDocument,
    IngestReport,
    PlanReport,
    Progress,
)
from ragsaver.ingestion.rereading import item_again
from ragsaver.ingestion.retention import Expiry, expiries
from ragsaver.ingestion.sources import PostedDocument, SourceItem, list_sources, location_of
from ragsaver.ingestion.standing import standings, vector_bytes
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings
from ragsaver.spend.receipt import OpenReceipt, Receipt

# Tokens from which a run says more reliably than a few texts how fast this machine embeds.
_PACE_TOKENS = 5000


@dataclass(slots=True)
class _Tally:
    """What became of the changes."""

    added: int = 0
    changed: int = 0
    deleted: int = 0
    total: int = 0
    dropped: int = 0
    expired: list[Expiry] = field(default_factory=list)
    paid: Paid = field(default_factory=Paid)

    def add(self, embedded: Embedded) -> None:
        """Count a batch."""
        self.paid += embedded.paid
        for change in embedded.batch:
            self.added += change.old is None
            self.changed += change.old is not None
            self.total += len(change.chunks)
            self.dropped += len(change.dropped)


class _Writing:
    """A thread that writes one batch while the next is read, cut and embedded. Leaving it waits for the last one."""

    def __init__(self, applier: Applier, scope: Scope) -> None:
        self._applier = applier
        self._scope = scope
        self._thread = ThreadPoolExecutor(1, "writing")
        self._last: Future[None] | None = None

    def put(self, embedded: Embedded) -> None:
        """Write a batch once the one before is written; what went wrong with that one is raised here."""
        self._wait()
        self._last = self._thread.submit(self._applier.write, self._scope, embedded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last:
            last.result()


class InProcess:
    """Cuts documents in this process."""

    def map(self, tasks: Iterable[tuple[str, Raw]]) -> Iterator[tuple[str, Prepared | UnreadableDocument]]:
        """One after the other."""
        for source, raw in tasks:
            try:
                yield source, prepare(raw)
            except UnreadableDocument as error:
                yield source, error


class Ingestor:
    """The way in for documents. One run at a time: the caller owns the index.

    :param preparing: where documents are cut; in this process if None.
    :param fault: called with each step of the protocol once it is done; tests stop the run there.
    """

    def __init__(
        self,
        settings: Settings,
        index: VectorIndex,
        encoder: Encoder,
        manifest: Manifest,
        cache: EmbeddingCache,
        preparing: Preparing | None = None,
        fault: Callable[[Step], None] = lambda step: None,
    ) -> None:
        self._settings = settings
        self._index = index
        self._manifest = manifest
        self._encoder = encoder
        self._cache = cache
        self._preparing = preparing or InProcess()
        self._one_at_a_time = threading.RLock()
        self._applier = Applier(
            index,
            encoder,
            manifest,
            cache,
            shared_by_tenants=settings.embedding_cache.shared_by_tenants,
            fault=fault,
        )
        self.recipe = recipe_of(settings, encoder.fingerprint)

    def ingest(
        self, order: IngestOrder, scope: Scope, *, progress: Callable[[Progress], None] | None = None
    ) -> IngestReport:
        """Ingest files, folders, objects and pages.

        :param progress: called as it goes; what it raises stops the run, and the next one completes it.
        :raises UsageError: if a path is not there or holds nothing to read.
        :raises TooExpensive: if it would cost more than `order.max_cost_usd`; nothing is spent then.
        :raises StorageError: if the disk is full; what went in stays.
        """
        started = time.perf_counter()
        if order.max_cost_usd is not None:
            require_affordable(self.plan(order, scope), order.max_cost_usd)
        items = self._items(order)
        known = self._manifest.documents(scope)
        gone = gone_from(known, items, order) if order.prune else []
        return self._run(items, known, scope, progress, gone=gone, checksum=order.checksum, started=started)

    def plan(self, order: IngestOrder, scope: Scope) -> PlanReport:
        """What `ingest` would do with the same order; index and manifest stay as they are.

        Where this machine has not yet shown how fast it embeds, and embedding costs nothing, a few of the texts are
        embedded and kept for later.
        """
        items = self._items(order)
        gone = gone_from(self._manifest.documents(scope), items, order) if order.prune else []
        return self.plan_items(items, scope, gone=gone, checksum=order.checksum)

    def plan_items(
        self,
        items: Sequence[SourceItem],
        scope: Scope,
        *,
        gone: Sequence[DocumentRecord] = (),
        checksum: bool = False,
    ) -> PlanReport:
        """What `ingest_items` would do."""
        known = self._applier.outliner.to_do(scope, self._manifest.documents(scope))
        planner = Planner(self._settings, self._encoder, self._manifest, self._cache, self._preparing)
        with self._one_at_a_time:
            return planner.plan(
                items, known, scope, gone=gone, checksum=checksum, pace=lambda sample: self._pace(scope, sample)
            )

    def _pace(self, scope: Scope, sample: Sequence[IdentifiedChunk]) -> float | None:
        known = self._manifest.pace(self.recipe.model)
        free = self._settings.spend.embedding_per_mtok == 0
        return self._applier.measure(scope, sample) if known is None and free else known

    def ingest_texts(
        self,
        documents: Sequence[PostedDocument],
        scope: Scope,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Ingest documents given as text.

        :param progress: as for `ingest`.
        :raises UsageError: if a source is empty or named twice.
        """
        started = time.perf_counter()
        sources = [document.source for document in documents]
        if not all(source.strip() for source in sources) or len(set(sources)) < len(sources):
            raise UsageError("each document needs a source of its own", where="documents")
        items = [document.item() for document in documents]
        return self._run(items, self._manifest.documents(scope), scope, progress, started=started)

    def ingest_again(self, records: Sequence[DocumentRecord], scope: Scope) -> IngestReport:
        """Ingest documents from where they came from, or from the text that was posted; those that are nowhere any
        more stay as they are.
        """
        items = [item for record in records if (item := item_again(record, self._manifest, self._settings))]
        return self.ingest_items(items, scope)

    def ingest_items(
        self,
        items: Sequence[SourceItem],
        scope: Scope,
        *,
        gone: Sequence[DocumentRecord] = (),
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Ingest documents that were listed already.

        :param gone: documents that go.
        :param progress: as for `ingest`.
        """
        started = time.perf_counter()
        return self._run(items, self._manifest.documents(scope), scope, progress, gone=gone, started=started)

    def forget(
        self, scope: Scope, choose: Callable[[Mapping[str, DocumentRecord]], Sequence[DocumentRecord]]
    ) -> list[DocumentRecord]:
        """Remove the documents that `choose` takes of those that are there, by source; no run comes in between."""
        with self._one_at_a_time:
            self._applier.recover(scope)
            gone = list(choose(self._manifest.documents(scope)))
            self._applier.forget(scope, gone)
            self._index.flush()
        return gone

    def expire(self, scope: Scope, *, dry_run: bool = False) -> list[Expiry]:
        """Remove what the collection's retention does not keep; with `dry_run` only say what that is."""
        rule = self._settings.lifecycle.retention.get(scope.collection)
        if rule is None:
            return []
        with self._one_at_a_time:
            going = expiries(standings(self._manifest, scope, self._encoder.dim), rule, now())
            if not dry_run:
                self.forget(scope, lambda _: [expiry.document.record for expiry in going])
        return going

    def recover(self, scope: Scope) -> None:
        """Finish, or undo, what a stop left half done."""
        self._applier.recover(scope)

    def _items(self, order: IngestOrder) -> list[SourceItem]:
        return list(
            list_sources(
                order.paths,
                home=self._settings.home,
                cwd=order.cwd.resolve(),
                include=order.include,
                exclude=order.exclude,
                settings=self._settings.sources,
                max_bytes=self._settings.ingestion.max_file_mb * 2**20,
            )
        )

    def _run(
        self,
        items: Sequence[SourceItem],
        known: Mapping[str, DocumentRecord],
        scope: Scope,
        progress: Callable[[Progress], None] | None,
        *,
        started: float,
        gone: Sequence[DocumentRecord] = (),
        checksum: bool = False,
    ) -> IngestReport:
        with self._one_at_a_time:
            gates, tally = self._bring_in(items, known, scope, progress, gone, checksum)
        price = self._settings.spend.embedding_per_mtok
        return _report(gates, tally, price, time.perf_counter() - started)

    def _bring_in(
        self,
        items: Sequence[SourceItem],
        known: Mapping[str, DocumentRecord],
        scope: Scope,
        progress: Callable[[Progress], None] | None,
        gone: Sequence[DocumentRecord],
        checksum: bool,
    ) -> tuple[Gates, _Tally]:
        self._applier.recover(scope)
        tally = _Tally()
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(Progress(done=done, total=len(items), embedded=tally.paid.embedded))

        known = self._applier.outliner.to_do(scope, known)
        gates = Gates(scope, known, self.recipe, self._preparing, checksum=checksum, step=step)
        posted = {item.source: item for item in items if item.location is None}
        changes = self._admitted(gates, items, scope, gone)
        with _Writing(self._applier, scope) as writing:
            for batch in batches(changes, self._settings.ingestion.batch_chunks):
                originals = [original_of(change, posted.get(change.record.source)) for change in batch]
                self._manifest.originals.keep(scope, originals)
                embedded = self._applier.embed(scope, batch)
                writing.put(embedded)
                tally.add(embedded)
                if progress:
                    progress(Progress(done=done, total=len(items), embedded=tally.paid.embedded))
        self._manifest.commit(scope, gates.seen.touched)
        for record in gates.seen.touched:
            if record.source in posted:
                self._manifest.originals.add_text(record.id, record.generation, posted[record.source])
        if tally.paid.embedded_tokens >= _PACE_TOKENS:
            self._manifest.note_pace(self.recipe.model, tally.paid.embedded_tokens / tally.paid.embedded_s)
        self._applier.forget(scope, gone)
        tally.deleted = len(gone)
        tally.dropped += sum(len(record.chunks) for record in gone)
        tally.expired = self.expire(scope)
        self._index.flush()
        return gates, tally

    def _admitted(
        self, gates: Gates, items: Sequence[SourceItem], scope: Scope, gone: Sequence[DocumentRecord]
    ) -> Iterator[Change]:
        """The changes that the tenant's quota allows; the others are noted as failed, and nothing of them goes in."""
        limits, dim = self._settings.lifecycle.quota, self._encoder.dim
        return admitted(gates.changes(items), gates.seen, limits, self._manifest, scope, gone, vector_bytes(1, dim))


def gone_from(
    known: Mapping[str, DocumentRecord], items: Sequence[SourceItem], order: IngestOrder
) -> list[DocumentRecord]:
    """Documents that were under the paths and are not found there any more."""
    present = {item.source for item in items}
    roots = [location_of(path, order.cwd.resolve()) for path in order.paths]
    return [
        record
        for record in known.values()
        if record.location
        and record.source not in present
        and any(record.location == root or record.location.startswith(root.rstrip("/") + "/") for root in roots)
    ]


def _receipt(paid: Paid, usd_per_mtok: Decimal) -> Receipt:
    """What embedding cost, and what the cache saved; the baseline embeds every text again."""
    receipt = OpenReceipt()
    cost, saved = (tokens * usd_per_mtok / MILLION for tokens in (paid.embedded_tokens, paid.cached_tokens))
    if paid.embedded:
        receipt.add("embed", "texts embedded", paid.embedded_tokens, "tokens", cost_usd=cost)
    if paid.cached:
        receipt.add(
            "embed",
            "embedding cache",
            paid.cached_tokens,
            "tokens",
            saved_usd=saved,
            reason=f"{paid.cached} texts were embedded before",
        )
    return receipt.close()


def _report(gates: Gates, tally: _Tally, usd_per_mtok: Decimal, seconds: float) -> IngestReport:
    seen, paid = gates.seen, tally.paid
    receipt = _receipt(paid, usd_per_mtok)
    total = seen.unchanged_chunks + tally.total
    return IngestReport(
        documents=DocumentCounts(
            seen=seen.documents,
            added=tally.added,
            changed=tally.changed,
            unchanged=seen.unchanged,
            deleted=tally.deleted + len(tally.expired),
            failed=len(seen.errors),
        ),
        chunks=ChunkCounts(
            total=total,
            embedded=paid.embedded,
            reused=tally.total - paid.embedded,
            deleted=tally.dropped + sum(len(expiry.document.record.chunks) for expiry in tally.expired),
        ),
        embedding=EmbeddingSpend(tokens=paid.embedded_tokens, cost_usd=receipt.cost_usd),
        seconds=round(seconds, 3),
        errors=tuple(seen.errors),
        expired=tuple(
            ExpiredDocument(source=printable(expiry.document.record.source), reason=expiry.reason)
            for expiry in tally.expired
        ),
        receipt=receipt,
    )
