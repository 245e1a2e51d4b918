"""Has anything in a collection changed since? A mark that is another one after every change, and while one goes on.

It is set anew when new versions are committed and once more when the index has followed them: what was read in between
is older than the second mark.
"""

import uuid

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import VARIABLES, replace
from ragsaver.index.scope import Scope

metadata = sa.MetaData()

_marks = sa.Table(
    "changes",
    metadata,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("collection", sa.String, primary_key=True),
    sa.Column("mark", sa.String, nullable=False),
)

# The manifest's own table, as far as this one needs it.
_intents = sa.Table(
    "intents",
    sa.MetaData(),
    sa.Column("document_id", sa.String),
    sa.Column("tenant", sa.String),
    sa.Column("collection", sa.String),
)

# Built once: put together anew they would take longer than they run.
_MARK = sa.select(_marks.c.mark).where(
    _marks.c.tenant == sa.bindparam("tenant"), _marks.c.collection == sa.bindparam("collection")
)


class Changes:
    """The marks in the manifest's database. Made by the manifest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, scope: Scope) -> str:
        """The collection's mark; empty if nothing was ever committed."""
        rows = self._database.rows(_MARK, {"tenant": scope.tenant, "collection": scope.collection})
        return str(rows[0][0]) if rows else ""

    def take_over(self, other: "Changes") -> None:
        """Collections that had documents in another manifest had some: marks of their own for those that have none."""
        with other._database.reading() as connection:
            before = {Scope(row.tenant, row.collection) for row in connection.execute(sa.select(_marks))}
        for scope in before:
            if not self.mark(scope):
                with self._database.writing() as connection:
                    note(connection, scope)


def note(connection: sa.Connection, scope: Scope) -> None:
    """Something of the scope changes; first in the transaction that commits it."""
    row = {"tenant": scope.tenant, "collection": scope.collection, "mark": uuid.uuid4().hex}
    connection.execute(replace(connection.dialect.name, _marks), row)


def note_followed(connection: sa.Connection, document_ids: list[str]) -> None:
    """The index has followed these documents' intents; before they are cleared."""
    scopes: set[tuple[str, str]] = set()
    for start in range(0, len(document_ids), VARIABLES):
        some = _intents.c.document_id.in_(document_ids[start : start + VARIABLES])
        rows = connection.execute(sa.select(_intents.c.tenant, _intents.c.collection).distinct().where(some))
        scopes.update((row.tenant, row.collection) for row in rows)
    for pair in sorted(scopes):
        note(connection, Scope(*pair))
