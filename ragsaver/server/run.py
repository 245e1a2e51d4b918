"""Listen: bind the port, tell the owner's file where, and serve until told to stop."""

import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from ragsaver.errors import UsageError
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.app import create_app


def run(runtime: Runtime, host: str, port: int, listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    :param port: 0 takes a free one.
    :param listening: called with the URL once the port is bound.
    :raises UsageError: if the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named so that asyncio sets TCP_NODELAY: without it each answer waits 40 ms for an ACK.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"can't listen there: {error.strerror}",
                where=f"{host}:{port}",
                remedy="Choose another --port",
            ) from error
        bound = listener.getsockname()[1]
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        url = f"http://{shown}:{bound}"
        token = secrets.token_urlsafe(32)
        app = create_app(runtime, token)
        runtime.engine().pipeline.warm_up()
        runtime.encoder.encode(["warm"])
        runtime.ownership.publish(url, token)
        listening(url)
        with _told_to_stop():
            uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run([listener])


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more: it must not end the process before the index is closed."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
