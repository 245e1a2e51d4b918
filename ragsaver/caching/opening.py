"""Open the caches that the settings name. The only place that knows which there are."""

from pathlib import Path

from ragsaver.caching.embeddings import EmbeddingCache, SqliteEmbeddingCache
from ragsaver.caching.entries import EntryStore, MemoryEntries
from ragsaver.caching.redis_embeddings import RedisEmbeddingCache
from ragsaver.caching.redis_entries import RedisEntries
from ragsaver.caching.redis_room import unbounded_room
from ragsaver.caching.sqlite_entries import SqliteEntries
from ragsaver.caching.summaries import SummaryCache
from ragsaver.settings import CacheSettings, EmbeddingCacheSettings, OutlineSettings, environment


def open_embedding_cache(home: Path, settings: EmbeddingCacheSettings) -> EmbeddingCache:
    """The cache under `home`, or the Redis of `embedding_cache.redis_url` (REDIS_URL).

    :raises StorageError: if the disk refuses.
    """
    if settings.backend == "redis":
        keeps = settings.keeps_tokens
        return RedisEmbeddingCache(_redis_url(settings), ttl_days=settings.ttl_days, keeps_tokens=keeps)
    return SqliteEmbeddingCache(home / "embeddings.sqlite", settings.max_mb * 2**20, settings.tokens_room_mb * 2**20)


def unbounded_cache(settings: EmbeddingCacheSettings) -> str | None:
    """Why the embedding cache may grow without end, and what to do; None if it may not.

    :raises StorageError: if its Redis can't be asked.
    """
    return unbounded_room(_redis_url(settings)) if settings.backend == "redis" else None


def partition_of(tenant: str, settings: EmbeddingCacheSettings) -> str:
    """The part of the caches that a tenant may use: its own, unless all share one."""
    return "" if settings.shared_by_tenants else tenant


def open_summary_cache(home: Path, settings: OutlineSettings) -> SummaryCache:
    """The cache under `home`.

    :raises StorageError: if the disk refuses.
    """
    return SummaryCache(home / "summaries.sqlite", settings.summary_cache_mb * 2**20)


def open_entries(home: Path, settings: CacheSettings, name: str) -> EntryStore:
    """A store of answers or lookups: `cache.backend` says where. It touches a disk or a server at its first use."""
    if settings.backend == "redis":
        return RedisEntries(_redis_url(settings), name, settings.max_entries)
    if settings.backend == "memory":
        return MemoryEntries(settings.max_entries, settings.max_mb * 2**20)
    return SqliteEntries(home / f"{name}.sqlite", settings.max_entries, settings.max_mb * 2**20)


def _redis_url(settings: CacheSettings | EmbeddingCacheSettings) -> str:
    own = settings.redis_url.get_secret_value() if settings.redis_url else None
    return own or environment("REDIS_URL") or "redis://127.0.0.1:6379/0"
