"""Every engine there is: the same tests run on each, and on a real server where RAGSAVER_TEST_QDRANT_URL names one."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ragsaver.index.connection import Connection, ServerPlace
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import VectorIndex
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

# Opens the index of one place, as often as asked.
Opening = Callable[[IndexIdentity], VectorIndex]


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[Opening]:
    """A place that is the caller's alone, and goes with all that is in it."""
    if kind == "edge":
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
