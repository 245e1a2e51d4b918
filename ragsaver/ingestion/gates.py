"""Has a document changed? Three gates, each cheaper than what lies behind it: version, content, chunks.

A document whose version (a file's size and time, an object's ETag) is the one in the manifest is not read. One
whose bytes have the same hash is not parsed. What is left is cut, and only chunks that are new are embedded.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

from ragsaver.errors import UnreadableDocument, VanishedDocument
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import content_hash, document_id, metadata_hash
from ragsaver.ingestion.manifest import DocumentRecord, now
from ragsaver.ingestion.planning import Change, Reason
from ragsaver.ingestion.preparing import Prepared, Raw, Recipe, prepare
from ragsaver.ingestion.report import IngestFailure
from ragsaver.ingestion.retention import keeps_out
from ragsaver.ingestion.sources import SourceItem
from ragsaver.ingestion.tombstones import Tombstone
from ragsaver.settings import RetentionSettings

STAYS_OUT = "retention took it out, and it has not changed: `--include-expired` brings it in"


class Preparing(Protocol):
    """Where documents are cut: in this process or in guarded ones."""

    def map(self, tasks: Iterable[tuple[str, Raw]]) -> Iterator[tuple[str, Prepared | UnreadableDocument]]:
        """The results in the order of the tasks; tasks are taken as they are needed."""
        ...


class InProcess:
    """Cuts documents in this process."""

    def map(self, tasks: Iterable[tuple[str, Raw]]) -> Iterator[tuple[str, Prepared | UnreadableDocument]]:
        """One after the other."""
        for source, raw in tasks:
            try:
                yield source, prepare(raw)
            except UnreadableDocument as error:
                yield source, error


@dataclass(slots=True)
class Seen:
    """What came by the gates.

    :ivar kept: sources of the unchanged ones.
    :ivar touched: documents whose version is another and whose content is not; the manifest wants to know.
    :ivar tombstoned: documents that stay out, because retention took them out before.
    :ivar reburied: those of them whose version is another.
    :ivar vanished: documents that were removed since they were listed.
    """

    documents: int = 0
    unchanged: int = 0
    unchanged_chunks: int = 0
    kept: set[str] = field(default_factory=set)
    touched: list[DocumentRecord] = field(default_factory=list)
    tombstoned: int = 0
    reburied: list[Tombstone] = field(default_factory=list)
    errors: list[IngestFailure] = field(default_factory=list)
    vanished: list[IngestFailure] = field(default_factory=list)

    def fail(self, source: str, error: UnreadableDocument) -> None:
        """Note a document that can't be read, or that is not there."""
        told = self.vanished if isinstance(error, VanishedDocument) else self.errors
        told.append(IngestFailure(source=printable(source), error=str(error)))


@dataclass(frozen=True, slots=True)
class _Read:
    """A document on its way to be cut."""

    record: DocumentRecord
    old: DocumentRecord | None
    reason: Reason


