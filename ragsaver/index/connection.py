"""How a Qdrant server is asked: by gRPC where it can be, again after what passes, and with errors that say what to do.

Every request here may be made twice: points have ids, and payloads are set, not added to.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_before_delay
from tenacity.wait import wait_exponential_jitter

from ragsaver.deadline import allowed_s
from ragsaver.errors import IndexLocked, IndexUnavailable, RagSaverError, SettingsError, StorageError

T = TypeVar("T")

_LOCAL = "file:"

_FIRST_WAIT_S, _MAX_WAIT_S = 0.1, 5.0
_BACKOFF = wait_exponential_jitter(initial=_FIRST_WAIT_S, max=_MAX_WAIT_S, jitter=_FIRST_WAIT_S)

_PASSING_CODES = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_REFUSED_CODES = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_REFUSED_STATUS = frozenset({401, 403})
_THERE_ALREADY = (grpc.StatusCode.ALREADY_EXISTS, 409)


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """Where a Qdrant server is and how long it is waited for.

    :ivar url: `http://HOST:6333`, or `file:FOLDER` for the client's local mode.
    :ivar grpc_port: None speaks REST only.
    :ivar timeout_s: of one attempt.
    :ivar deadline_s: after which no further attempt is begun.
    """

    url: str
    api_key: SecretStr | None = None
    grpc_port: int | None = 6334
    timeout_s: float = 10.0
    deadline_s: float = 30.0

    @property
    def folder(self) -> Path | None:
        """Of the client's local mode; None for a server."""
        return Path(self.url.removeprefix(_LOCAL)) if self.url.startswith(_LOCAL) else None

    @property
    def shown(self) -> str:
        """For people; without a password."""
        if self.folder is not None:
            return str(self.folder)
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class Connection:
    """A client of one server, safe from any number of threads.

    :raises SettingsError: if the URL is none.
    :raises IndexLocked: in local mode, if another process has the folder open.
    """

    def __init__(self, place: ServerPlace) -> None:
        self.where = place.shown
        self._place = place
        # Local mode keeps its points in arrays that bear one thread at a time.
        self._one_at_a_time: AbstractContextManager[Any] = threading.RLock() if place.folder else nullcontext()
        self._clients: dict[Any, AsyncQdrantClient] = {}
        self._opening = threading.Lock()
        self._client = self._opened()

    @property
    def folder(self) -> Path | None:
        """Of the client's local mode; None for a server."""
        return self._place.folder

    @property
    def is_local(self) -> bool:
        """Whether it is the client's local mode: a search through all points, in Python."""
        return self._place.folder is not None

    def ask(self, call: Callable[[QdrantClient], T]) -> T:
        """Make a request, and again after what passes.

        :raises IndexUnavailable: if the server does not answer in time, or does not let us in.
        :raises StorageError: if it fails otherwise.
        """
        try:
            answer: T = Retrying(**self._policy())(self._once, call)
            return answer
        except RagSaverError:
            raise
        except Exception as error:
            raise self._explained(error) from error

    async def ask_async(self, loop: Any, call: Callable[[AsyncQdrantClient], Awaitable[T]]) -> T:
        """As `ask`, from a coroutine that runs on `loop`; not in local mode."""
        client = self._client_on(loop)

        async def once() -> T:
            return await call(client)

        try:
            return await AsyncRetrying(**self._policy())(once)
        except Exception as error:
            raise self._explained(error) from error

    async def close_async(self, loop: Any) -> None:
        """Close what was opened for coroutines on `loop`."""
        with self._opening:
            client = self._clients.pop(loop, None)
        if client is not None:
            await client.close()

    def close(self) -> None:
        """Let go of the connections, those of running event loops too."""
        with self._opening:
            clients = dict(self._clients)
            self._clients.clear()
        for loop, client in clients.items():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(client.close(), loop)
        with self._one_at_a_time:
            self._client.close()

    def _client_on(self, loop: Any) -> AsyncQdrantClient:
        with self._opening:
            for over in [one for one in self._clients if one.is_closed()]:  # its client would keep it
                del self._clients[over]
            if loop not in self._clients:
                self._clients[loop] = AsyncQdrantClient(**self._arguments())
            return self._clients[loop]

    def _once(self, call: Callable[[QdrantClient], T]) -> T:
        with self._one_at_a_time:
            return call(self._client)

    def _policy(self) -> dict[str, Any]:
        return {
            "retry": retry_if_exception(_passes),
            "wait": _wait_s,
            "stop": stop_before_delay(allowed_s(self._place.deadline_s)),
            "reraise": True,
        }

    def _opened(self) -> QdrantClient:
        folder = self._place.folder
        try:
            if folder is None:
                return QdrantClient(**self._arguments())
            return QdrantClient(path=str(folder), force_disable_check_same_thread=True)
        except RuntimeError as error:
            if "already accessed" not in str(error):
                raise
            raise IndexLocked(
                "the index is open in another process", where=self.where, remedy="Wait for it to end, or stop it"
            ) from error
        except ValueError as error:
            raise SettingsError(f"`index.url` is not the URL of a Qdrant server: {error}", where=self.where) from error
        except OSError as error:
            raise StorageError(f"can't be written: {error.strerror}", where=self.where) from error

    def _arguments(self) -> dict[str, Any]:
        place = self._place
        return {
            "url": place.url,
            "api_key": place.api_key.get_secret_value() if place.api_key else None,
            "prefer_grpc": place.grpc_port is not None,
            "grpc_port": place.grpc_port or 6334,
            "timeout": place.timeout_s,
            "check_compatibility": False,  # asked by the index, which says what it lacks
        }

    def _explained(self, error: Exception) -> RagSaverError:
        code, said = _said(error)
        if code in _REFUSED_CODES or code in _REFUSED_STATUS:
            return IndexUnavailable(
                f"the Qdrant server refuses the key: {said}",
                where=self.where,
                remedy="Correct `index.api_key` (QDRANT_API_KEY); it must be allowed to write",
            )
        if _passes(error):
            return IndexUnavailable(
                f"the Qdrant server does not answer: {said}",
                where=self.where,
                remedy="Start it, or correct `index.url` (QDRANT_URL) and `index.grpc_port`; what is in stays in",
            )
        if "No space left" in said:
            return StorageError("the disk is full", where=self.where, remedy="Free some space and run it again")
        return StorageError(
            f"the index failed: {said}", where=self.where, remedy="`ragsaver verify` checks and repairs it"
        )


def is_there_already(error: BaseException) -> bool:
    """Whether a request failed because somebody else has made the same thing."""
    return _said(error)[0] in _THERE_ALREADY or "already exists" in str(error)


def _passes(error: BaseException) -> bool:
    if isinstance(error, ResponseHandlingException | ResourceExhaustedResponse):
        return True
    code, _ = _said(error)
    return code in _PASSING_CODES or code in _PASSING_STATUS


def _wait_s(state: RetryCallState) -> float:
    """Longer each time; at least as long as the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked_s = error.retry_after_s if isinstance(error, ResourceExhaustedResponse) else 0
    return max(_BACKOFF(state), float(asked_s))


def _said(error: BaseException) -> tuple[Any, str]:
    """The code of gRPC or the status of HTTP, and the server's words."""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return error.code(), str(error.details())
    if isinstance(error, UnexpectedResponse):
        return error.status_code, f"{error.status_code} {error.content.decode(errors='replace')[:300]}".strip()
    if isinstance(error, ResponseHandlingException):
        return None, str(error.source)
    return None, str(error)
