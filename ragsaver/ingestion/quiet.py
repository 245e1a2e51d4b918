"""Which runs found nothing to do? The same run finds nothing again, and needs no look at the manifest's documents.

A run is written down before it reads the manifest, and marked as quiet when it has changed nothing. Whatever is
committed meanwhile or later, by whomever, strikes the collection's runs out. That is safe where one writer waits for
the other, as in SQLite; in PostgreSQL no run is written down. Of those that ask the same, the last one is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import Steps, add_column
from ragsaver.index.scope import Scope

metadata = sa.MetaData()

_runs = sa.Table(
    "quiet_runs",
    metadata,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("collection", sa.String, primary_key=True),
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("documents", sa.Integer),
    sa.Column("chunks", sa.Integer),
    sa.Column("found", sa.String),
    sa.Column("noted", sa.JSON(none_as_null=True)),
    sa.Column("passed_over", sa.JSON(none_as_null=True)),
)


def _begin_anew(connection: sa.Connection) -> None:
    connection.execute(sa.delete(_runs))
    for column in (_runs.c.found, _runs.c.noted, _runs.c.passed_over):
        add_column(connection, column)


# From one format of the manifest to the next one.
STEPS: Steps = {2: _begin_anew}


class Run(NamedTuple):
    """A run, as it is known again.

    :ivar asked: a digest of what it was to do.
    :ivar found: a digest of the documents that were there.
    """

    asked: str
    found: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """What a run left as it was.

    :ivar noted: sources of those documents that have lost something, as is told again.
    :ivar passed_over: files that were left out for their kind, by suffix.
    """

    documents: int
    chunks: int
    noted: Sequence[str] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """As the table has it."""
        kept = {"noted": list(self.noted), "passed_over": dict(self.passed_over)}
        return {"documents": self.documents, "chunks": self.chunks, **kept}


class QuietRuns:
    """The table of quiet runs in the manifest's database. Made by the manifest.

    :param kept: whether any run is written down.
    """

    def __init__(self, database: Database, *, kept: bool) -> None:
        self._reading, self._writing = database.reading, database.writing
        self.kept = kept

    def get(self, scope: Scope, run: Run) -> Quiet | None:
        """The run, if it was quiet and nothing was committed since."""
        query = sa.select(_runs.c.documents, _runs.c.chunks, _runs.c.noted, _runs.c.passed_over)
        with self._reading() as connection:
            row = connection.execute(query.where(*_one(scope, run))).first()
        if row is None or row.documents is None:
            return None
        return Quiet(row.documents, row.chunks, tuple(row.noted), row.passed_over)

    def begin(self, scope: Scope, run: Run) -> None:
        """Write a run down, before it reads the manifest."""
        if not self.kept:
            return
        with self._writing() as connection:
            connection.execute(sa.delete(_runs).where(*_asked(scope, run)))
            row = {"tenant": scope.tenant, "collection": scope.collection, "digest": run.asked, "found": run.found}
            connection.execute(sa.insert(_runs), row)

    def end(self, scope: Scope, run: Run, quiet: Quiet) -> None:
        """Mark a run as quiet, unless something was committed since it began."""
        with self._writing() as connection:
            connection.execute(sa.update(_runs).where(*_one(scope, run)).values(quiet.row))


def strike_out(connection: sa.Connection, scope: Scope) -> None:
    """Something of the scope changes; within the transaction that commits it."""
    connection.execute(sa.delete(_runs).where(*_in(scope)))


def _in(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    return (_runs.c.tenant == scope.tenant, _runs.c.collection == scope.collection)


def _asked(scope: Scope, run: Run) -> tuple[sa.ColumnElement[bool], ...]:
    return (*_in(scope), _runs.c.digest == run.asked)


def _one(scope: Scope, run: Run) -> tuple[sa.ColumnElement[bool], ...]:
    return (*_asked(scope, run), _runs.c.found == run.found)