class Gates:
    """The way of documents from their source to the change that they make.

    :param known: what the manifest has, by source.
    :param checksum: read every document, whatever its version says.
    :param tombstones: what retention took out, by source; none where that was asked for.
    :param rule: the collection's retention.
    """

    def __init__(
        self,
        scope: Scope,
        known: Mapping[str, DocumentRecord],
        recipe: Recipe,
        preparing: Preparing,
        *,
        checksum: bool = False,
        tombstones: Mapping[str, Tombstone] = MappingProxyType({}),
        rule: RetentionSettings | None = None,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self.seen = Seen()
        self._scope = scope
        self._known = known
        self._recipe = recipe
        self._config = recipe.config
        self._preparing = preparing
        self._checksum = checksum
        self._tombstones = tombstones
        self._rule = rule
        self._step = step

    def changes(self, items: Iterable[SourceItem]) -> Iterator[Change]:
        """The changes that documents make; those that can't be read are noted, and the rest goes on."""
        reading: deque[_Read] = deque()
        for source, result in self._preparing.map(self._tasks(items, reading)):
            read = reading.popleft()
            if isinstance(result, UnreadableDocument):
                self.seen.fail(source, result)
            else:
                record = read.record._replace(
                    chunks=tuple(one.prints for one in result.chunks),
                    size=result.size,
                    content_hash=result.content_hash,
                )
                yield Change(record, result.chunks, read.old, read.reason, result.payload_bytes, result.notes)
            self._step()

    def _tasks(self, items: Iterable[SourceItem], reading: deque[_Read]) -> Iterator[tuple[str, Raw]]:
        for item in items:
            self.seen.documents += 1
            try:
                raw = self._raw(item, reading)
            except UnreadableDocument as error:
                self.seen.fail(item.source, error)
                raw = None
            if raw is None:
                self._step()
            else:
                yield item.source, raw

    def _raw(self, item: SourceItem, reading: deque[_Read]) -> Raw | None:
        """The document to cut; None if nothing changed, or it has to stay out."""
        old = self._known.get(item.source)
        current = old is not None and old.config == self._config
        about = metadata_hash(item.metadata)
        same_place = old is not None and (old.location, old.metadata_hash) == (item.location, about)
        if old and current and same_place and not self._checksum and item.version and item.version == old.version:
            self._unchanged(old)
            return None
        # What is posted as text is asked for.
        tombstone = None if old or item.location is None else self._tombstones.get(item.source)
        out = tombstone if tombstone and keeps_out(tombstone, self._rule, now()) else None
        if out and not self._checksum and item.version and _place(item) == _place(out):
            self.seen.tombstoned += 1
            return None
        require_name(item.source)
        if old is None and tombstone is None and item.read_anywhere:
            # There is nothing to compare it with: it is read where it is cut.
            return self._to_cut(item, item.read, _Read(self._record(item, about, 1, now()), None, Reason.NEW), reading)
        data = item.read()
        digest = content_hash(data)
        if out and out.content_hash == digest:
            self.seen.tombstoned += 1
            if _place(item) != _place(out):
                self.seen.reburied.append(replace(out, version=item.version, location=item.location or out.location))
            return None
        if old and current and (old.content_hash, old.metadata_hash) == (digest, about):
            if (old.location, old.version) != (item.location, item.version):
                self.seen.touched.append(
                    old._replace(location=item.location, version=item.version, size=len(data), ingested_at=now())
                )
            self._unchanged(old)
            return None
        since = _since(old, tombstone, digest, about) or now()
        record = self._record(item, about, old.generation + 1 if old else 1, since)
        return self._to_cut(item, data, _Read(record, old, _reason(old, record, digest)), reading)

    def _record(self, item: SourceItem, about: str, generation: int, since: float) -> DocumentRecord:
        """The document as far as it is known before it is cut."""
        return DocumentRecord(
            id=document_id(self._scope, item.source),
            source=item.source,
            location=item.location,
            size=0,
            version=item.version,
            content_hash="",
            metadata_hash=about,
            config=self._config,
            generation=generation,
            ingested_at=since,
            chunks=(),
        )

    def _to_cut(self, item: SourceItem, data: bytes | Callable[[], bytes], read: _Read, reading: deque[_Read]) -> Raw:
        reading.append(read)
        return Raw(read.record.id, item.source, data, item.format, self._recipe, item.metadata, item.size or 0)

    def _unchanged(self, old: DocumentRecord) -> None:
        self.seen.unchanged += 1
        self.seen.unchanged_chunks += len(old.chunks)
        self.seen.kept.add(old.source)


def _place(one: SourceItem | Tombstone) -> tuple[str, str | None]:
    return one.version, one.location


def _since(old: DocumentRecord | None, tombstone: Tombstone | None, digest: str, about: str) -> float | None:
    """Since when a document has been in, if this version says nothing new: to cut or outline it again makes it no
    younger, nor does a rule that lets it come back.
    """
    if old is not None:
        return old.ingested_at if (old.content_hash, old.metadata_hash) == (digest, about) else None
    return tombstone.ingested_at if tombstone and tombstone.content_hash == digest else None


def _reason(old: DocumentRecord | None, new: DocumentRecord, digest: str) -> Reason:
    if old is None:
        return Reason.NEW
    if old.content_hash != digest:
        return Reason.EDITED
    if old.config != new.config:
        return Reason.STALE
    # What lies somewhere has no metadata but what the rules say of its readers.
    return Reason.ACCESS if old.location and new.location else Reason.CARRIED


def require_name(source: str) -> None:
    """:raises UnreadableDocument: if no manifest can keep the name."""
    if "\0" in source:
        raise UnreadableDocument("its name holds the character U+0000", where=source, remedy="Rename it")
    try:
        source.encode()
    except UnicodeEncodeError:
        raise UnreadableDocument("its name is not valid UTF-8", where=ascii(source), remedy="Rename it") from None


def printable(source: str) -> str:
    """A source's name that any database and JSON takes."""
    return source.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
