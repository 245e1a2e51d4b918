"""Bring documents in, and pay only for what changed.

For each batch: record the intent → embed what is new → upsert, unlisted → commit the manifest → list the new
points and delete the old ones → clear the intent. A stop anywhere is mended by the next run: each step may be
done twice, and the old version of a document stays searchable until the new one is whole.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.index.protocol import ChunkPoint, Scope, VectorIndex
from ragsaver.ingestion.chunker import chunk
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.identity import IdentifiedChunk, content_hash, document_id, identify
from ragsaver.ingestion.manifest import DocumentRecord, Intent, Manifest, now
from ragsaver.ingestion.report import (
    ChunkCounts,
    DocumentCounts,
    EmbeddingSpend,
    IngestFailure,
    IngestReport,
    Progress,
)
from ragsaver.ingestion.sources import PostedDocument, SourceFile, find_sources
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings

# Raise it when the converters or the chunker cut differently: documents are then cut again.
CHUNKER = "1"

# A file changed within this time of its ingestion may change again without its time stamp showing it.
_RACY_S = 2.0


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A document before it is read; `read` gives its bytes."""

    source: str
    path: str | None
    size: int
    mtime_ns: int
    format: str | None
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class _Planned:
    """A new version of a document, cut and named."""

    record: DocumentRecord
    title: str
    chunks: Sequence[IdentifiedChunk]
    kept: frozenset[str]
    dropped: tuple[str, ...]

    @property
    def new(self) -> list[IdentifiedChunk]:
        return [named for named in self.chunks if named.id not in self.kept]


@dataclass(slots=True)
class _Tally:
    seen: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    total: int = 0
    embedded: int = 0
    reused: int = 0
    dropped: int = 0
    tokens: int = 0
    errors: list[IngestFailure] = field(default_factory=list)

    def report(self, seconds: float) -> IngestReport:
        return IngestReport(
            documents=DocumentCounts(
                seen=self.seen,
                added=self.added,
                changed=self.changed,
                unchanged=self.unchanged,
                deleted=self.deleted,
                failed=len(self.errors),
            ),
            chunks=ChunkCounts(total=self.total, embedded=self.embedded, reused=self.reused, deleted=self.dropped),
            embedding=EmbeddingSpend(tokens=self.tokens),
            seconds=round(seconds, 3),
            errors=tuple(self.errors),
        )


