"""Bytes by what they were made of, in one SQLite file that keeps to its bound."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ragsaver.caching.cache_file import evict, open_cache

# SQLite takes 32,766 variables in a statement unless it was built otherwise.
_VARIABLES = 10_000
# A use is noted once in so many seconds: the order of eviction does not need it finer.
_NOTE_USE_S = 3600.0


class SqliteBlobs:
    """A table of bytes, in a partition for each who may see them.

    :param what: it holds, for errors.
    :param table: its name; `column` is that of the bytes.
    :param max_bytes: ceiling for the file's used pages; what was used longest ago goes first.
    :raises StorageError: if the file can't be opened or written.
    """

    def __init__(self, path: Path, what: str, table: str, column: str, max_bytes: int) -> None:
        metadata = sa.MetaData()
        # Rows stand as they came, and only their names are looked up in a tree. In a tree of whole rows, four to a
        # page, each name that comes is a page written.
        self._rows = rows = sa.Table(
            table,
            metadata,
            sa.Column("partition", sa.String, primary_key=True),
            sa.Column("hash", sa.LargeBinary(16), primary_key=True),
            sa.Column(column, sa.LargeBinary, nullable=False),
            sa.Column("used_at", sa.Float, nullable=False, index=True),
        )
        # Built once: putting a statement with so many values together takes longer than running it.
        here = (
            rows.c.partition == sa.bindparam("where"),
            rows.c.hash.in_(sa.bindparam("names", expanding=True)),
        )
        self._held = sa.select(rows.c.hash).where(*here)
        self._note_use = (
            sa.update(rows).where(*here, rows.c.used_at < sa.bindparam("long_ago")).values(used_at=sa.bindparam("now"))
        )
        # By the thousand: the driver takes them as they are. So many marks stand for the names.
        self._get = f"SELECT hash, {column}, used_at FROM {table} WHERE partition = ? AND hash IN ({{}})"
        self._put = (
            f"INSERT INTO {table} (partition, hash, {column}, used_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        self._max_bytes = max_bytes
        self._file = open_cache(path, what, metadata)

    def get(self, partition: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """What is there; its use is noted.

        :param hashes: xxh3-128 hex.
        """
        found: dict[str, bytes] = {}
        now = time.time()
        for some in _parts(partition, hashes):
            marks = ",".join("?" * len(some["names"]))
            rows = self._file.answers(self._get.format(marks), (some["where"], *some["names"]))
            found.update((one.hex(), kept) for one, kept, _ in rows)
            if any(used_at < now - _NOTE_USE_S for _, _, used_at in rows):
                with self._file.writing() as connection:
                    connection.execute(self._note_use, {**some, "long_ago": now - _NOTE_USE_S, "now": now})
        return found

    def holds(self, partition: str, hashes: Sequence[str]) -> set[str]:
        """Which of them are there; nothing is noted as used."""
        found: set[str] = set()
        with self._file.reading() as connection:
            for some in _parts(partition, hashes):
                found.update(row.hash.hex() for row in connection.execute(self._held, some))
        return found

    def put(self, partition: str, blobs: Mapping[str, bytes]) -> None:
        """Keep some, and drop the longest unused past the bound."""
        if not blobs:
            return
        now = time.time()
        rows = [(partition, bytes.fromhex(one), kept, now) for one, kept in blobs.items()]
        with self._file.writing() as connection:
            connection.exec_driver_sql(self._put, rows)
            evict(connection, self._rows.c.used_at, self._max_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parts(partition: str, hashes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The values that say which rows."""
    for start in range(0, len(hashes), _VARIABLES):
        yield {"where": partition, "names": [bytes.fromhex(one) for one in hashes[start : start + _VARIABLES]]}
