"""Requests that come at the same time share a run of the model.

Whoever finds the model free runs it at once, and those who come meanwhile share the next run: a lone request is as fast
as ever. After a run that was shared, its requesters come back with their next questions all at once, so the next run
waits for about as many as there were, but never longer than some milliseconds.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_WINDOW_S = 0.003
_MEMORY = 0.75  # of how many came together, from one run to the next


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item]):
    """A request: `woken` once it has a result or an error, or has to lead the next run."""

    item: Item
    woken: threading.Event = field(default_factory=threading.Event)
    settled: bool = False
    result: Any = None
    error: BaseException | None = None


class MicroBatcher(Generic[Item, Result]):
    """Calls a function on items of several threads at a time, and gives each thread its own result.

    :param run: gives one result for each item, in their order; called by one thread at a time. Where it fails on
        several items it is called again for each alone, so that nobody suffers from another's.
    :param most: items in one run.
    :param window_s: that a run waits for others at most.
    """

    def __init__(
        self, run: Callable[[list[Item]], Sequence[Result]], most: int, *, window_s: float = _WINDOW_S
    ) -> None:
        self._run = run
        self._most = most
        self._window_s = window_s
        self._lock = threading.Lock()
        self._enough = threading.Condition(self._lock)
        self._waiting: list[_Waiting[Item]] = []
        self._led = False
        self._expected = 1

    def __call__(self, item: Item) -> Result:
        """The item's result; raises what the function raises for it."""
        mine = _Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            leads, self._led = not self._led, True
            if len(self._waiting) >= self._expected:
                self._enough.notify()
        if not leads:
            mine.woken.wait()
        if not mine.settled:
            self._lead()
        if mine.error is not None:
            raise mine.error
        found: Result = mine.result
        return found

    def _lead(self) -> None:
        """Run what waits, the leader's own first, and hand the lead on."""
        with self._lock:
            self._enough.wait_for(lambda: len(self._waiting) >= self._expected, self._window_s)
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._expected = max(len(batch), int(self._expected * _MEMORY))
        try:
            self._settle(batch)
        finally:
            with self._lock:
                after = self._waiting[0] if self._waiting else None
                self._led = after is not None
            for one in batch:
                one.settled = True
                one.woken.set()
            if after:
                after.woken.set()

    def _settle(self, batch: Sequence[_Waiting[Item]]) -> None:
        try:
            results = self._run([one.item for one in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for one in batch:
                self._settle([one])
        except BaseException as error:  # the leader's thread ends; the others must not wait for ever
            for one in batch:
                one.error = error
            raise
        else:
            for one, result in zip(batch, results, strict=True):
                one.result = result
