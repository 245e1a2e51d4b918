"""Where is state kept? In SQLite files under `home`, or in one PostgreSQL that workers on several machines share.

Whoever keeps something says which tables it has, and reads and writes in transactions; `dialects` has what the two
say differently.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from ragsaver.dialects import Steps, write_rows
from ragsaver.errors import StorageError
from ragsaver.postgres import PostgresDatabase, PostgresSchema
from ragsaver.settings import Settings
from ragsaver.sqlite import SqliteDatabase

Place = Path | PostgresSchema

# Copied together.
_ROWS = 1000


class Database(Protocol):
    """One SQLite file, or one schema of a PostgreSQL database.

    :ivar where: it is, for people; without a password.
    """

    where: str

    def set_up(self, tables: Sequence[sa.MetaData], version: int, remedy: str, steps: Steps | None = None) -> None:
        """Make the tables that are not there; several processes may do it at once.

        :param version: of the tables' format.
        :param remedy: where they are there in a format that no step leads on from.
        :param steps: each makes the format of its number into the next one; all that are needed are taken in one
            transaction.
        :raises StorageError: if they are, or can't be made.
        """
        ...

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A connection to read from.

        :raises StorageError: if it can't be read.
        """
        ...

    def rows(self, statement: sa.Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """All rows of a statement that is kept for all calls; for what is asked with every question.

        :param values: of its parameters; its columns are text or numbers.
        :raises StorageError: if it can't be read.
        """
        ...

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """One transaction: all of what is done inside, or nothing where it raises.

        :raises StorageError: if it can't be written.
        """
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


def schema_of(settings: Settings, ending: str) -> PostgresSchema | None:
    """The schema of a project whose name has this ending; None where the project keeps its state in files."""
    database = settings.database
    return None if database.url is None else PostgresSchema(database.url, f"{database.schema_name}{ending}")


def open_database(place: Place, what: str, remedy: str) -> Database:
    """Open what is at a place.

    :param what: it holds, for errors: `the manifest`.
    :param remedy: where a file can't be read or written; for a server it depends on what the server says.
    :raises MissingExtra: if it takes a driver that is not installed.
    """
    if isinstance(place, Path):
        return SqliteDatabase(place, what, remedy)
    return PostgresDatabase(place, what)


def copy_rows(source: Database, target: Database, tables: Sequence[sa.Table]) -> dict[str, int]:
    """Copy whole tables in one transaction; how many rows each has. What was copied before is left as it is.

    :raises StorageError: if the target holds other rows of them, or not as many as the source in the end.
    """
    with source.writing() as before, target.writing() as after:
        before.execute(sa.delete(tables[0]).where(sa.false()))  # only a write keeps the others from writing
        counts, there = ({table.name: _count(one, table) for table in tables} for one in (before, after))
        if counts == there:
            return counts
        if any(there.values()):
            raise StorageError(
                f"there is something in the table `{next(name for name, rows in there.items() if rows)}` already",
                where=target.where,
                remedy="Copy before anything else is written there: set `database.schema_name` to a new name",
            )
        for table in tables:
            for some in before.execute(sa.select(table)).mappings().partitions(_ROWS):
                write_rows(after, sa.insert(table), [dict(row) for row in some])
            if _count(after, table) != counts[table.name]:
                raise StorageError(f"the table `{table.name}` was not copied whole", where=target.where)
    return counts


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
