"""Listen: bind the port, tell the owner's file where, and serve until told to stop."""

import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType

import uvicorn

from ragsaver.access.key_store import open_keys
from ragsaver.errors import UsageError
from ragsaver.index.protocol import AsyncIndex
from ragsaver.index.upkeep import upkeep
from ragsaver.logs.secrets import KNOWN
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.reading_ahead import reading_ahead
from ragsaver.pipelines.runtime import Runtime
from ragsaver.pipelines.succession import Succession
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.server.door import is_loopback
from ragsaver.settings import Settings
from ragsaver.workers.draining import Drainer
from ragsaver.workers.gpu import GpuReading, nvidia_reader
from ragsaver.workers.metrics import IngestionMetrics
from ragsaver.workers.queueing import IngestQueue
from ragsaver.workers.tending import Tender

_GRACE_S = 20  # for answers under way when the server is told to stop


def run(live: LiveRuntime, host: str, port: int, listening: Callable[[str], None], metrics: IngestionMetrics) -> None:
    """Serve until SIGINT or SIGTERM.

    :param port: 0 takes a free one.
    :param listening: called with the URL once the port is bound.
    :param metrics: told to Prometheus, and fed here.
    :raises UsageError: if the address can't be had, or others could reach it and there is no key.
    """
    require_keys(live.settings, host)
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
        access = Access(live, secrets.token_urlsafe(32), moved=metrics.document, host=host)
        KNOWN.add(access.token)
        queue = IngestQueue(live.settings, metrics.document) if live.settings.queue.broker_url else None
        app = create_app(access, queue, metrics)
        if queue is None and (gpu := nvidia_reader()):  # with workers, theirs is the GPU
            metrics.registry.register(GpuReading(gpu, metrics.embedded))
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE_S
        )
        with live.use() as runtime:
            runtime.prepare()
            listener.listen()  # who is told of the address may connect from then on, and waits for uvicorn
            runtime.ownership.publish(url, access.token)
        listening(url)
        succession = Succession(live, access.stopping, on_batch=metrics.batch)
        succession.start()
        access.content.start()
        try:
            with _told_to_stop(), upkeep(lambda: live.index), reading_ahead(live), _bringing_in(access, queue):
                _Server(config, access).run([listener])
        finally:
            access.stopping.set()
            access.close()
            succession.join()
            if queue:
                queue.close()


def require_keys(settings: Settings, host: str) -> None:
    """Refuse to listen where others reach it while no key would keep them out.

    :raises UsageError: with what to do.
    """
    if is_loopback(host):
        return
    with closing(open_keys(settings)) as keys:
        if not any(key.good(time.time()) for key in keys.all()):
            raise UsageError(
                "others could reach the server there, and there is no API key that would keep them out",
                where=host,
                remedy="Make one first: ragsaver keys create --principal NAME; or listen on 127.0.0.1",
            )


class _Server(uvicorn.Server):
    """Tells the work under way when it is to stop."""

    def __init__(self, config: uvicorn.Config, access: Access) -> None:
        super().__init__(config)
        self._access = access

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal that ends the server."""
        self._access.stopping.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way, and what the index opened for this event loop."""
        await super().shutdown(sockets)
        if isinstance(index := self._access.live.index, AsyncIndex):
            await index.close_async()


@contextmanager
def _bringing_in(access: Access, queue: IngestQueue | None) -> Iterator[None]:
    """What workers have embedded is brought in meanwhile, on the thread that every ingestion has."""
    if queue is None:
        yield
        return
    limits = access.live.settings.queue

    def drain(runtime: Runtime) -> int:
        with closing(Drainer(runtime, queue.jobs, moved=access.moved)) as drainer:
            return drainer.drain(access.stopping.is_set)

    tender = Tender(
        queue.jobs,
        queue.broker,
        access.stopping,
        limits,
        drain=lambda: access.ingestion.submit(access.writing, drain).result(),
        moved=access.moved,
    )
    tender.start()
    try:
        yield
    finally:
        access.stopping.set()
        tender.join()


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more: it must not end the process before the index is closed."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
