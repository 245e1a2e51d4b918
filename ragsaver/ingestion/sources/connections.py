"""Connections that go only where they may, and end in time.

The check stands where the connection is made: whatever a name resolved to before, or a redirect says, the address
that is connected to is the one that was checked.
"""

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpcore
import httpx

from ragsaver.ingestion.sources.addresses import allowed_addresses

_KEEP_ALIVE_S = 15.0
_ends_at: ContextVar[float] = ContextVar("ends_at")


@contextmanager
def all_within(seconds: float) -> Iterator[None]:
    """Everything that is sent and received inside ends by then, however small the steps it comes in."""
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


class GuardedTransport(httpx.BaseTransport):
    """HTTP for httpx over guarded connections; to be used inside `all_within`.

    It raises httpcore's errors, and UnreadableDocument for an address that is refused.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=8,
            keepalive_expiry=_KEEP_ALIVE_S,
            network_backend=_GuardedBackend(allow_private),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; redirects are the caller's."""
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        """Close what is still open."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts

    def close(self) -> None:
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


class _GuardedBackend(httpcore.NetworkBackend):
    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        refused: Exception = httpcore.ConnectError(f"the host {host} has no address")
        for address in allowed_addresses(host, port, allow_private=self._allow_private):
            try:
                return _TimedStream(self._plain.connect_tcp(address, port, _time_left(), local_address, socket_options))
            except httpcore.ConnectError as error:
                refused = error
        raise refused


class _TimedStream(httpcore.NetworkStream):
    """A connection each of whose steps has only the time that is left of the whole."""

    def __init__(self, plain: httpcore.NetworkStream) -> None:
        self._plain = plain

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._plain.read(max_bytes, _time_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._plain.write(buffer, _time_left())

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._plain.start_tls(ssl_context, server_hostname, _time_left()))

    def get_extra_info(self, info: str) -> object:
        return self._plain.get_extra_info(info)


def _time_left() -> float:
    left = _ends_at.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left
