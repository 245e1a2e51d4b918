"""How much one key may ask for: requests in a time, and requests at a time."""

import math
import time

from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragsaver.access.identity import Identity
from ragsaver.errors import MissingExtra, RateLimited
from ragsaver.server.slots import SharedSlots, Slots, before_the_end, not_counted
from ragsaver.settings import ServerSettings

_ANYBODY = "without a key"


class Rate:
    """So many requests of a key in any stretch of time; counted in this process, or in a Redis for several.

    :raises MissingExtra: if the Redis client is not installed.
    """

    def __init__(self, limit: str, redis_url: str | None) -> None:
        self.item: RateLimitItem = parse(limit)
        self.shared = redis_url is not None
        self._limiter = MovingWindowRateLimiter(_storage(redis_url))

    def hit(self, whose: str) -> tuple[bool, int, float]:
        """Count one request, unless it is too many.

        :returns: whether it may go on, how many more may, seconds until all of them may again.
        :raises LimitsUnavailable: if they can't be counted.
        """
        try:
            allowed = self._limiter.hit(self.item, whose)
            stats = self._limiter.get_window_stats(self.item, whose)
        except StorageError as error:
            raise not_counted() from error
        return allowed, stats.remaining, max(0.0, stats.reset_time - time.time())


class Allowance:
    """The middleware behind the door; what needs no identity is not counted, nor is the server's own user."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        url = settings.rate_limit_redis_url
        shared = None if url is None else url.get_secret_value()
        self._rate = Rate(settings.rate_limit, shared) if settings.rate_limit else None
        self._slots = _slots(settings.concurrency, shared) if settings.concurrency else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        identity: Identity | None = scope.get("state", {}).get("identity") if scope["type"] == "http" else None
        if identity is None or identity.trusted:
            await self.app(scope, receive, send)
            return
        whose = identity.key_id or _ANYBODY
        if self._rate is not None:
            send = await self._counted(self._rate, whose, send)
        if self._slots is None:
            await self.app(scope, receive, send)
            return
        async with self._slots.one(whose) as give_back:
            await self.app(scope, receive, before_the_end(send, give_back))

    async def _counted(self, rate: Rate, whose: str, send: Send) -> Send:
        allowed, left, reset_s = await run_in_threadpool(rate.hit, whose) if rate.shared else rate.hit(whose)
        if not allowed:
            raise RateLimited(
                f"more than {rate.item.amount} requests of this key in {rate.item.get_expiry()} seconds",
                remedy="Try again later, or ask the operator to raise `server.rate_limit`",
                retry_after_s=reset_s,
            )

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["ratelimit-limit"] = str(rate.item.amount)
                headers["ratelimit-remaining"] = str(left)
                headers["ratelimit-reset"] = str(math.ceil(reset_s))
            await send(message)

        return told


def _slots(most: int, redis_url: str | None) -> Slots | SharedSlots:
    return Slots(most) if redis_url is None else SharedSlots(most, redis_url)


def _storage(redis_url: str | None) -> Storage:
    if redis_url is None:
        return MemoryStorage()
    try:
        return storage_from_string(redis_url, wrap_exceptions=True, socket_timeout=2, socket_connect_timeout=2)  # type: ignore[return-value]
    except Exception as error:
        raise MissingExtra(
            f"`server.rate_limit_redis_url` can't be used: {type(error).__name__}",
            remedy="Install the client: pip install 'ragsaver[workers]'",
        ) from error
