"""A SQLite file that several processes may open at once, also for the first time."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from ragsaver.errors import StorageError

# For another process's write to end.
_PATIENCE_S = 30


def open_file(path: Path) -> sa.Engine:
    """An engine on the file, with a write-ahead log, so that readers and a writer don't wait for each other."""
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": _PATIENCE_S})
    event.listen(engine, "connect", _configure)
    return engine


def create_tables(connection: sa.Connection, tables: sa.MetaData) -> None:
    """Make the tables that are not there. Two processes may do it at once, which `create_all` may not."""
    for table in tables.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))


@contextmanager
def writing(engine: sa.Engine, what: str, path: Path, remedy: str) -> Iterator[sa.Connection]:
    """One transaction.

    :param what: is written, for errors: `the manifest`.
    :raises StorageError: if the disk, or the file, refuses.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise StorageError(f"{what} can't be written: {error.orig}", where=str(path), remedy=remedy) from error


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # It is a property of the file: where another process sets it right now, it will be set.
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
