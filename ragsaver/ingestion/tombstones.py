"""Which documents did retention take out whose file is still there? They stay out, so that nobody pays for them again.

A tombstone keeps a document out while its content is the same and the rule that took it out still would. It goes when
the document comes in again, whoever asked for it, and when its source is gone.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import VARIABLES, write_rows
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources.listing import scheme

metadata = sa.MetaData()

_tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("location", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("content_hash", sa.String, nullable=False),
    sa.Column("ingested_at", sa.Float, nullable=False),
    sa.Column("expired_at", sa.Float, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("allowed", sa.Float, nullable=False),
    sa.Index("tombstones_of_a_scope", "tenant", "collection"),
)

# A tombstone goes with the return of its document.
DOCUMENT_ID = _tombstones.c.document_id


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A document that retention took out.

    :ivar ingested_at: when it had come in or last changed, in seconds since 1970.
    :ivar reason: in words.
    :ivar rule: the key of `lifecycle.retention` that took it out, and what that allowed then.
    """

    document_id: str
    source: str
    location: str
    version: str
    content_hash: str
    ingested_at: float
    expired_at: float
    reason: str
    rule: str
    allowed: float


def without_source(
    tombstones: Mapping[str, Tombstone],
    present: set[str],
    roots: Sequence[str],
    unnamed: Set[str] = frozenset(),
    *,
    pruning: bool,
) -> list[Tombstone]:
    """Those under the roots whose source is gone: a file is looked for, what is elsewhere is not listed any more.

    :param present: sources that were listed.
    :param roots: as `location_of` gives them.
    :param unnamed: ids of documents that lists named and none does now.
    :param pruning: whether what is elsewhere and not listed counts as gone.
    """
    return [
        one
        for source, one in tombstones.items()
        if source not in present
        and (
            one.document_id in unnamed
            or (
                any(one.location == root or one.location.startswith(root.rstrip("/") + "/") for root in roots)
                and (pruning if scheme(one.location) else not Path(one.location).exists())
            )
        )
    ]


class Tombstones:
    """The table of tombstones in the manifest's database. Made by the manifest."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def of(self, scope: Scope, source: str | None = None) -> dict[str, Tombstone]:
        """The tombstones of a scope, by source.

        :param source: only this one.
        """
        query = sa.select(*_FIELDS).where(*_in(scope))
        if source is not None:
            query = query.where(_tombstones.c.source == source)
        with self._reading() as connection:
            return {row.source: Tombstone(*row) for row in connection.execute(query)}

    def count(self, scope: Scope) -> int:
        """How many there are."""
        with self._reading() as connection:
            query = sa.select(sa.func.count()).select_from(_tombstones).where(*_in(scope))
            return connection.scalar(query) or 0

    def keep(self, scope: Scope, tombstones: Sequence[Tombstone]) -> None:
        """Keep tombstones, in the place of those of the same documents.

        :raises StorageError: if the disk refuses.
        """
        if tombstones:
            with self._writing() as connection:
                bury(connection, scope, tombstones)

    def drop(self, document_ids: Sequence[str]) -> None:
        """Forget tombstones: the next ingestion brings their documents in.

        :raises StorageError: if the disk refuses.
        """
        if document_ids:
            with self._writing() as connection:
                _delete(connection, document_ids)

    def become(self, others: "Tombstones") -> None:
        """Take over all tombstones of another manifest, of every scope, in the place of those there are.

        :raises StorageError: if the disk refuses.
        """
        with others._reading() as connection:
            rows = [dict(row._mapping) for row in connection.execute(sa.select(_tombstones))]
        with self._writing() as connection:
            connection.execute(sa.delete(_tombstones))
            write_rows(connection, sa.insert(_tombstones), rows)


def bury(connection: sa.Connection, scope: Scope, tombstones: Sequence[Tombstone]) -> None:
    """Keep tombstones; within the transaction that commits that their documents are gone."""
    place = {"tenant": scope.tenant, "collection": scope.collection}
    _delete(connection, [one.document_id for one in tombstones])
    write_rows(connection, sa.insert(_tombstones), [{**asdict(one), **place} for one in tombstones])


def _delete(connection: sa.Connection, document_ids: Sequence[str]) -> None:
    for start in range(0, len(document_ids), VARIABLES):
        connection.execute(sa.delete(_tombstones).where(DOCUMENT_ID.in_(document_ids[start : start + VARIABLES])))


def _in(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    return (_tombstones.c.tenant == scope.tenant, _tombstones.c.collection == scope.collection)


_FIELDS = [_tombstones.c[name] for name in Tombstone.__dataclass_fields__]
