"""The embedding cache of a fleet: one Redis that all workers share.

A vector that nobody used for `ttl_days` goes by itself; what more is to go when the memory is full is Redis' own
`maxmemory` with the policy `volatile-lru`: messages of a broker in the same Redis have no time to live, and stay.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.addresses import without_password
from ragsaver.caching.redis_link import connect
from ragsaver.errors import StorageError

# Keys of one round trip.
_KEYS = 1000
_DAY_S = 86_400
_VECTORS, _TOKENS = "embedding", "tokens"


class RedisEmbeddingCache:
    """An `EmbeddingCache` in Redis.

    :param url: `redis://HOST:PORT/DB`, or `rediss://` for TLS.
    :param ttl_days: after so many days without use a vector goes.
    :param keeps_tokens: whether it keeps what was read of texts' tokens.
    :raises MissingExtra: if the redis package is not installed.
    """

    def __init__(self, url: str, *, ttl_days: int, keeps_tokens: bool = False) -> None:
        self._redis, self._failed = connect(url)
        self.keeps_tokens = keeps_tokens
        self._place = without_password(url)
        self._ttl_s = ttl_days * _DAY_S

    def get(self, partition: str, hashes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that are there; their time begins anew."""

        found = self._kept(_VECTORS, partition, hashes)
        return {one: np.frombuffer(vector, np.float16).astype(np.float32) for one, vector in found.items()}

    def holds(self, partition: str, hashes: Sequence[str]) -> set[str]:
        """Which of them are there."""
        answers = self._ask(lambda pipe, key: pipe.exists(key), _VECTORS, partition, hashes)
        return {one for one, there in zip(hashes, answers, strict=True) if there}

    def put(self, partition: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep vectors."""
        packed = {one: vector.astype(np.float16).tobytes() for one, vector in vectors.items()}
        self._keep(_VECTORS, partition, packed)

    def tokens(self, partition: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """What is there of texts' tokens; its time begins anew."""
        return self._kept(_TOKENS, partition, hashes) if self.keeps_tokens else {}

    def put_tokens(self, partition: str, packed: Mapping[str, bytes]) -> None:
        """Keep what was read of texts' tokens, if it does."""
        if self.keeps_tokens:
            self._keep(_TOKENS, partition, packed)

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _kept(self, kind: str, partition: str, hashes: Sequence[str]) -> dict[str, bytes]:
        answers = self._ask(lambda pipe, key: pipe.getex(key, ex=self._ttl_s), kind, partition, hashes)
        return {one: answer for one, answer in zip(hashes, answers, strict=True) if answer is not None}

    def _keep(self, kind: str, partition: str, blobs: Mapping[str, bytes]) -> None:
        by_key = {_key(kind, partition, one): blob for one, blob in blobs.items()}
        self._ask(lambda pipe, key: pipe.set(key, by_key[key], ex=self._ttl_s), kind, partition, list(blobs))

    def _ask(self, command: Any, kind: str, partition: str, hashes: Sequence[str]) -> list[Any]:
        answers: list[Any] = []
        try:
            for start in range(0, len(hashes), _KEYS):
                pipe = self._redis.pipeline(transaction=False)
                for one in hashes[start : start + _KEYS]:
                    command(pipe, _key(kind, partition, one))
                answers += pipe.execute()
        except self._failed as error:
            raise StorageError(
                f"the embedding cache can't be reached: {error}",
                where=self._place,
                remedy="Start it, or set `embedding_cache.backend: sqlite`",
            ) from error
        return answers


def _key(kind: str, partition: str, one: str) -> str:
    return f"ragsaver:{kind}:{partition}:{one}"
