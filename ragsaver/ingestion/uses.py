"""When was a document last of use: packed into a context, or shown by a search?"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

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
_documents = sa.table("documents", sa.column("id"), sa.column("tenant"), sa.column("collection"))

# SQLite takes 32,766 variables in a statement unless it was built otherwise.
_VARIABLES = 10_000


class Uses:
    """The table of last uses in the manifest's database. Made by the manifest."""

    def __init__(self, engine: sa.Engine, writing: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def note(self, used_at: Mapping[str, float]) -> None:
        """Remember when documents were used (seconds since 1970, by id); those that are gone are passed over.

        :raises StorageError: if the disk refuses.
        """
        ids = list(used_at)
        with self._writing() as connection:
            for start in range(0, len(ids), _VARIABLES):
                some = _documents.c.id.in_(ids[start : start + _VARIABLES])
                there = connection.scalars(sa.select(_documents.c.id).where(some)).all()
                rows = [{"document_id": one, "used_at": used_at[one]} for one in there]
                if rows:
                    statement = insert(_uses)
                    newer = sa.func.max(_uses.c.used_at, statement.excluded.used_at)
                    connection.execute(
                        statement.on_conflict_do_update(index_elements=["document_id"], set_={"used_at": newer}), rows
                    )

    def of(self, scope: Scope) -> dict[str, float]:
        """Last uses of a scope's documents, by id; those that never were used have none."""
        query = (
            sa.select(_uses.c.document_id, _uses.c.used_at)
            .join(_documents, _documents.c.id == _uses.c.document_id)
            .where(_documents.c.tenant == scope.tenant, _documents.c.collection == scope.collection)
        )
        with self._engine.connect() as connection:
            return {row.document_id: row.used_at for row in connection.execute(query)}
