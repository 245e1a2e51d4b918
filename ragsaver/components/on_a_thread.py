"""A blocking call that streams, in a thread of its own, so that who waits for it can stop to wait.

Nobody can stop a thread from outside. Where its time is over, or its task is cancelled, the call is left alone: it ends
at the next piece that it delivers, or when its own client gives up. Nothing that it delivers then is heard.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Generic, TypeVar

T = TypeVar("T")
P = TypeVar("P")

Deliver = Callable[[P], None]


class _Left(Exception):
    """Nobody listens any more."""


class _Call(Generic[T, P]):
    """One call.

    :param work: gets what it delivers its pieces to.
    :param put: takes each piece, and None at the end.
    """

    def __init__(self, work: Callable[[Deliver[P]], T], put: Callable[[P | None], None]) -> None:
        self.done: Future[T] = Future()
        self._work = work
        self._put = put
        self._left = threading.Event()
        # a daemon, and none of a pool's: a call that hangs holds up neither others nor the end of the process
        threading.Thread(target=copy_context().run, args=(self._go,), name="chat generator", daemon=True).start()

    def leave(self) -> None:
        """Hear no more of it."""
        self._left.set()

    def _go(self) -> None:
        try:
            self.done.set_result(self._work(self._deliver))
        except BaseException as error:
            self.done.set_exception(error)
        with suppress(RuntimeError):  # the loop that waited is closed
            self._put(None)

    def _deliver(self, piece: P) -> None:
        if self._left.is_set():
            raise _Left
        self._put(piece)


def wait(work: Callable[[Deliver[P]], T], hear: Callable[[P], None], time_s: float) -> T:
    """Wait in this thread, which hears the pieces.

    :raises TimeoutError: if it is not done in time.
    """
    end = time.monotonic() + time_s
    pieces: queue.SimpleQueue[P | None] = queue.SimpleQueue()
    call = _Call(work, pieces.put)
    try:
        while (piece := pieces.get(timeout=max(end - time.monotonic(), 0.0))) is not None:
            hear(piece)
    except queue.Empty:
        raise TimeoutError from None
    finally:
        call.leave()
    return call.done.result()


async def wait_async(work: Callable[[Deliver[P]], T], hear: Callable[[P], Awaitable[None]]) -> T:
    """Wait on the running event loop, which hears the pieces; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[P | None] = asyncio.Queue()

    def put(piece: P | None) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    call = _Call(work, put)
    try:
        while (piece := await pieces.get()) is not None:
            await hear(piece)
    finally:
        call.leave()
    return call.done.result()
