"""When was a document last of use: packed into a context, or shown by a search?"""

from collections.abc import Mapping

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import VARIABLES, insert, write_rows
from ragsaver.index.scope import Scope

metadata = sa.MetaData()

_uses = sa.Table(
    "uses",
    metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    sa.Column("used_at", sa.Float, nullable=False),
)

# Rows go with their documents.
DOCUMENT_ID = _uses.c.document_id

# The manifest's own table, as far as this one needs it.
_documents = sa.Table(
    "documents",
    sa.MetaData(),
    sa.Column("id", sa.String),
    sa.Column("tenant", sa.String),
    sa.Column("collection", sa.String),
)


class Uses:
    """The table of last uses in the manifest's database. Made by the manifest."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def note(self, used_at: Mapping[str, float]) -> None:
        """Remember when documents were used (seconds since 1970, by id); those that are gone are passed over.

        :raises StorageError: if the disk refuses.
        """
        ids = list(used_at)
        with self._writing() as connection:
            for start in range(0, len(ids), VARIABLES):
                some = _documents.c.id.in_(ids[start : start + VARIABLES])
                # Held until the use is noted, in the order in which documents are removed.
                held = sa.select(_documents.c.id).where(some).order_by(_documents.c.id)
                there = connection.scalars(held.with_for_update(read=True, key_share=True)).all()
                statement = insert(connection.dialect.name, _uses)
                newer = sa.case(
                    (_uses.c.used_at > statement.excluded.used_at, _uses.c.used_at), else_=statement.excluded.used_at
                )
                write_rows(
                    connection,
                    statement.on_conflict_do_update(index_elements=["document_id"], set_={"used_at": newer}),
                    [{"document_id": one, "used_at": used_at[one]} for one in there],
                )

    def of(self, scope: Scope) -> dict[str, float]:
        """Last uses of a scope's documents, by id; those that never were used have none."""
        query = (
            sa.select(_uses.c.document_id, _uses.c.used_at)
            .join(_documents, _documents.c.id == _uses.c.document_id)
            .where(_documents.c.tenant == scope.tenant, _documents.c.collection == scope.collection)
        )
        with self._reading() as connection:
            return {row.document_id: row.used_at for row in connection.execute(query)}
