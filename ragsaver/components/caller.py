"""Does anybody wait for this answer still? What takes long is ended at once where nobody does.

An answer is made in a thread, and only the event loop hears that its caller has left; no thread can be stopped from
outside. So what takes long, calls of models and waiting, is handed to the loop while the thread waits, and cancelled
there. Only meanwhile somebody listens whether the caller leaves: an answer that takes no model costs nothing more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


class NeverBegun(asyncio.CancelledError):
    """The caller had left before the work began."""


# How often a thread looks whether the loop that works for it is there still.
_LOOK_S = 1.0


class Caller:
    """Who waits for one answer; made on the event loop that hears from him.

    :param left: comes to its end when he has left, at once if he has already; awaited anew for each piece of work.
    :param waiting: around what a thread waits for.
    """

    def __init__(
        self,
        left: Callable[[], Awaitable[None]],
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._left = left
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait in this thread, never on the loop's own, for work on the loop.

        Where the caller leaves, the work is cancelled and has put its things away when this raises; where he has left
        before, it is not begun.

        :raises NeverBegun: if he had left before.
        :raises asyncio.CancelledError: if he has left meanwhile, or the loop is closed.
        """
        done: Future[T] = Future()
        self._loop.call_soon_threadsafe(self._begin, work, done, context=copy_context())
        with self._waiting():
            while True:
                try:
                    return done.result(_LOOK_S)
                except TimeoutError:
                    if done.done():  # it is the work's own
                        raise
                    if self._loop.is_closed():
                        raise asyncio.CancelledError from None

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]], done: "Future[T]") -> None:
        self._task = self._loop.create_task(self._watched(work, done))

    async def _watched(self, work: Callable[[], Coroutine[Any, Any, T]], done: "Future[T]") -> None:
        task = asyncio.current_task()
        assert task is not None
        leaving = asyncio.ensure_future(self._left())

        def has_left(listened: "asyncio.Future[None]") -> None:
            if not listened.cancelled():
                task.cancel()

        try:
            await asyncio.sleep(0)  # lets `leaving` say what it knows already
            if leaving.done():
                raise NeverBegun
            leaving.add_done_callback(has_left)
            done.set_result(await work())
        except BaseException as error:
            done.set_exception(error)
        finally:
            leaving.remove_done_callback(has_left)
            leaving.cancel()
