"""Vectors come back as they were kept, within their partition and within the bound."""

import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import redis

from ragsaver.caching import sqlite_blobs
from ragsaver.caching.embeddings import EmbeddingCache, SqliteEmbeddingCache, rounded
from ragsaver.caching.opening import open_embedding_cache
from ragsaver.caching.redis_embeddings import RedisEmbeddingCache
from ragsaver.errors import StorageError
from ragsaver.settings import EmbeddingCacheSettings
from ragsaver.sqlite import SqliteDatabase
from tests.redis_server import redis_server


def vectors(*numbers: int, dim: int = 384) -> dict[str, np.ndarray]:
    return {f"{n:032x}": np.random.default_rng(n).normal(size=dim).astype(np.float32) / 20 for n in numbers}


@pytest.fixture(params=["sqlite", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path):
    with ExitStack() as running:
        if request.param == "redis":
            url = running.enter_context(redis_server(tmp_path))
            wanted = {"backend": "redis", "redis_url": url, "tokens_mb": 1}
        else:
            wanted = {"max_mb": 1024}
        made = open_embedding_cache(tmp_path, EmbeddingCacheSettings.model_validate(wanted))
        yield made
        made.close()


def test_what_was_kept_comes_back_as_whoever_embeds_rounds_it(cache: EmbeddingCache):
    kept = vectors(1, 2)
    cache.put("acme", kept)
    found = cache.get("acme", [*kept, f"{3:032x}"])
    assert set(found) == set(kept)
    for name, vector in found.items():
        np.testing.assert_array_equal(vector, rounded(kept[name]))
        assert vector.dtype == np.float32
        cosine = vector @ kept[name] / np.linalg.norm(vector) / np.linalg.norm(kept[name])
        assert cosine > 0.99999


def test_a_partition_never_sees_another_s_vectors(cache: EmbeddingCache):
    kept = vectors(1)
    cache.put("acme", kept)
    assert cache.get("rival", list(kept)) == {}


def test_it_says_what_it_holds(cache: EmbeddingCache):
    kept = vectors(1, 2)
    cache.put("acme", kept)
    assert cache.holds("acme", [*kept, f"{3:032x}"]) == set(kept)
    assert cache.holds("rival", list(kept)) == set()


def test_what_was_read_of_tokens_is_kept_beside_and_apart(cache: EmbeddingCache):
    packed = {f"{n:032x}": bytes([n]) * 1000 for n in (1, 2)}
    assert cache.keeps_tokens
    cache.put_tokens("acme", packed)
    assert cache.tokens("acme", [*packed, f"{3:032x}"]) == packed
    assert cache.tokens("rival", list(packed)) == {}
    assert cache.get("acme", list(packed)) == {} and cache.holds("acme", list(packed)) == set()
    cache.put("acme", vectors(1))
    assert cache.tokens("acme", list(packed)) == packed


@pytest.mark.parametrize("wanted", [{"tokens_mb": 0}, {"backend": "redis", "redis_url": "redis://127.0.0.1:1/0"}])
def test_where_no_tokens_are_kept_nothing_is_asked_and_no_file_made(tmp_path: Path, wanted: dict[str, object]):
    cache = open_embedding_cache(tmp_path, EmbeddingCacheSettings.model_validate(wanted))
    cache.put_tokens("acme", {"0" * 32: b"some"})
    assert (cache.keeps_tokens, cache.tokens("acme", ["0" * 32])) == (False, {})
    assert not (tmp_path / "tokens.sqlite").exists()
    cache.close()


def test_tokens_have_a_bound_of_their_own(tmp_path: Path):
    cache = SqliteEmbeddingCache(tmp_path / "embeddings.sqlite", 2**30, 256 * 1024)
    kept = vectors(1)
    cache.put("acme", kept)
    for n in range(100):
        cache.put_tokens("acme", {f"{n:032x}": bytes(10_000)})
    assert os.path.getsize(tmp_path / "tokens.sqlite") < 512 * 1024
    assert set(cache.get("acme", list(kept))) == set(kept)
    there = cache.tokens("acme", [f"{n:032x}" for n in range(100)])
    assert f"{99:032x}" in there and f"{0:032x}" not in there
    cache.close()


def test_a_use_is_written_down_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A question that finds what others found a moment ago waits for nobody who writes."""
    cache = SqliteEmbeddingCache(tmp_path / "embeddings.sqlite", 2**30, 2**30)
    cache.put_tokens("acme", {"0" * 32: b"some"})
    written = []
    writing = SqliteDatabase.writing
    monkeypatch.setattr(SqliteDatabase, "writing", lambda self: written.append(self) or writing(self))
    cache.tokens("acme", ["0" * 32])
    assert written == []
    later = sqlite_blobs.time.time() + 4000
    monkeypatch.setattr(sqlite_blobs.time, "time", lambda: later)
    cache.tokens("acme", ["0" * 32])
    cache.tokens("acme", ["0" * 32])
    assert len(written) == 1
    cache.close()


def test_a_redis_that_is_not_there_is_named_without_its_password(tmp_path: Path):
    cache = RedisEmbeddingCache("redis://:hunter2@127.0.0.1:1/0", ttl_days=1)
    with pytest.raises(StorageError, match=r"can't be reached.*embedding_cache\.backend") as caught:
        cache.get("acme", ["0" * 32])
    assert "127.0.0.1:1" in str(caught.value) and "hunter2" not in str(caught.value)


def test_in_redis_a_use_begins_the_time_anew(tmp_path: Path):
    with redis_server(tmp_path) as url:
        cache = RedisEmbeddingCache(url, ttl_days=1)
        kept = vectors(1)
        cache.put("acme", kept)
        client = redis.Redis.from_url(url)
        (key,) = client.keys()
        client.expire(key, 10)
        cache.holds("acme", list(kept))
        assert client.ttl(key) <= 10
        cache.get("acme", list(kept))
        assert client.ttl(key) > 80_000
        cache.close()


def test_it_is_there_after_a_restart(tmp_path: Path):
    cache = SqliteEmbeddingCache(tmp_path / "embeddings.sqlite", 2**30)
    kept = vectors(1)
    cache.put("acme", kept)
    cache.close()
    again = SqliteEmbeddingCache(tmp_path / "embeddings.sqlite", 2**30)
    assert set(again.get("acme", list(kept))) == set(kept)
    again.close()


def test_more_than_a_statement_has_variables_for_are_found(cache: EmbeddingCache):
    kept = vectors(*range(40_000), dim=1)
    cache.put("acme", kept)
    assert len(cache.get("acme", list(kept))) == 40_000


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(10_000, 10**9, 10_000))
    monkeypatch.setattr(sqlite_blobs.time, "time", lambda: float(next(clock)))
    bound = 256 * 1024
    cache = SqliteEmbeddingCache(tmp_path / "embeddings.sqlite", bound)
    old, used = vectors(1), vectors(2)
    cache.put("acme", old)
    cache.put("acme", used)
    for n in range(100, 1000, 50):
        cache.put("acme", vectors(*range(n, n + 50)))
        cache.get("acme", list(used))
    assert cache.get("acme", list(old)) == {}
    assert set(cache.get("acme", list(used))) == set(used)
    assert set(cache.get("acme", list(vectors(999)))) == set(vectors(999))
    cache.close()
    assert os.path.getsize(tmp_path / "embeddings.sqlite") < 2 * bound


def test_a_file_that_is_no_cache_is_named(tmp_path: Path):
    file = tmp_path / "embeddings.sqlite"
    file.write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match="embedding cache") as caught:
        SqliteEmbeddingCache(file, 1)
    assert str(file) in str(caught.value)
