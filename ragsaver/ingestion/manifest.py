"""What has been ingested: the truth that the index follows. In a SQLite file or PostgreSQL, by SQLAlchemy."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlalchemy as sa
import xxhash

from ragsaver import dialects
from ragsaver.database import Place, copy_rows, open_database
from ragsaver.dialects import VARIABLES, write_rows
from ragsaver.index import generation
from ragsaver.index.scope import Scope
from ragsaver.ingestion import changes, named_by, originals, quiet, tombstones, uses
from ragsaver.ingestion.identity import Fingerprints
from ragsaver.ingestion.manifest_tables import documents as _documents
from ragsaver.ingestion.manifest_tables import intents as _intents
from ragsaver.ingestion.manifest_tables import metadata as _metadata
from ragsaver.ingestion.manifest_tables import outlines as _outlines
from ragsaver.ingestion.manifest_tables import paces as _paces
from ragsaver.ingestion.outlines import OUTLINER, Outline, from_json, to_json

SCHEMA = 3

_REMEDY = (
    "Free some space or check the folder's rights, then run the command again; a file that is damaged: restore it, or "
    "remove it with those beside it that begin with its name, and ingest again"
)

# What another manifest takes over; which runs were quiet is found out again.
_COPIED = (
    _metadata,
    originals.metadata,
    uses.metadata,
    tombstones.metadata,
    named_by.metadata,
    changes.metadata,
    generation.metadata,
)


# What is there of a document and goes with it.
_GOES = (
    _documents.c.id,
    _outlines.c.document_id,
    originals.DOCUMENT_ID,
    uses.DOCUMENT_ID,
    named_by.DOCUMENT_ID,
)


class DocumentRecord(NamedTuple):
    """A document as it went in: `location` is where it can be read again, `chunks` are in document order.

    `version` differs whenever the content may differ; empty where only reading tells.
    """

    id: str
    source: str
    location: str | None
    size: int
    version: str
    content_hash: str
    metadata_hash: str
    config: str
    generation: int
    ingested_at: float
    chunks: Sequence[Fingerprints]

    @property
    def points(self) -> tuple[str, ...]:
        """Ids of its points, in document order."""
        return tuple(prints.id for prints in self.chunks)

    @property
    def intact(self) -> set[str]:
        """Ids of its points without those that were found altered: its next version writes these anew."""
        return {prints.id for prints in self.chunks if prints.embedded}


_FIELDS = [_documents.c[name] for name in DocumentRecord._fields]

# Built once, for so many documents: an answer asks for it, and putting it together takes longer than running it.
_AT_ONCE = 8
_VERSIONS = sa.select(_documents.c.id, _documents.c.content_hash, _documents.c.metadata_hash).where(
    _documents.c.id.in_([sa.bindparam(f"id{place}") for place in range(_AT_ONCE)]),
    _documents.c.tenant == sa.bindparam("tenant"),
    _documents.c.collection == sa.bindparam("collection"),
)


@dataclass(frozen=True, slots=True)
class Intent:
    """A change of one document under way.

    :param generation: of the version that it makes; 0 if the document goes.
    :param listed: ids of points that will be listed.
    :param deleted: ids of points that go once those are listed.
    :param payloads: what points that stay will carry, by id.
    """

    document_id: str
    generation: int
    listed: tuple[str, ...]
    deleted: tuple[str, ...]
    payloads: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Usage:
    """Documents, their chunks, and the bytes that their points carry beside the vectors."""

    documents: int = 0
    chunks: int = 0
    payload_bytes: int = 0


class Manifest:
    """The manifest in one SQLite file, or in a schema of PostgreSQL.

    :raises StorageError: if it can't be opened or written.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._database = open_database(place, "the manifest", _REMEDY)
        self._reading, self._writing = self._database.reading, self._database.writing
        self.originals = originals.Originals(self._database)
        self.uses = uses.Uses(self._database)
        self.tombstones = tombstones.Tombstones(self._database)
        self.named_by = named_by.NamedBy(self._database)
        self.quiet_runs = quiet.QuietRuns(self._database, kept=isinstance(place, Path))
        self.changes = changes.Changes(self._database)
        self.generation = generation.GenerationNote(self._database)
        self._database.set_up(
            (*_COPIED, quiet.metadata),
            SCHEMA,
            "Point `home` (RAGSAVER_HOME) to a new folder, or `database` to a new schema, and ingest again",
            {**originals.STEPS, **quiet.STEPS},
        )

    def documents(self, scope: Scope) -> dict[str, DocumentRecord]:
        """Every document of a scope, by source."""
        query = sa.select(*_FIELDS).where(*_in(_documents, scope))
        with self._reading() as connection:
            return {row.source: row for row in map(DocumentRecord._make, connection.execute(query).all())}

    def state(self) -> str:
        """A digest of which documents are there, in which version and from where; differs whenever these do."""
        table = _documents.c
        query = sa.select(
            table.id, table.generation, table.content_hash, table.metadata_hash, table.location, table.config
        ).order_by(table.id)
        digest = xxhash.xxh3_128()
        with self._reading() as connection:
            for row in connection.execute(query):
                digest.update(repr(tuple(row)).encode())
        return digest.hexdigest()

    def usage(self, tenant: str) -> "Usage":
        """What a tenant has in all its collections."""
        counted = sa.select(
            sa.func.count(), sa.func.coalesce(sa.func.sum(dialects.json_length(_documents.c.chunks)), 0)
        ).where(_documents.c.tenant == tenant)
        with self._reading() as connection:
            documents, chunks = connection.execute(counted).one()
        return Usage(documents, chunks, self.originals.payload_bytes(tenant))

    def document(self, scope: Scope, source: str) -> DocumentRecord | None:
        """One document; None if it is not in."""
        query = sa.select(*_FIELDS).where(*_in(_documents, scope), _documents.c.source == source)
        with self._reading() as connection:
            row = connection.execute(query).first()
        return DocumentRecord(*row) if row else None

    def alike(self, scope: Scope, content_hash: str) -> DocumentRecord | None:
        """A document of this content, whatever its name; None if none is in."""
        query = sa.select(*_FIELDS).where(_documents.c.content_hash == content_hash, *_in(_documents, scope)).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).first()
        return DocumentRecord(*row) if row else None

    def versions(self, scope: Scope, document_ids: Sequence[str]) -> dict[str, str]:
        """What differs whenever a document's content or metadata does, of those that are in, by id."""
        found: dict[str, str] = {}
        for start in range(0, len(document_ids), _AT_ONCE):
            some = document_ids[start : start + _AT_ONCE]
            asked = {f"id{place}": some[min(place, len(some) - 1)] for place in range(_AT_ONCE)}
            rows = self._database.rows(_VERSIONS, {"tenant": scope.tenant, "collection": scope.collection, **asked})
            found.update((one, f"{content}:{metadata}") for one, content, metadata in rows)
        return found

    def record_intents(self, scope: Scope, intents: Sequence[Intent], kept: Sequence[originals.Original] = ()) -> None:
        """Write down what is about to happen to some documents; each has one intent at a time.

        :param kept: what has to outlive the versions that are about to be committed.
        """
        rows = [
            {
                "document_id": intent.document_id,
                "tenant": scope.tenant,
                "collection": scope.collection,
                "generation": intent.generation,
                "listed": list(intent.listed),
                "deleted": list(intent.deleted),
                "payloads": dict(intent.payloads),
            }
            for intent in intents
        ]
        if rows:
            with self._writing() as connection:
                write_rows(connection, sa.insert(_intents), rows)
                originals.keep(connection, scope, kept)

    def commit(
        self,
        scope: Scope,
        records: Sequence[DocumentRecord],
        gone: Sequence[str] = (),
        outlines: Mapping[str, Outline] = MappingProxyType({}),
        buried: Sequence[tombstones.Tombstone] = (),
    ) -> None:
        """Make new versions of documents the true ones, and forget those that are `gone`, in one transaction.

        :param outlines: of documents whose outline is another, by id.
        :param buried: tombstones of those of the `gone` that retention took out.
        """
        if not (records or gone or outlines or buried):
            return
        with self._writing() as connection:
            changes.note(connection, scope)
            quiet.strike_out(connection, scope)
            if records:
                rows = [_row(record, scope) for record in records]
                write_rows(connection, dialects.replace(connection.dialect.name, _documents), rows)
                originals.drop_older(connection, [record.id for record in records if record.generation > 1])
                _delete(connection, tombstones.DOCUMENT_ID, [record.id for record in records])
            if outlines:
                rows = [
                    {"document_id": one, "outliner": _outliner(made.summariser), "outline": to_json(made)}
                    for one, made in outlines.items()
                ]
                write_rows(connection, dialects.replace(connection.dialect.name, _outlines), rows)
            for start in range(0, len(gone), VARIABLES):
                dialects.lock(connection, _documents.c.id, _documents.c.id.in_(gone[start : start + VARIABLES]))
            for column in _GOES:
                _delete(connection, column, gone)
            if buried:
                tombstones.bury(connection, scope, buried)

    def outline(self, scope: Scope, source: str) -> Outline | None:
        """The outline of a document; None if there is no such document, or it has none yet."""
        joined = _documents.join(_outlines, _documents.c.id == _outlines.c.document_id)
        query = sa.select(_outlines.c.outline).select_from(joined)
        query = query.where(*_in(_documents, scope), _documents.c.source == source, _of_today())
        with self._reading() as connection:
            kept = connection.scalar(query)
        return from_json(kept) if kept else None

    def outlines(self, document_ids: Sequence[str]) -> dict[str, Outline]:
        """The outlines that documents have, by id."""
        found: dict[str, Outline] = {}
        with self._reading() as connection:
            for start in range(0, len(document_ids), VARIABLES):
                some = _outlines.c.document_id.in_(document_ids[start : start + VARIABLES])
                query = sa.select(_outlines).where(some, _of_today())
                found.update((row.document_id, from_json(row.outline)) for row in connection.execute(query))
        return found

    def without_outline(self, scope: Scope, summariser: str | None = None, source: str | None = None) -> set[str]:
        """Ids of the documents that have no outline.

        :param summariser: also those that lack a summary of this one.
        :param source: only this document.
        """
        made = _of_today() if summariser is None else _outlines.c.outliner == _outliner(summariser)
        there = sa.exists().where(_outlines.c.document_id == _documents.c.id, made)
        query = sa.select(_documents.c.id).where(*_in(_documents, scope), ~there)
        if source is not None:
            query = query.where(_documents.c.source == source)
        with self._reading() as connection:
            return set(connection.scalars(query))

    def clear_intents(self, document_ids: Sequence[str]) -> None:
        """The index has followed: forget the intents."""
        with self._writing() as connection:
            changes.note_followed(connection, list(document_ids))
            _delete(connection, _intents.c.document_id, document_ids)

    def intents(self, scope: Scope) -> list[Intent]:
        """Changes that a crash or a stop left half done."""
        query = sa.select(_intents).where(*_in(_intents, scope))
        with self._reading() as connection:
            return [
                Intent(row.document_id, row.generation, tuple(row.listed), tuple(row.deleted), row.payloads)
                for row in connection.execute(query)
            ]

    def note_pace(self, model: str, tokens_per_s: float) -> None:
        """Remember how fast a model embedded here, so that a plan can say how long it will take."""
        values = {"model": model, "tokens_per_s": tokens_per_s}
        with self._writing() as connection:
            connection.execute(dialects.replace(connection.dialect.name, _paces), values)

    def pace(self, model: str) -> float | None:
        """Tokens a second that a model embedded here the last time; None if it never did."""
        with self._reading() as connection:
            return connection.scalar(sa.select(_paces.c.tokens_per_s).where(_paces.c.model == model))

    def scopes(self) -> list[Scope]:
        """Every tenant and collection that has documents or unfinished changes."""
        found: set[tuple[str, str]] = set()
        with self._reading() as connection:
            for table in (_documents, _intents):
                rows = connection.execute(sa.select(table.c.tenant, table.c.collection).distinct())
                found.update((row.tenant, row.collection) for row in rows)
        return [Scope(*pair) for pair in sorted(found)]

    def is_emptied(self, scope: Scope) -> bool:
        """Whether documents were here, and nothing that an index would keep is left of them."""
        had_some = bool(self.changes.mark(scope)) and not self.intents(scope)
        return had_some and not any(record.chunks for record in self.documents(scope).values())

    def copy_from(self, other: "Manifest") -> dict[str, int]:
        """Take all that another manifest holds; how many rows, by table. Nobody writes that one meanwhile.

        :raises StorageError: if this one holds something, or can't take all of it; then it takes nothing.
        """
        tables = [table for some in _COPIED for table in some.sorted_tables]
        return copy_rows(other._database, self._database, tables)

    def close(self) -> None:
        """Let go of file or server."""
        self._database.close()


def now() -> float:
    """Seconds since 1970, as the manifest notes them."""
    return time.time()


def _delete(connection: sa.Connection, key: sa.Column[str], values: Sequence[str]) -> None:
    """Delete rows by key, as many in a statement as a database takes variables."""
    for start in range(0, len(values), VARIABLES):
        connection.execute(sa.delete(key.table).where(key.in_(values[start : start + VARIABLES])))


def _outliner(summariser: str) -> str:
    """How an outline was made: by which outliner, and where all its long sections are summarised, by what."""
    return f"{OUTLINER}:{summariser}" if summariser else OUTLINER


def _of_today() -> sa.ColumnElement[bool]:
    """Outlines that today's outliner made."""
    return sa.or_(_outlines.c.outliner == OUTLINER, _outlines.c.outliner.startswith(f"{OUTLINER}:", autoescape=True))


def _in(table: sa.Table, scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.tenant == scope.tenant, table.c.collection == scope.collection)


def _row(record: DocumentRecord, scope: Scope) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in DocumentRecord._fields}
    return {**fields, "tenant": scope.tenant, "collection": scope.collection}
