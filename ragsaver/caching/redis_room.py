"""Does the Redis that keeps vectors forget some when it is full? Only its operator can say so, so RAGSaver asks it."""

from ragsaver.addresses import without_password
from ragsaver.caching.redis_link import connect
from ragsaver.errors import StorageError

_TIMEOUT_S = 5
_REMEDY = (
    "Set its `maxmemory` to what it may take and `maxmemory-policy volatile-lru`: "
    "redis-server --maxmemory 1gb --maxmemory-policy volatile-lru"
)


def unbounded_room(url: str) -> str | None:
    """Why the cache in this Redis is not bounded, and what to do; None if it is.

    :raises StorageError: if it can't be asked.
    """
    client, failed = connect(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
    place = without_password(url)
    try:
        told = client.info("memory")
    except failed as error:
        raise StorageError(
            f"the embedding cache's Redis can't be asked how much it may keep: {error}",
            where=place,
            remedy="Start it, and allow INFO; or set `embedding_cache.backend: sqlite`",
        ) from error
    finally:
        client.close()
    problem = problem_of(int(told["maxmemory"]), str(told["maxmemory_policy"]))
    return problem and f"{place}: {problem}. {_REMEDY}"


def problem_of(max_bytes: int, policy: str) -> str | None:
    """What is wrong with a Redis as a cache; None if it makes room by itself.

    :param max_bytes: its `maxmemory`; 0 is no limit.
    :param policy: its `maxmemory-policy`.
    """
    if max_bytes <= 0:
        return "the embedding cache grows without a limit: `maxmemory` is 0, and `embedding_cache.max_mb` is not asked"
    if policy == "volatile-lru" or policy.startswith("allkeys-"):
        return None
    return f"once it is full, the embedding cache does not forget what was used longest ago: its policy is {policy}"
