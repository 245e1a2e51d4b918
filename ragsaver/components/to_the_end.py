"""Blocking work that has to end in order, whoever waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

# Threads of its own, more than the loop has: where the ledger makes some wait, it must not make those late that can't.
_threads = ThreadPoolExecutor(64, "to the end")


async def to_the_end(work: Callable[[], T]) -> tuple[T, bool]:
    """Do it in a thread, and wait until it is done even where the task is cancelled meanwhile.

    :returns: what came of it, and whether the task was cancelled: then the caller raises `CancelledError`.
    """
    doing = asyncio.get_running_loop().run_in_executor(_threads, copy_context().run, work)
    cancelled = False
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError:
            cancelled = True
    return doing.result(), cancelled
