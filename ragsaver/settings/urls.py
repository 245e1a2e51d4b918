"""Of which service is an address? And can it be one, with the key that is sent there?"""

from urllib.parse import urlsplit

from pydantic import SecretStr


def is_redis(url: str) -> bool:
    """Whether a broker's address is one of Redis."""
    return url.startswith(("redis://", "rediss://"))


def is_postgres(url: str) -> bool:
    """Whether it is the address of a PostgreSQL's database."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "postgresql" and len(parts.path) > 1 and parts.port != 0 and not parts.fragment
    except ValueError:
        return False


def is_address(url: str) -> bool:
    """Whether a request can be sent to it."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        return False


def is_header(value: str) -> bool:
    """Whether it can be sent as a header's value."""
    return value.isascii() and value.isprintable()


def redis_only(url: SecretStr | None) -> SecretStr | None:
    """Let nothing else pass."""
    if url is not None and not is_redis(url.get_secret_value()):
        raise ValueError("must begin with redis:// or rediss://")
    return url
