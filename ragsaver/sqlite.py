"""A SQLite file that several processes may open at once, also for the first time."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from ragsaver.deadline import allowed_s, holding, time_left_s
from ragsaver.dialects import Steps, bring_on, in_words, indexes
from ragsaver.errors import StorageError, StorageLate, StorageUnavailable

# For another process's write to end; who has a deadline waits no longer than till then. Where that is over, what was
# paid for still gets a moment to be written.
_PATIENCE_S = 30
_LEAST_S = 0.1
_STEP_MS = 1000
_AGAIN_S = 5.0
_BUSY = "Another process has it to itself: let that end (a backup, a transaction that was left open)"
_LATE = "Allow for more time; if another process has it to itself (a backup, an open transaction), let that end"
_READ_PATIENCE_S = 1.0  # readers wait for nobody, but where a file is being put in order
# Keys are hashes, so each batch of rows touches pages all over the file: a longer log writes a page back once for
# many batches, and a larger cache finds it without reading it again.
_LOG_PAGES = 8000
_CACHE_KIB = 8 * 1024
# Of a connection, for what it waits.
_WAITS = "patience_ms"


def open_file(path: Path) -> sa.Engine:
    """An engine on the file, with a write-ahead log, so that readers and a writer don't wait for each other."""
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": _PATIENCE_S})
    event.listen(engine, "connect", _configure)
    return engine


def create_tables(connection: sa.Connection, tables: sa.MetaData) -> None:
    """Make the tables that are not there. Two processes may do it at once, which `create_all` may not."""
    for table in tables.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in indexes(table, "sqlite"):
            connection.execute(CreateIndex(index, if_not_exists=True))


