"""Cached things in a SQLite file: they outlive the process, and all processes of a machine share them."""

import threading
import time
from pathlib import Path

import sqlalchemy as sa

from ragsaver.caching.cache_file import evict, open_cache
from ragsaver.caching.entries import Asked, Clock, Holding, Key, Noted, area_of
from ragsaver.sqlite import Readers, SqliteDatabase

# A use is noted once in so many seconds: the order of eviction does not need it finer, and a hit is no write then.
_NOTE_USE_S = 60.0
# What is over or too much is looked for once in so many seconds, or entries: to look takes longer than to write one.
_TIDY_S, _TIDY_EVERY = 1.0, 100
_AROUND_BYTES = 1024  # an entry's name, its indexes' share, and what is left of its last page

_metadata = sa.MetaData()
_entries = sa.Table(
    "entries",
    _metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("area", sa.String, nullable=False, index=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False, index=True),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)
_leases = sa.Table(
    "leases",
    _metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)
_questions = sa.Table(
    "questions",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("shelf", sa.String, nullable=False),
    sa.Column("question", sa.LargeBinary, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Index("questions_by_shelf", "shelf", "number"),
    sqlite_autoincrement=True,  # a number never comes back, or who has read up to it would miss the next
)

# By the driver's own way: a hit is to cost well under a millisecond.
_GET = "SELECT value, expires_at, used_at FROM entries WHERE name = ? AND area = ? AND kind = ?"
_USED = "UPDATE entries SET used_at = ? WHERE name = ?"
_PUT = "INSERT OR REPLACE INTO entries (name, kind, area, value, expires_at, used_at) VALUES (?, ?, ?, ?, ?, ?)"
_SURPLUS = "DELETE FROM entries WHERE name IN (SELECT name FROM entries ORDER BY used_at, name LIMIT ?)"
_OVER = "DELETE FROM entries WHERE expires_at <= ?"
_REMOVE = "DELETE FROM entries WHERE name = ?"
_GOES_WITH_IT = """CREATE TRIGGER IF NOT EXISTS questions_go_with_entries AFTER DELETE ON entries
BEGIN DELETE FROM questions WHERE name = OLD.name; END"""
_NOTE = """INSERT OR REPLACE INTO questions (name, shelf, question, vector)
SELECT name, ?, ?, ? FROM entries WHERE name = ?"""
# As bytes, whatever a damaged file says that they are.
_NOTED = """SELECT number, entries.name, CAST(question AS BLOB), CAST(vector AS BLOB), expires_at FROM questions
LEFT JOIN entries ON entries.name = questions.name WHERE shelf = ? AND number > ? ORDER BY number LIMIT ?"""
_RELEASE = "DELETE FROM leases WHERE name = ? AND owner = ?"
_CLAIM = """INSERT INTO leases (name, owner, until) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until WHERE leases.until <= ?"""


class SqliteEntries:
    """An `EntryStore` in one SQLite file.

    The file is made at the first use: a worker or a command that answers nothing leaves none behind.

    :param max_entries: that are kept; the longest unused ones go first.
    :param max_bytes: ceiling for the file's used pages.
    """

    def __init__(self, path: Path, max_entries: int, max_bytes: int, clock: Clock = time.time) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._path = path
        self._opening = threading.Lock()
        self._file: SqliteDatabase | None = None
        # Until it is tidied again; half of what is left at most, since other processes write too.
        self._tidied_at = 0.0
        self._room = self._room_bytes = 0
        self._readers = Readers(path, "the cache of answers", self._open)

    def get(self, key: Key) -> bytes | None:
        """The entry, if its time is not over."""
        now = self._clock()
        rows = self._readers.rows(_GET, (key.name, key.area, key.kind))
        if not rows:
            return None
        value, expires_at, used_at = rows[0]
        if expires_at <= now:
            return None
        if used_at <= now - _NOTE_USE_S:
            self._open().write(_USED, (now, key.name))
        return bytes(value)

    def put(self, key: Key, value: bytes, ttl_s: float) -> bool:
        """Keep an entry; what is over goes, and the longest unused ones past the bound."""
        if len(value) > self._max_bytes // 2:
            return False
        now = self._clock()
        file = self._open()
        file.write(_PUT, (key.name, key.kind, key.area, value, now + ttl_s, now))
        self._room -= 1
        self._room_bytes -= len(value) + _AROUND_BYTES
        fresh = self._tidied_at <= now < self._tidied_at + _TIDY_S
        if self._room < 0 or self._room_bytes < 0 or not fresh:
            with file.writing() as connection:
                self._tidy(connection, now)
        return True

    def remove(self, key: Key) -> None:
        """Drop an entry."""
        self._open().write(_REMOVE, (key.name,))

    def note(self, shelf: Key, asked: Asked, kind: str, ttl_s: float) -> None:
        """Keep which question an entry answers."""
        question = asked.question.encode(errors="replace")
        self._open().write(_NOTE, (shelf.name, question, asked.vector, asked.name))
        self._room_bytes -= len(asked.vector) + len(question) + _AROUND_BYTES

    def noted(self, shelf: Key, kind: str, after: int, most: int) -> Noted:
        """What was noted after that point."""
        now = self._clock()
        rows = self._readers.rows(_NOTED, (shelf.name, after, most))
        there = tuple(
            Asked(name, question.decode(errors="replace"), vector)
            for _, name, question, vector, expires_at in rows
            if expires_at is not None and expires_at > now
        )
        return Noted(rows[-1][0] if rows else after, there, len(rows) == most)

    def claim(self, key: Key, owner: str, lease_s: float) -> bool:
        """Ask for the right to compute an entry."""
        now = self._clock()
        return self._open().write(_CLAIM, (key.name, owner, now + lease_s, now)) > 0

    def release(self, key: Key, owner: str) -> None:
        """Give that right back, if it is still this owner's."""
        self._open().write(_RELEASE, (key.name, owner))

    def clear(self, tenant: str | None = None, collection: str | None = None) -> int:
        """Drop all entries, or a tenant's, or those of its collection."""
        area = area_of(tenant, collection)
        with self._open().writing() as connection:
            gone = connection.execute(sa.delete(_entries).where(_entries.c.area.startswith(area)))
            return gone.rowcount

    def holding(self) -> Holding:
        """What is there."""
        counted = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(_entries.c.value)), 0))
        with self._open().reading() as connection:
            return Holding(*connection.execute(counted).one())

    def close(self) -> None:
        """Close the file."""
        self._readers.close()
        if self._file:
            self._file.close()

    def _tidy(self, connection: sa.Connection, now: float) -> None:
        connection.exec_driver_sql(_OVER, (now,))
        surplus = int(connection.exec_driver_sql("SELECT count(*) FROM entries").scalar() or 0) - self._max_entries
        if surplus > 0:
            connection.exec_driver_sql(_SURPLUS, (surplus,))
        self._room = min(_TIDY_EVERY, max(0, -surplus) // 2)
        free = evict(connection, _entries.c.used_at, self._max_bytes)
        self._room_bytes = free // 4  # indexes and half pages are more
        self._tidied_at = now

    def _open(self) -> SqliteDatabase:
        with self._opening:
            if self._file is None:
                file = open_cache(self._path, "the cache of answers", _metadata)
                file.write(_GOES_WITH_IT, ())
                self._file = file
            return self._file
