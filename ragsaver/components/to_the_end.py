"""Blocking work that has to end in order, whoever waits for it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Callable[[], T]) -> tuple[T, bool]:
    """Do it in a thread, and wait until it is done even where the task is cancelled meanwhile.

    :returns: what came of it, and whether the task was cancelled: then the caller raises `CancelledError`.
    """
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled = False
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError:
            cancelled = True
    return doing.result(), cancelled
