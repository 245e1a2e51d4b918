"""What of a document must outlive its ingestion: its metadata, what its points carry, what it lost, and a posted text.

A file can be read again where it lies; a posted text is nowhere else. So it is kept, compressed, for the day when
another model or chunker needs it. Rows belong to one version (generation) of a document and go with it.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import VARIABLES, LongInteger, Steps, add_column, replace, write_rows
from ragsaver.index.scope import Scope
from ragsaver.ingestion.notes import Note, notes_of, to_values
from ragsaver.ingestion.sources import PostedDocument, SourceItem

metadata = sa.MetaData()

_originals = sa.Table(
    "originals",
    metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("payload_bytes", LongInteger, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("format", sa.String),
    sa.Column("text", sa.LargeBinary),
    sa.Column("notes", sa.JSON(none_as_null=True)),
    sa.Index("originals_of_a_scope", "tenant", "collection"),
)
_NOTED = _originals.c.notes.isnot(None)
sa.Index(
    "originals_noted",
    _originals.c.tenant,
    _originals.c.collection,
    sqlite_where=_NOTED,
    postgresql_where=_NOTED,
)

# From one format of the manifest to the next one.
STEPS: Steps = {1: lambda connection: add_column(connection, _originals.c.notes)}

# Rows go with their documents.
DOCUMENT_ID = _originals.c.document_id

# The manifest's own table, as far as this one needs it.
_documents = sa.Table(
    "documents",
    sa.MetaData(),
    sa.Column("id", sa.String),
    sa.Column("tenant", sa.String),
    sa.Column("source", sa.String),
    sa.Column("generation", sa.Integer),
)
_CURRENT = sa.and_(_documents.c.id == _originals.c.document_id, _documents.c.generation == _originals.c.generation)


@dataclass(frozen=True, slots=True)
class Original:
    """What is kept of one version of a document.

    :ivar payload_bytes: of all its points: their texts and what else they carry.
    :ivar text: zlib-compressed UTF-8; None where the document can be read again at its location.
    :ivar notes: of what was lost when it was read.
    """

    document_id: str
    generation: int
    payload_bytes: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    format: str | None = None
    text: bytes | None = None
    notes: tuple[Note, ...] = ()

    def posted(self, source: str) -> SourceItem | None:
        """The posted document, as it came in; None if it was not posted."""
        if self.text is None:
            return None
        return PostedDocument(source, zlib.decompress(self.text).decode(), self.format, self.metadata).item()


class Originals:
    """The table of originals in the manifest's database. Made by the manifest."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def add_text(self, document_id: str, generation: int, posted: SourceItem) -> None:
        """Keep the text of a version that was a file's before and is posted now.

        :raises StorageError: if the disk refuses.
        """
        this = (_originals.c.document_id == document_id, _originals.c.generation == generation)
        with self._writing() as connection:
            connection.execute(sa.update(_originals).where(*this).values(format=posted.format, text=compressed(posted)))

    def of(self, scope: Scope) -> dict[tuple[str, int], Original]:
        """What is kept of a scope's documents, by id and generation, without the texts."""
        table = _originals.c
        query = sa.select(
            table.document_id, table.generation, table.payload_bytes, table.metadata, table.format, table.notes
        ).where(*_in(scope))
        with self._reading() as connection:
            return {
                (row.document_id, row.generation): Original(*row[:-1], notes=notes_of(row.notes))
                for row in connection.execute(query)
            }

    def noted(self, scope: Scope) -> dict[str, tuple[Note, ...]]:
        """What documents lost that are in, by source in its order; of most there is nothing."""
        query = sa.select(_documents.c.source, _originals.c.notes).join_from(_originals, _documents, _CURRENT)
        query = query.where(*_in(scope), _NOTED)
        with self._reading() as connection:
            return {source: notes_of(notes) for source, notes in sorted(connection.execute(query).tuples())}

    def payload_bytes(self, tenant: str) -> int:
        """What the points of all of a tenant's documents carry."""
        query = sa.select(sa.func.coalesce(sa.func.sum(_originals.c.payload_bytes), 0))
        with self._reading() as connection:
            found = connection.scalar(
                query.join_from(_originals, _documents, _CURRENT).where(_documents.c.tenant == tenant)
            )
        return int(found or 0)

    def get(self, document_id: str, generation: int) -> Original | None:
        """What is kept of one version, its text too."""
        table = _originals.c
        query = sa.select(
            table.document_id, table.generation, table.payload_bytes, table.metadata, table.format, table.text
        ).where(table.document_id == document_id, table.generation == generation)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return Original(*row) if row else None


def compressed(posted: SourceItem) -> bytes:
    """A posted text as it is kept."""
    return zlib.compress(posted.read())


def keep(connection: sa.Connection, scope: Scope, originals: Sequence[Original]) -> None:
    """Keep what belongs to versions that are about to be committed."""
    rows = [
        {
            "document_id": one.document_id,
            "generation": one.generation,
            "tenant": scope.tenant,
            "collection": scope.collection,
            "payload_bytes": one.payload_bytes,
            "metadata": dict(one.metadata),
            "format": one.format,
            "text": one.text,
            "notes": to_values(one.notes) or None,
        }
        for one in originals
    ]
    if rows:
        write_rows(connection, replace(connection.dialect.name, _originals), rows)


def drop_older(connection: sa.Connection, document_ids: Sequence[str]) -> None:
    """Forget what belongs to versions before the documents' own ones; within the transaction that commits these."""
    own = sa.select(_documents.c.generation).where(_documents.c.id == _originals.c.document_id).scalar_subquery()
    for start in range(0, len(document_ids), VARIABLES):
        some = _originals.c.document_id.in_(document_ids[start : start + VARIABLES])
        connection.execute(sa.delete(_originals).where(some, _originals.c.generation < own))


def _in(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    return _originals.c.tenant == scope.tenant, _originals.c.collection == scope.collection
