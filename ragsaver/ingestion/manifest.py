"""What has been ingested: the truth that the index follows. SQLite, in one file, by SQLAlchemy."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError

from ragsaver.errors import StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import Fingerprints

# SQLite takes 32,766 variables in a statement unless it was built otherwise.
_VARIABLES = 10_000

SCHEMA = 1

_metadata = sa.MetaData()

_documents = sa.Table(
    "documents",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("location", sa.String),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("content_hash", sa.String, nullable=False),
    sa.Column("metadata_hash", sa.String, nullable=False),
    sa.Column("config", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("ingested_at", sa.Float, nullable=False),
    sa.Column("chunks", sa.JSON, nullable=False),
    sa.UniqueConstraint("tenant", "collection", "source"),
)

_intents = sa.Table(
    "intents",
    _metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("listed", sa.JSON, nullable=False),
    sa.Column("deleted", sa.JSON, nullable=False),
    sa.Column("payloads", sa.JSON, nullable=False),
)

_paces = sa.Table(
    "paces",
    _metadata,
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("tokens_per_s", sa.Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class DocumentRecord:
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
    chunks: tuple[Fingerprints, ...]

    @property
    def points(self) -> tuple[str, ...]:
        """Ids of its points, in document order."""
        return tuple(prints.id for prints in self.chunks)


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


class Manifest:
    """The manifest in one SQLite file.

    :raises StorageError: if the file can't be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        event.listen(self._engine, "connect", _configure)
        with self._writing() as connection:
            _metadata.create_all(connection)
            version = connection.scalar(sa.text("PRAGMA user_version"))
            if version == 0:
                connection.execute(sa.text(f"PRAGMA user_version = {SCHEMA}"))
            elif version != SCHEMA:
                raise StorageError(
                    f"the manifest has format {version}, this RAGSaver reads {SCHEMA}",
                    where=str(path),
                    remedy="Point `home` (RAGSAVER_HOME) to a new folder and ingest again",
                )

    def documents(self, scope: Scope) -> dict[str, DocumentRecord]:
        """Every document of a scope, by source."""
        query = sa.select(_documents).where(*_in(_documents, scope))
        with self._engine.connect() as connection:
            return {row.source: _record(row) for row in connection.execute(query)}

    def document(self, scope: Scope, source: str) -> DocumentRecord | None:
        """One document; None if it is not in."""
        query = sa.select(_documents).where(*_in(_documents, scope), _documents.c.source == source)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return _record(row) if row else None

    def record_intents(self, scope: Scope, intents: Sequence[Intent]) -> None:
        """Write down what is about to happen to some documents; each has one intent at a time."""
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
                connection.execute(sa.insert(_intents), rows)

    def commit(self, scope: Scope, records: Sequence[DocumentRecord], gone: Sequence[str] = ()) -> None:
        """Make new versions of documents the true ones, and forget those that are `gone`, in one transaction."""
        with self._writing() as connection:
            for record in records:
                values = {
                    "id": record.id,
                    "tenant": scope.tenant,
                    "collection": scope.collection,
                    "source": record.source,
                    "location": record.location,
                    "size": record.size,
                    "version": record.version,
                    "content_hash": record.content_hash,
                    "metadata_hash": record.metadata_hash,
                    "config": record.config,
                    "generation": record.generation,
                    "ingested_at": record.ingested_at,
                    "chunks": [astuple(prints) for prints in record.chunks],
                }
                connection.execute(
                    insert(_documents).values(values).on_conflict_do_update(index_elements=["id"], set_=values)
                )
            _delete(connection, _documents.c.id, gone)

    def clear_intents(self, document_ids: Sequence[str]) -> None:
        """The index has followed: forget the intents."""
        with self._writing() as connection:
            _delete(connection, _intents.c.document_id, document_ids)

    def intents(self, scope: Scope) -> list[Intent]:
        """Changes that a crash or a stop left half done."""
        query = sa.select(_intents).where(*_in(_intents, scope))
        with self._engine.connect() as connection:
            return [
                Intent(row.document_id, row.generation, tuple(row.listed), tuple(row.deleted), row.payloads)
                for row in connection.execute(query)
            ]

    def note_pace(self, model: str, tokens_per_s: float) -> None:
        """Remember how fast a model embedded here, so that a plan can say how long it will take."""
        values = {"model": model, "tokens_per_s": tokens_per_s}
        with self._writing() as connection:
            statement = insert(_paces).values(values)
            connection.execute(statement.on_conflict_do_update(index_elements=["model"], set_=values))

    def pace(self, model: str) -> float | None:
        """Tokens a second that a model embedded here the last time; None if it never did."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(_paces.c.tokens_per_s).where(_paces.c.model == model))

    def scopes(self) -> list[Scope]:
        """Every tenant and collection that has documents or unfinished changes."""
        found: set[tuple[str, str]] = set()
        with self._engine.connect() as connection:
            for table in (_documents, _intents):
                rows = connection.execute(sa.select(table.c.tenant, table.c.collection).distinct())
                found.update((row.tenant, row.collection) for row in rows)
        return [Scope(*pair) for pair in sorted(found)]

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise StorageError(
                f"the manifest can't be written: {error.orig}",
                where=str(self.path),
                remedy="Free some space or check the folder's rights, then run the command again",
            ) from error


def now() -> float:
    """Seconds since 1970, as the manifest notes them."""
    return time.time()


def _configure(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _delete(connection: sa.Connection, key: sa.Column[str], values: Sequence[str]) -> None:
    """Delete rows by key, as many in a statement as SQLite takes variables."""
    for start in range(0, len(values), _VARIABLES):
        connection.execute(sa.delete(key.table).where(key.in_(values[start : start + _VARIABLES])))


def _in(table: sa.Table, scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.tenant == scope.tenant, table.c.collection == scope.collection)


def _record(row: sa.Row[tuple[object, ...]]) -> DocumentRecord:
    fields = row._mapping
    return DocumentRecord(
        **{name: fields[name] for name in DocumentRecord.__dataclass_fields__ if name != "chunks"},
        chunks=tuple(Fingerprints(*prints) for prints in fields["chunks"]),
    )