class Ingestor:
    """The way in for documents. One run at a time: the caller owns the index.

    :param fault: called with a step's name before the next step; tests stop the run there.
    """

    def __init__(
        self,
        settings: Settings,
        index: VectorIndex,
        encoder: Encoder,
        manifest: Manifest,
        fault: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._settings = settings
        self._index = index
        self._encoder = encoder
        self._manifest = manifest
        self._fault = fault
        cut = settings.chunking
        self._config = f"{encoder.fingerprint}:{CHUNKER}:{cut.min_words}:{cut.max_words}:{int(cut.embed_headings)}"

    def ingest(
        self,
        paths: Sequence[Path | str],
        scope: Scope,
        *,
        prune: bool = False,
        progress: Callable[[Progress], None] | None = None,
        cwd: Path | None = None,
    ) -> IngestReport:
        """Ingest files and folders.

        :param prune: forget documents whose file under the paths is gone.
        :param progress: called as it goes; what it raises stops the run, and the next one completes it.
        :param cwd: the caller's working directory.
        :raises UsageError: if a path is not there or holds nothing to read.
        :raises StorageError: if the disk is full; what went in stays.
        """
        started = time.perf_counter()
        cwd = (cwd or Path.cwd()).resolve()
        files = find_sources([Path(path) for path in paths], self._settings.home, cwd)
        known = self._manifest.documents(scope)
        tally = self._run((self._from_file(file) for file in files), len(files), known, scope, progress)
        if prune:
            present = {file.source for file in files}
            roots = [(cwd / path).resolve() for path in paths]
            gone = [
                record
                for record in known.values()
                if record.path
                and record.source not in present
                and any(Path(record.path).is_relative_to(root) for root in roots)
            ]
            self._forget(gone, scope, tally)
        self._index.maintain()
        return tally.report(time.perf_counter() - started)

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
        known = self._manifest.documents(scope)
        tally = self._run(map(_from_text, documents), len(documents), known, scope, progress)
        self._index.maintain()
        return tally.report(time.perf_counter() - started)

    def recover(self, scope: Scope) -> frozenset[str]:
        """Finish what a stop left half done.

        :returns: ids of points that are there, unlisted, for versions not committed: they need no embedding.
        """
        known = {record.id: record for record in self._manifest.documents(scope).values()}
        waiting: set[str] = set()
        for intent in self._manifest.intents(scope):
            record = known.get(intent.document_id)
            current = set(record.chunks) if record else set()
            if current.issuperset(intent.listed) and not current.intersection(intent.deleted):
                self._index.list_and_delete(scope, intent.listed, intent.deleted)
                self._manifest.clear_intents([intent.document_id])
            else:
                waiting.update(intent.listed)
        return frozenset(self._index.vectors(scope, sorted(waiting))) if waiting else frozenset()

    def _run(
        self,
        incoming: Iterable[_Incoming],
        total: int,
        known: dict[str, DocumentRecord],
        scope: Scope,
        progress: Callable[[Progress], None] | None,
    ) -> _Tally:
        there = self.recover(scope)
        tally = _Tally()
        batch: list[_Planned] = []
        waiting = 0
        for document in incoming:
            tally.seen += 1
            try:
                planned = self._plan(document, known.get(document.source), scope, tally)
            except UnreadableDocument as error:
                tally.errors.append(IngestFailure(source=_printable(document.source), error=str(error)))
                planned = None
            if planned is not None:
                batch.append(planned)
                waiting += len(planned.new)
            if waiting >= self._settings.ingestion.batch_chunks:
                self._apply(batch, scope, there, tally)
                batch, waiting = [], 0
            if progress:
                progress(Progress(done=tally.seen, total=total, embedded=tally.embedded))
        self._apply(batch, scope, there, tally)
        if progress:
            progress(Progress(done=tally.seen, total=total, embedded=tally.embedded))
        return tally

    def _plan(self, document: _Incoming, old: DocumentRecord | None, scope: Scope, tally: _Tally) -> _Planned | None:
        """What has to change for this document; None if nothing has."""
        current = old is not None and old.config == self._config
        if old and current and document.path == old.path and _surely_the_same(document, old):
            tally.unchanged += 1
            tally.total += len(old.chunks)
            return None
        limit = self._settings.ingestion.max_file_mb
        if document.size > limit * 2**20:
            raise UnreadableDocument(
                f"has {document.size / 2**20:.0f} MB, {limit} are allowed",
                where=document.source,
                remedy="Split it, or raise `ingestion.max_file_mb`",
            )
        try:
            document.source.encode()
        except UnicodeEncodeError:
            raise UnreadableDocument(
                "its name is not valid UTF-8", where=ascii(document.source), remedy="Rename it"
            ) from None
        data = document.read()
        digest = content_hash(data)
        if old and current and old.content_hash == digest:
            tally.unchanged += 1
            tally.total += len(old.chunks)
            if document.path is not None:
                self._manifest.commit(scope, [_touched(old, document)])
            return None
        parsed = convert(document.source, data, document.format, max_pdf_pages=self._settings.ingestion.max_pdf_pages)
        title = parsed.title or Path(document.source).stem
        cut = self._settings.chunking
        chunks = chunk(
            parsed,
            title,
            min_words=cut.min_words,
            max_words=cut.max_words,
            embed_headings=cut.embed_headings,
        )
        if not chunks:
            raise UnreadableDocument("holds headings only, no text", where=document.source)
        name = document_id(scope, document.source)
        named = identify(name, chunks, self._encoder.fingerprint)
        ids = [one.id for one in named]
        before = set(old.chunks) if old else set()
        record = DocumentRecord(
            id=name,
            source=document.source,
            path=document.path,
            size=document.size,
            mtime_ns=document.mtime_ns,
            content_hash=digest,
            config=self._config,
            generation=old.generation + 1 if old else 1,
            ingested_at=now(),
            chunks=tuple(ids),
        )
        return _Planned(record, title, named, frozenset(before & set(ids)), tuple(sorted(before - set(ids))))

    def _apply(self, batch: Sequence[_Planned], scope: Scope, there: frozenset[str], tally: _Tally) -> None:
        """Take one batch of planned documents through the protocol."""
        if not batch:
            return
        intents = [
            Intent(planned.record.id, tuple(one.id for one in planned.new), planned.dropped) for planned in batch
        ]
        self._manifest.record_intents(scope, intents)
        self._fault("intent")
        missing = [(planned, one) for planned in batch for one in planned.new if one.id not in there]
        texts = list(dict.fromkeys(one.chunk.embed_text for _, one in missing))
        vectors = dict(zip(texts, self._encoder.encode(texts), strict=True))
        shown = self._encoder.count_tokens([one.chunk.text for _, one in missing])
        self._fault("embedded")
        self._index.upsert(
            scope,
            [
                ChunkPoint(
                    one.id,
                    planned.record.id,
                    vectors[one.chunk.embed_text],
                    one.chunk.embed_text,
                    {
                        **_place(planned, one),
                        "text": one.chunk.text,
                        "chunk_hash": one.embed_hash,
                        "tokens": tokens,
                    },
                )
                for (planned, one), tokens in zip(missing, shown, strict=True)
            ],
        )
        self._fault("upserted")
        self._manifest.commit(scope, [planned.record for planned in batch])
        self._fault("committed")
        moved = {one.id: _place(planned, one) for planned in batch for one in planned.chunks if one.id in planned.kept}
        self._index.set_payload(scope, moved)
        listed = [one for intent in intents for one in intent.listed]
        dropped = [one for intent in intents for one in intent.deleted]
        self._index.list_and_delete(scope, listed, dropped)
        self._fault("listed")
        self._manifest.clear_intents([intent.document_id for intent in intents])
        for planned in batch:
            tally.added += planned.record.generation == 1
            tally.changed += planned.record.generation > 1
            tally.total += len(planned.chunks)
            tally.dropped += len(planned.dropped)
        tally.embedded += len(texts)
        tally.reused += len(moved) + len(listed) - len(texts)
        tally.tokens += sum(self._encoder.count_tokens(texts))

    def _forget(self, records: Sequence[DocumentRecord], scope: Scope, tally: _Tally) -> None:
        if not records:
            return
        ids = [record.id for record in records]
        points = [point for record in records for point in record.chunks]
        self._manifest.record_intents(scope, [Intent(r.id, (), r.chunks) for r in records])
        self._manifest.commit(scope, [], gone=ids)
        self._index.list_and_delete(scope, [], points)
        self._manifest.clear_intents(ids)
        tally.deleted += len(records)
        tally.dropped += len(points)

    def _from_file(self, file: SourceFile) -> _Incoming:
        def read() -> bytes:
            try:
                return file.path.read_bytes()
            except OSError as error:
                raise UnreadableDocument(
                    f"can't be read: {error.strerror}", where=file.source, remedy="Check its rights"
                ) from error

        return _Incoming(file.source, str(file.path.resolve()), file.size, file.mtime_ns, None, read)


def _printable(source: str) -> str:
    return source.encode(errors="backslashreplace").decode()


def _from_text(document: PostedDocument) -> _Incoming:
    data = document.text.encode()
    return _Incoming(document.source, None, len(data), 0, document.format or "markdown", lambda: data)


def _surely_the_same(document: _Incoming, old: DocumentRecord) -> bool:
    """Size and time tell, unless the file was so fresh that another write could hide behind them."""
    return (
        document.path is not None
        and (document.size, document.mtime_ns) == (old.size, old.mtime_ns)
        and old.ingested_at - old.mtime_ns / 1e9 > _RACY_S
    )


def _touched(old: DocumentRecord, document: _Incoming) -> DocumentRecord:
    return DocumentRecord(
        id=old.id,
        source=old.source,
        path=document.path,
        size=document.size,
        mtime_ns=document.mtime_ns,
        content_hash=old.content_hash,
        config=old.config,
        generation=old.generation,
        ingested_at=now(),
        chunks=old.chunks,
    )


def _place(planned: _Planned, one: IdentifiedChunk) -> dict[str, str | int | None]:
    """What a point carries about where its chunk stands."""
    return {
        "source": planned.record.source,
        "title": planned.title,
        "heading": one.chunk.heading or planned.title,
        "ordinal": one.chunk.ordinal,
        "page": one.chunk.page,
    }
