"""Every engine there is: the same tests run on each, and on a real server where RAGSAVER_TEST_QDRANT_URL names one."""

import asyncio
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ragsaver.index.connection import Connection, ServerPlace
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import Leg, LegHits, VectorIndex
from ragsaver.index.server import ServerIndex
from tests.qdrant_grpc import grpc_port
from tests.qdrant_server import qdrant_server

URL = os.environ.get("RAGSAVER_TEST_QDRANT_URL", "")
needs_server = pytest.mark.skipif(not URL, reason="RAGSAVER_TEST_QDRANT_URL is not set")

KINDS = [
    "edge",
    "local",
    "rest",
    "grpc",
    pytest.param("server", marks=needs_server),
    pytest.param("server-rest", marks=needs_server),
]

# Those that can be searched by a task on an event loop.
AWAITED = [
    "rest-awaited",
    "grpc-awaited",
    pytest.param("server-awaited", marks=needs_server),
]

# Opens the index of one place, as often as asked.
Opening = Callable[[IndexIdentity], VectorIndex]


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[Opening]:
    """A place that is the caller's alone, and goes with all that is in it."""
    if kind.endswith("-awaited"):
        with engine(kind.removesuffix("-awaited"), folder) as opening:
            yield lambda identity: Awaited(opening(identity))
    elif kind == "edge":
        yield lambda identity: EdgeIndex(folder / "index", identity)
    elif kind == "local":
        yield _at(ServerPlace(f"file:{folder / 'qdrant'}"), "ragsaver")
    elif kind == "rest":
        with qdrant_server() as server:
            yield _at(ServerPlace(server.url, grpc_port=None), "ragsaver")
    elif kind == "grpc":
        with qdrant_server() as server, grpc_port(server) as port:
            yield _at(ServerPlace(server.url, grpc_port=port), "ragsaver")
    else:
        place = ServerPlace(URL, grpc_port=None) if kind == "server-rest" else ServerPlace(URL)
        name = f"test-{uuid.uuid4().hex[:12]}"
        try:
            yield _at(place, name)
        finally:
            Connection(place).ask(lambda client: client.delete_collection(name))


def _at(place: ServerPlace, name: str) -> Opening:
    return lambda identity: ServerIndex(Connection(place), name, identity)


class Awaited:
    """An index whose searches are those of tasks on an event loop of its own."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, *asked: Any, **more: Any) -> LegHits:
        return asyncio.run_coroutine_threadsafe(self._index.search_async(*asked, **more), self._loop).result()

    def blended(self, *asked: Any) -> Leg:
        return asyncio.run_coroutine_threadsafe(self._index.blended_async(*asked), self._loop).result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._index.close_async(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._index.close()