class Readers:
    """Connections to read from, as many as read at once, without a pool's work: for what is asked with every question.

    :param what: is in the file, for errors: `the manifest`.
    :param make: makes the file with its tables, if it is not there.
    :param remedy: where it can't be read.
    """

    def __init__(self, path: Path, what: str, make: Callable[[], object], remedy: str | None = None) -> None:
        self._path = path
        self._what = what
        self._remedy = remedy
        self._make = make
        self._idle: list[sqlite3.Connection] = []
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def rows(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """All rows.

        :raises StorageError: if the file can't be read.
        """
        try:
            connection = self._taken()
            hurried_ms = _patience_ms(_READ_PATIENCE_S)
            try:
                if hurried_ms < _READ_PATIENCE_S * 1000:
                    _wait(connection, hurried_ms)
                return connection.execute(statement, values).fetchall()
            finally:
                if hurried_ms < _READ_PATIENCE_S * 1000:
                    _wait(connection, int(_READ_PATIENCE_S * 1000))
                self._idle.append(connection)
        except sqlite3.Error as error:
            problem = f"{self._what} can't be read: {error}"
            raise _told(error, problem, str(self._path), self._remedy) from error

    def close(self) -> None:
        """Close them all; nobody reads any more."""
        with self._lock:
            while self._all:
                self._all.pop().close()

    def _taken(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()  # the one that was used last, whose pages are in memory
        except IndexError:
            self._make()
            made = _plain(self._path, _READ_PATIENCE_S)
            with self._lock:
                self._all.append(made)
            return made


class SqliteDatabase:
    """A `Database` in one SQLite file. Made by `open_database`.

    :param what: it holds, for errors: `the manifest`.
    :param remedy: where it can't be read or written.
    """

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        self.where = str(path)
        self._path = path
        self._engine = open_file(path)
        self._what = what
        self._remedy = remedy
        # Of threads that write the others wait here: SQLite would look again only after some milliseconds.
        self._one_writes = threading.RLock()
        self._readers = Readers(path, what, lambda: None, remedy)
        self._writer: sqlite3.Connection | None = None
        self._writer_waits_ms = 0
        self._written: sa.Connection | None = None

    def set_up(self, tables: Sequence[sa.MetaData], version: int, remedy: str, steps: Steps | None = None) -> None:
        """Make the tables that are not there; the file's `user_version` says of which format they are."""
        with self.writing() as connection:
            found = connection.scalar(sa.text("PRAGMA user_version")) or 0
            if 0 < found < version and steps:
                # Said in words: what makes tables begins no transaction by itself.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                found = connection.scalar(sa.text("PRAGMA user_version")) or 0
                found = bring_on(connection, found, version, steps)
                connection.execute(sa.text(f"PRAGMA user_version = {found}"))
            # Asked first: an index may be on columns that tables of another format lack.
            if found not in (0, version):
                raise StorageError(
                    f"this is format {found} of {self._what}, this RAGSaver reads {version}",
                    where=self.where,
                    remedy=remedy,
                )
            for some in tables:
                create_tables(connection, some)
            if found == 0:
                connection.execute(sa.text(f"PRAGMA user_version = {version}"))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read from."""
        try:
            with self._engine.connect() as connection:
                _be_patient(connection)
                yield connection
        except (DBAPIError, sqlite3.Error) as error:
            problem = error.orig if isinstance(error, DBAPIError) else error
            raise _told(problem, f"{self._what} can't be read: {problem}", self.where, self._remedy) from error

    def rows(self, statement: sa.Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """All rows, as the file has them."""
        words, names = in_words(statement)
        return self.answers(words, [values[name] for name in names])

    def answers(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """All rows of a statement in SQLite's words, without a pool's work.

        :raises StorageError: if the file can't be read.
        """
        return self._readers.rows(statement, values)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction."""
        try:
            with self._turn():
                if self._written is None:
                    self._written = self._engine.connect()  # kept: to begin and end one takes longer than its use
                _be_patient(self._written)
                with self._written.begin():
                    yield self._written
        except (DBAPIError, sqlite3.Error) as error:
            raise self._unwritten(error.orig if isinstance(error, DBAPIError) else error) from error

    def write(self, statement: str, values: Sequence[Any]) -> int:
        """One statement, a transaction of its own, without a pool's work; how many rows it changed.

        Not inside `writing`, which it would wait for.

        :raises StorageError: if the disk, or the file, refuses.
        """
        try:
            with self._turn():
                if self._writer is None:
                    self._writer = _plain(self._path, _PATIENCE_S)
                    _configure(self._writer, None)
                patience_ms = _patience_ms(_PATIENCE_S)
                if patience_ms != self._writer_waits_ms:
                    _wait(self._writer, patience_ms)
                    self._writer_waits_ms = patience_ms
                return self._writer.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise self._unwritten(error) from error

    def close(self) -> None:
        """Close the file."""
        self._readers.close()
        with self._one_writes:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if self._written is not None:
                self._written.close()
                self._written = None
        self._engine.dispose()

    def _turn(self) -> AbstractContextManager[None]:
        """This thread's turn among those that write; StorageLate if the running request has no time for it."""

        def late() -> StorageLate:
            problem = f"{self._what} can't be written: others wait for the file"
            return StorageLate(problem, where=self.where, remedy=_LATE, retry_after_s=_AGAIN_S)

        return holding(self._one_writes, late, _LEAST_S)

    def _unwritten(self, problem: BaseException | None) -> StorageError:
        return _told(problem, f"{self._what} can't be written: {problem}", self.where, self._remedy)


def _told(error: BaseException | None, problem: str, where: str, remedy: str | None) -> StorageError:
    """What to do about it depends on whether somebody else has the file."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        # Who waits, waits in steps: a deadline that is nearer than one of them is what ended it.
        left_s = time_left_s()
        kind = StorageUnavailable if left_s is None or left_s > _STEP_MS / 1000 else StorageLate
        return kind(problem, where=where, remedy=_BUSY, retry_after_s=_AGAIN_S)
    return StorageError(problem, where=where, remedy=remedy)


def _plain(path: Path, patience_s: float) -> sqlite3.Connection:
    """A connection without a pool: each statement is a transaction of its own, and any thread may use it in turn."""
    return sqlite3.connect(path, timeout=patience_s, isolation_level=None, check_same_thread=False)


def _patience_ms(most_s: float) -> int:
    """That the running request can wait for another process; in steps if long: each change takes time."""
    patience_ms = int(1000 * max(allowed_s(most_s), min(_LEAST_S, most_s)))
    return patience_ms if patience_ms < 2 * _STEP_MS else patience_ms // _STEP_MS * _STEP_MS


def _wait(connection: sqlite3.Connection, patience_ms: int) -> None:
    connection.execute(f"PRAGMA busy_timeout={patience_ms}")


def _be_patient(connection: sa.Connection) -> None:
    """Let a connection that is kept for all wait as long as the running request can."""
    patience_ms, info = _patience_ms(_PATIENCE_S), connection.info
    if info.get(_WAITS) != patience_ms:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        _wait(driver, patience_ms)
        info[_WAITS] = patience_ms


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    _wait(connection, _patience_ms(_PATIENCE_S))
    # It is a property of the file: where another process sets it right now, it will be set.
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
