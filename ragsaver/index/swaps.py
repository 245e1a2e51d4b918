"""New versions take the place of old ones in two steps of the engine: no search of this process is to fall between.

A sequence lock: one writer, readers try again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

# A swap takes milliseconds; a search that met one that takes longer answers with what it saw.
TRIES, SWAP_S = 20, 0.001


class Swaps:
    """Counts the swaps of a process; the count is odd while one is under way."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def swap(self) -> Iterator[None]:
        """One swap, for the code inside."""
        self._count += 1
        try:
            yield
        finally:
            self._count += 1

    def undisturbed(self, read: Callable[[], T]) -> T:
        """What a read gives when no swap came between its beginning and its end."""
        for _ in range(TRIES):
            before = self._count
            answer = read()
            if self._was_calm_since(before):
                return answer
            time.sleep(SWAP_S)
        return answer

    async def undisturbed_async(self, read: Callable[[], Awaitable[T]]) -> T:
        """The same on the running event loop."""
        for _ in range(TRIES):
            before = self._count
            answer = await read()
            if self._was_calm_since(before):
                return answer
            await asyncio.sleep(SWAP_S)
        return answer

    def _was_calm_since(self, before: int) -> bool:
        return before == self._count and before % 2 == 0
