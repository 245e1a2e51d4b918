"""A Redis that is both cache and broker, and full: of the caches what was used longest ago goes, and no message does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from ragsaver.caching.entries import Asked, Key, Place
from ragsaver.caching.redis_embeddings import RedisEmbeddingCache
from ragsaver.caching.redis_entries import RedisEntries
from ragsaver.settings import Settings
from ragsaver.workers.app import CONVERT, EMBED
from ragsaver.workers.broker import Broker
from tests.redis_server import redis_server

MOST_BYTES = 4 * 2**20
PLACE = Place.of("acme", "docs", None)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """With the policy that the compose file has."""
    with redis_server(tmp_path) as url:
        yield url


@pytest.fixture
def embeddings(url: str) -> Iterator[RedisEmbeddingCache]:
    made = RedisEmbeddingCache(url, ttl_days=30)
    yield made
    made.close()


@pytest.fixture
def answers(url: str) -> Iterator[RedisEntries]:
    made = RedisEntries(url, "answers", 100_000)
    yield made
    made.close()


def vectors(count: int) -> dict[str, np.ndarray]:
    return {f"{n:032x}": np.full(384, n, np.float32) for n in range(count)}


def test_a_full_redis_bounds_the_caches_and_keeps_the_messages(
    url: str, embeddings: RedisEmbeddingCache, answers: RedisEntries
):
    client, broker = Redis.from_url(url), Broker(Settings.model_validate({"queue": {"broker_url": url}}))
    client.config_set("maxmemory", MOST_BYTES)
    broker.send(CONVERT, 40)
    broker.send(EMBED, 20)
    before = set(client.keys())
    kept = vectors(5_000)
    for n in range(1_000):
        answers.put(Key.of(PLACE, "answer", str(n)), b"x" * 1_000, 3600.0)
    embeddings.put("acme", kept)
    told = client.info()
    assert told["evicted_keys"] > 0
    assert told["used_memory"] <= MOST_BYTES + 2**18
    assert 0 < len(embeddings.holds("acme", list(kept))) < len(kept)
    assert before <= set(client.keys())
    assert (broker.backlog(CONVERT), broker.backlog(EMBED)) == (40, 20)
    broker.close()
    client.close()


def test_every_key_of_a_cache_has_a_time_to_live(url: str, embeddings: RedisEmbeddingCache, answers: RedisEntries):
    embeddings.put("acme", vectors(2))
    shelf = Key.of(PLACE, "shelf", "docs")
    for name, ttl_s in (("long", 3600.0), ("short", 60.0)):
        answers.put(Key.of(PLACE, "answer", name), b"An answer.", ttl_s)
        answers.note(shelf, Asked(name, "Who?", b"v"), "answer", ttl_s)
        answers.claim(Key.of(PLACE, "answer", name), "me", 10.0)
    client = Redis.from_url(url)
    left_s = {key: client.ttl(key) for key in client.scan_iter()}
    assert len(left_s) == 10  # vectors, entries, their questions, their leases: two of each; uses and shelf
    assert all(left > 0 for left in left_s.values())
    assert left_s[b"ragsaver:answers:uses"] > 3000
    client.close()
