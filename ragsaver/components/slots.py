"""At most so many calls at a time, from threads and event loops alike; who came first is let in first."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from ragsaver.components.caller import Caller


class Slots:
    """A semaphore that threads and tasks may wait at together.

    :param most: who may be inside at a time; None lets everybody in.
    """

    def __init__(self, most: int | None) -> None:
        self._free = most
        self._waiting: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, timeout_s: float | None = None, caller: Caller | None = None) -> Iterator[None]:
        """Wait for a slot, and hold it for the code inside.

        :param caller: who may leave meanwhile.
        :raises TimeoutError: if none was free in time.
        :raises asyncio.CancelledError: if the caller left.
        """
        turn = self._queue()
        try:
            if caller is None or turn.done():
                turn.result(timeout_s)
            else:
                caller.run(lambda: _came(turn, timeout_s))
        except BaseException:
            self._leave(turn)
            raise
        try:
            yield
        finally:
            self._release()

    @asynccontextmanager
    async def slot_async(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """The same on the running event loop."""
        turn = self._queue()
        try:
            if not turn.done():
                await _came(turn, timeout_s)
        except BaseException:
            self._leave(turn)
            raise
        try:
            yield
        finally:
            self._release()

    def _queue(self) -> Future[None]:
        turn: Future[None] = Future()
        with self._lock:
            if self._free is None or self._free > 0:
                self._free = None if self._free is None else self._free - 1
                turn.set_result(None)
            else:
                self._waiting.append(turn)
        return turn

    def _leave(self, turn: Future[None]) -> None:
        """Who gives up waiting hands on what was given to it meanwhile."""
        if not turn.cancel():
            turn.result()
            self._release()

    def _release(self) -> None:
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            if self._free is not None:
                self._free += 1


async def _came(turn: "Future[None]", timeout_s: float | None) -> None:
    await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(turn)), timeout_s)


_shared: dict[tuple[str, int | None], Slots] = {}
_sharing = threading.Lock()


def slots_of(where: str, most: int | None) -> Slots:
    """The slots of a model at its endpoint, the same for all that ask it in this process with the same limit."""
    with _sharing:
        return _shared.setdefault((where, most), Slots(most))
