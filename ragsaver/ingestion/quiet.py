"""Which runs found nothing to do? The same listing finds nothing again, and needs no look at the manifest's documents.

A run is written down before it reads the manifest, and marked as quiet when it has changed nothing. Whatever is
committed meanwhile or later, by whomever, strikes the collection's runs out. That is safe where one writer waits for
the other, as in SQLite; in PostgreSQL no run is written down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import xxhash

from ragsaver import dialects
from ragsaver.database import Database
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import metadata_hash
from ragsaver.ingestion.sources import SourceItem

metadata = sa.MetaData()

_runs = sa.Table(
    "quiet_runs",
    metadata,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("collection", sa.String, primary_key=True),
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("documents", sa.Integer),
    sa.Column("chunks", sa.Integer),
)


@dataclass(frozen=True, slots=True)
class Quiet:
    """What a run left as it was."""

    documents: int
    chunks: int


def digest_of(items: Sequence[SourceItem], asked: Sequence[object]) -> str | None:
    """What a run is about; None where only reading tells whether something changed.

    :param asked: whatever else decides what is done.
    """
    if not all(item.version and item.location for item in items):
        return None
    told = "\n".join([f"{item.source}\0{item.location}\0{item.version}\0{_carried(item)}" for item in items])
    return xxhash.xxh3_128_hexdigest(f"{asked!r}\n{told}".encode(errors="surrogatepass"))


def _carried(item: SourceItem) -> str:
    """Its readers, for example: rules that change make it another run."""
    return metadata_hash(item.metadata) if item.metadata else ""


class QuietRuns:
    """The table of quiet runs in the manifest's database. Made by the manifest."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def get(self, scope: Scope, digest: str) -> Quiet | None:
        """The run, if it was quiet and nothing was committed since."""
        query = sa.select(_runs.c.documents, _runs.c.chunks).where(*_one(scope, digest))
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None or row.documents is None else Quiet(row.documents, row.chunks)

    def begin(self, scope: Scope, digest: str) -> None:
        """Write a run down, before it reads the manifest."""
        with self._writing() as connection:
            if connection.dialect.name != dialects.POSTGRES:
                connection.execute(sa.delete(_runs).where(*_one(scope, digest)))
                row = {"tenant": scope.tenant, "collection": scope.collection, "digest": digest}
                connection.execute(sa.insert(_runs), row)

    def end(self, scope: Scope, digest: str, quiet: Quiet) -> None:
        """Mark a run as quiet, unless something was committed since it began."""
        with self._writing() as connection:
            changed = {"documents": quiet.documents, "chunks": quiet.chunks}
            connection.execute(sa.update(_runs).where(*_one(scope, digest)).values(changed))


def strike_out(connection: sa.Connection, scope: Scope) -> None:
    """Something of the scope changes; within the transaction that commits it."""
    connection.execute(sa.delete(_runs).where(*_in(scope)))


def _in(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    return (_runs.c.tenant == scope.tenant, _runs.c.collection == scope.collection)


def _one(scope: Scope, digest: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (*_in(scope), _runs.c.digest == digest)
