"""How the caches in a Redis come to it."""

from typing import Any

from ragsaver.errors import MissingExtra


def connect(url: str, **options: Any) -> tuple[Any, type[Exception]]:
    """A client, which connects at its first command, and the base of what it raises.

    :param url: `redis://HOST:PORT/DB`, or `rediss://` for TLS.
    :param options: of `redis.Redis`.
    :raises MissingExtra: if the redis package is not installed.
    """
    try:
        import redis
    except ImportError:
        raise MissingExtra(
            "the redis package is not installed", remedy='Install it with `pip install "ragsaver[workers]"`'
        ) from None
    return redis.Redis.from_url(url, **options), redis.RedisError
