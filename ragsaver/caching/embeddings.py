"""A text that was embedded once is never paid for again: vectors by what was embedded, on disk, bounded.

Vectors are kept in half precision, and whoever embeds rounds to it too (`rounded`), so that a vector is the same
whether it was computed or remembered. Tenants have partitions of their own unless the operator shares them: a hit
would tell one tenant what another has ingested.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from ragsaver.caching.cache_file import evict, open_cache

# SQLite takes 32,766 variables in a statement unless it was built otherwise.
_VARIABLES = 10_000
# A use is noted once in so many seconds: the order of eviction does not need it finer.
_NOTE_USE_S = 3600.0

_metadata = sa.MetaData()
# Rows stand as they came, and only their names are looked up in a tree. In a tree of whole rows, four to a page, each
# name that comes is a page written.
_vectors = sa.Table(
    "embeddings",
    _metadata,
    sa.Column("partition", sa.String, primary_key=True),
    sa.Column("hash", sa.LargeBinary(16), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)

# Built once: putting a statement with so many values together takes longer than running it.
_HERE = (
    _vectors.c.partition == sa.bindparam("where"),
    _vectors.c.hash.in_(sa.bindparam("names", expanding=True)),
)
_HELD = sa.select(_vectors.c.hash).where(*_HERE)
_NOTE_USE = (
    sa.update(_vectors).where(*_HERE, _vectors.c.used_at < sa.bindparam("long_ago")).values(used_at=sa.bindparam("now"))
)
# By the thousand: the driver takes them as they are. So many marks stand for the names.
_GET = "SELECT hash, vector FROM embeddings WHERE partition = ? AND hash IN ({})"
_PUT = "INSERT INTO embeddings (partition, hash, vector, used_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class EmbeddingCache(Protocol):
    """Vectors by fingerprint of what was embedded (model and text, xxh3-128 hex)."""

    def get(self, partition: str, hashes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that are there, (dim,) float32 each."""
        ...

    def holds(self, partition: str, hashes: Sequence[str]) -> set[str]:
        """Which of them are there; nothing is noted as used."""
        ...

    def put(self, partition: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep vectors."""
        ...

    def close(self) -> None:
        """Let go of what holds them."""
        ...


def rounded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors as the cache keeps them: the nearest half-precision numbers, as float32."""
    return vectors.astype(np.float16).astype(np.float32)


class SqliteEmbeddingCache:
    """An `EmbeddingCache` in one SQLite file.

    :param max_bytes: ceiling for the file's used pages; the vectors that were used longest ago go first.
    :raises StorageError: if the file can't be opened or written.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._file = open_cache(path, "the embedding cache", _metadata)

    def get(self, partition: str, hashes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that are there; their use is noted."""
        found: dict[str, NDArray[np.float32]] = {}
        now = time.time()
        for some in _parts(partition, hashes):
            with self._file.reading() as connection:
                marks = ",".join("?" * len(some["names"]))
                rows = connection.exec_driver_sql(_GET.format(marks), (some["where"], *some["names"])).all()
            found.update((one.hex(), np.frombuffer(vector, np.float16).astype(np.float32)) for one, vector in rows)
            if rows:
                with self._file.writing() as connection:
                    connection.execute(_NOTE_USE, {**some, "long_ago": now - _NOTE_USE_S, "now": now})
        return found

    def holds(self, partition: str, hashes: Sequence[str]) -> set[str]:
        """Which of them are there."""
        found: set[str] = set()
        with self._file.reading() as connection:
            for some in _parts(partition, hashes):
                found.update(row.hash.hex() for row in connection.execute(_HELD, some))
        return found

    def put(self, partition: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep vectors, and drop the longest unused ones past the bound."""
        if not vectors:
            return
        now = time.time()
        halves = np.stack(list(vectors.values())).astype(np.float16)
        rows = [(partition, bytes.fromhex(one), v.tobytes(), now) for one, v in zip(vectors, halves, strict=True)]
        with self._file.writing() as connection:
            connection.exec_driver_sql(_PUT, rows)
            evict(connection, _vectors.c.used_at, self._max_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parts(partition: str, hashes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The values of `_HERE`."""
    for start in range(0, len(hashes), _VARIABLES):
        yield {"where": partition, "names": [bytes.fromhex(one) for one in hashes[start : start + _VARIABLES]]}
