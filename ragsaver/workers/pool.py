"""Threads whose number can be raised and lowered while they work, which Celery's own pool of threads can't.

Work beyond the limit waits here, so that whoever hands it over never does. Lowering the limit ends no work: threads
take no more of it until few enough are busy.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult, TaskPool

# Threads are started as they are needed: this is only where `grow` ends.
MOST_THREADS = 256


@dataclass(frozen=True, slots=True)
class _Task:
    """Work, and who waits for its end."""

    work: Callable[[], None]
    done: Future[None]

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class ResizablePool(TaskPool):  # type: ignore[misc]
    """Celery's pool of threads with `grow` and `shrink`.

    :ivar limit: threads that may work at a time.
    """

    limit: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.executor = ThreadPoolExecutor(MOST_THREADS, "hand")
        self._changing = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._busy = 0

    @property
    def busy(self) -> int:
        """Threads that work."""
        return self._busy

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> ApplyResult:
        """Hand over a task; it begins at once, or when a thread is free."""
        work = partial(apply_target, target, args, kwargs, callback, accept_callback)
        task = _Task(work, Future())
        with self._changing:
            self._waiting.append(task)
            self._start()
        return ApplyResult(task.done)

    def grow(self, n: int = 1) -> None:
        """Let `n` more threads work."""
        with self._changing:
            self.limit = min(self.limit + n, MOST_THREADS)
            self._start()

    def shrink(self, n: int = 1) -> None:
        """Let `n` fewer threads work; those that are busy end their task first. One stays."""
        with self._changing:
            self.limit = max(self.limit - n, 1)

    def _start(self) -> None:
        while self._waiting and self._busy < self.limit:
            self._busy += 1
            self.executor.submit(self._work, self._waiting.popleft())

    def _work(self, first: _Task) -> None:
        """Do one task after the other while any waits: to hand the next one back would fail once the pool stops."""
        task: _Task | None = first
        while task is not None:
            task.run()
            task = self._next()

    def _next(self) -> _Task | None:
        with self._changing:
            if self._waiting and self._busy <= self.limit:
                return self._waiting.popleft()
            self._busy -= 1
            return None
