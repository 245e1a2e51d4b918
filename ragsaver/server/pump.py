"""An answer's parts as they come, made in a task of its own: who leaves cancels exactly that, and once.

The parts can't be made in the response's task: that is cancelled again at every wait, so that what is under way could
not be put away in order, and a context variable must be reset in the task that has set it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, TypeVar

from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

_AHEAD = 64  # parts that wait for a slow reader


class CallerLeft(Exception):
    """Nobody waits for the answer any more."""


class Pump(Generic[T]):
    """Makes the parts until there are no more, one fails, or it is ended."""

    def __init__(self, parts: AsyncIterator[T]) -> None:
        self._made: asyncio.Queue[tuple[T | None, BaseException | None]] = asyncio.Queue(_AHEAD)
        self._task = asyncio.create_task(self._run(parts))

    async def _run(self, parts: AsyncIterator[T]) -> None:
        try:
            async for part in parts:
                await self._made.put((part, None))
        except Exception as error:
            await self._made.put((None, error))
        else:
            await self._made.put((None, StopAsyncIteration()))

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """The next part; raises what making it has raised."""
        part, error = await self._made.get()
        if error is not None:
            raise error
        assert part is not None
        return part

    async def first(self, receive: Receive) -> T:
        """The first part, so that what fails before it is no answer that has begun.

        :param receive: of the request, whose body is read.
        :raises CallerLeft: if the caller leaves meanwhile; all is ended then.
        """
        coming = asyncio.ensure_future(anext(self))
        leaving = asyncio.ensure_future(left(receive))
        try:
            await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise CallerLeft
            return coming.result()
        except BaseException:
            await self.end()
            raise
        finally:
            coming.cancel()
            leaving.cancel()

    async def end(self) -> None:
        """Cancel what is under way, and wait until it has put its things away; harmless when all is done.

        :raises asyncio.CancelledError: when it has, if the task that waits was cancelled meanwhile.
        """
        self._task.cancel()
        cancelled = False
        while not self._task.done():
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError


class Pumped(EventSourceResponse):
    """Server-Sent Events of what a pump makes, which ends with them, also where nobody reads the first."""

    def __init__(self, events: AsyncIterator[dict[str, str]], pump: Pump[Any], headers: Mapping[str, str]) -> None:
        super().__init__(events, headers=headers)
        self._pump = pump

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._pump.end()


async def left(receive: Receive) -> None:
    """Until the caller has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
