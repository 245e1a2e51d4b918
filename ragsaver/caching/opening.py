"""Open the embedding cache that the settings name. The only place that knows which there are."""

from pathlib import Path

from ragsaver.caching.embeddings import EmbeddingCache, SqliteEmbeddingCache
from ragsaver.caching.redis_embeddings import RedisEmbeddingCache
from ragsaver.settings import EmbeddingCacheSettings, environment


def open_embedding_cache(home: Path, settings: EmbeddingCacheSettings) -> EmbeddingCache:
    """The cache under `home`, or the Redis of `embedding_cache.redis_url` (REDIS_URL).

    :raises StorageError: if the disk refuses.
    """
    if settings.backend == "redis":
        own = settings.redis_url.get_secret_value() if settings.redis_url else None
        url = own or environment("REDIS_URL") or "redis://127.0.0.1:6379/0"
        return RedisEmbeddingCache(url, ttl_days=settings.ttl_days)
    return SqliteEmbeddingCache(home / "embeddings.sqlite", settings.max_mb * 2**20)
