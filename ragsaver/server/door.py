"""At the door of the API: is this request let in, and in whose name? Asked before any route, so none can forget it."""

import asyncio
import hmac
import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ragsaver.access.identity import Identity
from ragsaver.access.keyring import Keyring
from ragsaver.access.secret import PREFIX, read
from ragsaver.errors import HostRefused, Unauthorized
from ragsaver.settings import Settings

# For those who watch over the server, and call it by whatever address it has.
PROBES = frozenset({"/healthz", "/readyz"})
# These need no key; every other path does, also one that is not there.
OPEN = PROBES | {"/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}


@lru_cache(maxsize=1024)  # asked with every request, of the same few hosts
def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; a name is only if it is `localhost`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def called_as(netloc: str) -> str:
    """The host of a `Host` header, or of an origin, without its port; empty if it is none."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""


class Doorkeeper:
    """Says in whose name a request is made.

    :param token: of the commands of this user.
    :param host: that the server listens at.
    """

    def __init__(self, settings: Settings, keyring: Keyring, token: str, host: str) -> None:
        self._settings = settings
        self._keyring = keyring
        self._token = token.encode()
        self._elsewhere = not is_loopback(host)
        self._anybody, self._owner = own_user(settings), own_user(settings, trusted=True)
        self._hosts = {host.lower(), *(one.lower() for one in settings.server.allowed_hosts)}

    async def identity(self, path: str, headers: Headers) -> Identity | None:
        """Who asks; None where nobody is asked.

        :raises Unauthorized: if it takes a key.
        :raises HostRefused: if it takes none, and the request may come from a web page elsewhere.
        :raises StorageError: if the keys can't be read.
        """
        shown = headers.get("authorization", "")
        bearer = shown[7:].strip() if shown[:7].lower() == "bearer " else ""
        if hmac.compare_digest(bearer.encode(), self._token):
            return self._owner
        if path in PROBES:
            return None
        guarded = path not in OPEN
        if bearer.startswith(PREFIX):
            return await self._holder(bearer) if guarded else None
        if await self._needs_key():
            if guarded:
                raise Unauthorized(
                    "this server asks for an API key",
                    remedy="Send it as `Authorization: Bearer rsk_...`; the operator makes one: ragsaver keys create",
                )
            return None
        self._require_own_host(headers)
        return self._anybody if guarded else None

    async def _holder(self, bearer: str) -> Identity:
        presented = read(bearer)
        if presented is None:
            raise Unauthorized("that is no whole API key", remedy="Copy it as `ragsaver keys create` has shown it")
        if self._keyring.stale(presented.id):
            await run_in_threadpool(self._keyring.fetch, presented.id)
        identity = self._keyring.identify(presented)
        if self._keyring.use_to_note(presented.id):
            asyncio.get_running_loop().run_in_executor(None, self._keyring.note_use, presented.id)
        return identity

    async def _needs_key(self) -> bool:
        asked = self._settings.server.require_key
        if self._elsewhere or asked is not None:
            return self._elsewhere or bool(asked)
        known = self._keyring.there_are_keys()
        return await run_in_threadpool(self._keyring.look) if known is None else known

    def _require_own_host(self, headers: Headers) -> None:
        """A page in this machine's browser may name any host (DNS rebinding), or send from its own (CSRF)."""
        origin = headers.get("origin")
        called = [called_as(headers.get("host", ""))]
        if origin is not None:
            called.append(called_as(origin.partition("://")[2]))
        for name in called:
            if not (is_loopback(name) or name in self._hosts):
                raise HostRefused(
                    f"without API keys this server answers only to its own machine, not to `{name}`",
                    remedy="Call it as localhost, name the host in `server.allowed_hosts`, or make a key: "
                    "ragsaver keys create",
                )


def own_user(settings: Settings, *, trusted: bool = False) -> Identity:
    """Who runs the server: asks in the name of the settings, and may do everything.

    :param trusted: it has shown the token, and is not only on the same machine.
    """
    return Identity(settings.tenant, frozenset(settings.groups), trusted=trusted)


class Door:
    """The middleware: puts the identity into the request's state, or lets the request go no further."""

    def __init__(self, app: ASGIApp, keeper: Doorkeeper) -> None:
        self.app = app
        self.keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            identity = await self.keeper.identity(scope["path"], Headers(scope=scope))
            scope.setdefault("state", {})["identity"] = identity
        await self.app(scope, receive, send)
