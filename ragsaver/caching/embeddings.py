"""A text that was embedded once is never paid for again: vectors by what was embedded, on disk, bounded.

Vectors are kept in half precision, and whoever embeds rounds to it too (`rounded`), so that a vector is the same
whether it was computed or remembered. Tenants have partitions of their own unless the operator shares them: a hit
would tell one tenant what another has ingested.

What the same run of the model read of a text's tokens may be kept beside its vector, packed (`models.token_signs`): ten
times as many bytes, so under a bound of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.sqlite_blobs import SqliteBlobs

TOKENS_FILE = "tokens.sqlite"


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

    @property
    def keeps_tokens(self) -> bool:
        """Whether it keeps what was read of tokens."""
        ...

    def tokens(self, partition: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """What is there of texts' tokens."""
        ...

    def put_tokens(self, partition: str, packed: Mapping[str, bytes]) -> None:
        """Keep what was read of texts' tokens, if it does; before their vectors, since who has those reads no more."""
        ...

    def close(self) -> None:
        """Let go of what holds them."""
        ...


def rounded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors as the cache keeps them: the nearest half-precision numbers, as float32."""
    return vectors.astype(np.float16).astype(np.float32)


class SqliteEmbeddingCache:
    """An `EmbeddingCache` in a SQLite file, and one beside it for tokens.

    :param max_bytes: ceiling for the file's used pages; the vectors that were used longest ago go first.
    :param tokens_bytes: the same for the file of tokens; 0 keeps none.
    :raises StorageError: if a file can't be opened or written.
    """

    def __init__(self, path: Path, max_bytes: int, tokens_bytes: int = 0) -> None:
        self.path = path
        self._vectors = SqliteBlobs(path, "the embedding cache", "embeddings", "vector", max_bytes)
        self._tokens: SqliteBlobs | None = None
        if tokens_bytes:
            beside = path.with_name(TOKENS_FILE)
            self._tokens = SqliteBlobs(beside, "the cache of texts' tokens", "tokens", "packed", tokens_bytes)

    def get(self, partition: str, hashes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that are there; their use is noted."""
        found = self._vectors.get(partition, hashes)
        return {one: np.frombuffer(vector, np.float16).astype(np.float32) for one, vector in found.items()}

    def holds(self, partition: str, hashes: Sequence[str]) -> set[str]:
        """Which of them are there."""
        return self._vectors.holds(partition, hashes)

    def put(self, partition: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep vectors, and drop the longest unused ones past the bound."""
        if vectors:
            halves = np.stack(list(vectors.values())).astype(np.float16)
            self._vectors.put(partition, {one: half.tobytes() for one, half in zip(vectors, halves, strict=True)})

    @property
    def keeps_tokens(self) -> bool:
        """Whether it has a file for them."""
        return self._tokens is not None

    def tokens(self, partition: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """What is there; its use is noted."""
        return self._tokens.get(partition, hashes) if self._tokens else {}

    def put_tokens(self, partition: str, packed: Mapping[str, bytes]) -> None:
        """Keep some, and drop the longest unused past the bound."""
        if self._tokens:
            self._tokens.put(partition, packed)

    def close(self) -> None:
        """Close the files."""
        self._vectors.close()
        if self._tokens:
            self._tokens.close()
