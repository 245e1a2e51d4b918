"""A section that was summarised once is never paid for again: summaries by what was summarised, on disk, bounded.

Tenants have partitions of their own, as in the embedding cache.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ragsaver.caching.cache_file import evict, open_cache

# SQLite takes 32,766 variables in a statement unless it was built otherwise.
_VARIABLES = 10_000
# A use is noted once in so many seconds: the order of eviction does not need it finer.
_NOTE_USE_S = 3600.0

_metadata = sa.MetaData()
_summaries = sa.Table(
    "summaries",
    _metadata,
    sa.Column("partition", sa.String, primary_key=True),
    sa.Column("hash", sa.String, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("input_tokens", sa.Integer, nullable=False),
    sa.Column("output_tokens", sa.Integer, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True)
class KeptSummary:
    """A summary, and the tokens that it took: what it saves whenever it comes from the cache."""

    text: str
    input_tokens: int = 0
    output_tokens: int = 0


class SummaryCache:
    """Summaries by fingerprint of model, prompt and text (xxh3-128 hex), in one SQLite file; any thread may use it.

    :param max_bytes: ceiling for the file's used pages; the summaries that were used longest ago go first.
    :raises StorageError: if the file can't be opened or written.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._file = open_cache(path, "the cache of summaries", _metadata)

    def get(self, partition: str, hashes: Sequence[str]) -> dict[str, KeptSummary]:
        """The summaries that are there; their use is noted."""
        found = self._read(partition, hashes)
        long_ago = _summaries.c.used_at < time.time() - _NOTE_USE_S
        for some in _parts(list(found)):
            with self._file.writing() as connection:
                connection.execute(
                    sa.update(_summaries).where(*_here(partition, some), long_ago).values(used_at=time.time())
                )
        return found

    def holds(self, partition: str, hashes: Sequence[str]) -> set[str]:
        """Which of them are there; nothing is noted as used."""
        return set(self._read(partition, hashes))

    def put(self, partition: str, summaries: Mapping[str, KeptSummary]) -> None:
        """Keep summaries, and drop the longest unused ones past the bound; what is there stays as it is."""
        if not summaries:
            return
        rows = [
            {
                "partition": partition,
                "hash": one,
                "text": kept.text,
                "input_tokens": kept.input_tokens,
                "output_tokens": kept.output_tokens,
                "used_at": time.time(),
            }
            for one, kept in summaries.items()
        ]
        with self._file.writing() as connection:
            connection.execute(insert(_summaries).on_conflict_do_nothing(), rows)
            evict(connection, _summaries.c.used_at, self._max_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, partition: str, hashes: Sequence[str]) -> dict[str, KeptSummary]:
        found: dict[str, KeptSummary] = {}
        columns = (_summaries.c.hash, _summaries.c.text, _summaries.c.input_tokens, _summaries.c.output_tokens)
        with self._file.reading() as connection:
            for some in _parts(hashes):
                rows = connection.execute(sa.select(*columns).where(*_here(partition, some)))
                found.update((row.hash, KeptSummary(row.text, row.input_tokens, row.output_tokens)) for row in rows)
        return found


def _here(partition: str, hashes: Sequence[str]) -> tuple[sa.ColumnElement[bool], ...]:
    return (_summaries.c.partition == partition, _summaries.c.hash.in_(hashes))


def _parts(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(hashes), _VARIABLES):
        yield hashes[start : start + _VARIABLES]
