"""The first stage: a document is read, passes the gates, is cut, and waits for its vectors."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.bounded import GONE
from ragsaver.ingestion.cutting import cutters
from ragsaver.ingestion.gates import STAYS_OUT, Gates
from ragsaver.ingestion.guard import GuardedPool
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.outlining import to_outline
from ragsaver.ingestion.preparing import Prepared, Raw
from ragsaver.ingestion.queued_document import QueuedDocument
from ragsaver.ingestion.sources import SourceItem, item_at
from ragsaver.ingestion.sources.listing import scheme
from ragsaver.ingestion.staging import Staged, pack
from ragsaver.ingestion.summaries import fingerprint
from ragsaver.workers.app import EMBED
from ragsaver.workers.stages import Step, Worker


class Converting:
    """Converts documents, from any number of threads; each takes a guarded process for the time of a document."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._changing = threading.Lock()
        self._most = math.inf
        self._idle: list[GuardedPool[Raw, Prepared]] = []
        self._busy = 0

    def convert(self) -> None:
        """Take the next document from `queued` on. Where none waits, as after a message too many, nothing happens."""
        worker = self._worker
        if worker.stopping.is_set():
            worker.jobs.documents.unsend(State.QUEUED, 1)
            return
        documents, holder = worker.claim(State.QUEUED, 1)
        if not documents:
            return
        (document,) = documents
        with worker.holding([holder]):
            worker.fault(Step.CONVERTING, document.source)
            try:
                self._convert(document)
            except Exception as error:
                worker.again(document, holder, State.QUEUED, error)

    def keep(self, processes: int) -> None:
        """End the guarded processes that are more than this, now or with their document."""
        with self._changing:
            self._most = processes
            surplus = self._surplus()
        _end(surplus)

    def close(self) -> None:
        """End the guarded processes."""
        with self._changing:
            idle, self._idle = self._idle, []
        _end(idle)

    def _convert(self, document: QueuedDocument) -> None:
        worker = self._worker
        record = worker.manifest.document(document.scope, document.source)
        item, refused = _remembering(self._with_latest_readers(self._item(document), document, record))
        known = {document.source: record} if record else {}
        outlines = worker.settings.outline
        summariser = fingerprint(outlines) if outlines.summary_model else None
        with self._pool() as pool:
            gates = Gates(
                document.scope,
                to_outline(worker.manifest, document.scope, known, summariser),
                worker.recipe,
                pool,
                checksum=document.checksum,
                tombstones=worker.manifest.tombstones.of(document.scope, document.source),
                rule=worker.settings.lifecycle.retention.get(document.scope.collection),
            )
            changes = list(gates.changes([item]))
        # What is not there may lie on a disk that this worker does not have: that is a failure.
        if failures := gates.seen.errors or gates.seen.vanished:
            if refused and _may_pass(document.location):
                raise refused[0]
            self._end(document, State.FAILED, failures[0].error)
        elif changes:
            self._stage(document, Staged.of(changes[0]))
        elif gates.seen.touched:
            self._stage(document, Staged.touching(gates.seen.touched[0]))
        elif gates.seen.tombstoned:
            worker.manifest.tombstones.keep(document.scope, gates.seen.reburied)
            self._end(document, State.UNCHANGED, STAYS_OUT)
        else:
            self._end(document, State.UNCHANGED)

    def _stage(self, document: QueuedDocument, staged: Staged) -> None:
        """Keep what was found; where cache or index has every text's vector, there is no second stage."""
        worker = self._worker
        if document.text is not None:
            # A text is as old as its job: of two, the one that was posted last wins, whichever is cut first.
            staged = replace(staged, record=staged.record._replace(ingested_at=document.created_at))
        after = State.CONVERTED if worker.needed(document, staged).lacking else State.EMBEDDED
        lease_s = worker.lease_s if after is State.CONVERTED else 0.0
        moved = worker.forward(document.id, State.QUEUED, after, staged=pack(staged), lease_s=lease_s)
        worker.fault(Step.CONVERTED, document.source)
        if moved and after is State.CONVERTED:
            worker.broker.send(EMBED, 1)

    def _end(self, document: QueuedDocument, state: State, error: str | None = None) -> None:
        self._worker.forward(document.id, State.QUEUED, state, error=error)

    def _item(self, document: QueuedDocument) -> SourceItem:
        settings = self._worker.settings
        if (posted := document.item()) is not None:
            return posted
        limit = settings.ingestion.max_file_mb * 2**20
        item = item_at(document.source, document.location, settings.sources, limit)
        if item is None:
            gone = UnreadableDocument(GONE, where=document.source, remedy="Ingest its folder again")
            return SourceItem(document.source, document.location, None, "", None, _raising(gone))
        # What a listing told of a page, its own headers may not say. Who may read it was said by the settings of who
        # queued it, which are newer than those of a worker.
        return item._replace(
            version=item.version or (document.version if scheme(document.location or "") else ""),
            metadata=document.metadata or item.metadata,
        )

    def _with_latest_readers(
        self, item: SourceItem, document: QueuedDocument, record: DocumentRecord | None
    ) -> SourceItem:
        """What was brought in after this job was given keeps its readers: who did that knew later rules."""
        if record is None or item.location is None or record.ingested_at <= document.created_at:
            return item
        original = self._worker.manifest.originals.get(record.id, record.generation)
        return item._replace(metadata=original.metadata) if original else item

    @contextmanager
    def _pool(self) -> Iterator[GuardedPool[Raw, Prepared]]:
        """A guarded process, one that is there where possible."""
        with self._changing:
            pool = self._idle.pop() if self._idle else None
            self._busy += 1
        if pool is None:
            pool = cutters(self._worker.settings.ingestion, workers=1)
        try:
            yield pool
        finally:
            with self._changing:
                self._busy -= 1
                self._idle.append(pool)
                surplus = self._surplus()
            _end(surplus)

    def _surplus(self) -> list[GuardedPool[Raw, Prepared]]:
        """Those idle that are too many, taken from the others."""
        surplus = []
        while self._idle and self._busy + len(self._idle) > self._most:
            surplus.append(self._idle.pop(0))
        return surplus


def _end(pools: Iterable[GuardedPool[Raw, Prepared]]) -> None:
    for pool in pools:
        pool.close()


def _may_pass(location: str | None) -> bool:
    """Whether a document that can't be fetched now may be fetched later: what is on the disk may not."""
    return location is not None and scheme(location) is not None


def _remembering(item: SourceItem) -> tuple[SourceItem, list[UnreadableDocument]]:
    """The item, and a place where it keeps why it could not be fetched."""
    refused: list[UnreadableDocument] = []
    if item.read_anywhere:
        return item, refused

    def read() -> bytes:
        try:
            return item.read()
        except UnreadableDocument as error:
            refused.append(error)
            raise

    return item._replace(read=read), refused


def _raising(error: UnreadableDocument) -> Callable[[], bytes]:
    def read() -> bytes:
        raise error

    return read
