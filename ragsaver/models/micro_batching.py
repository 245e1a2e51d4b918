"""Requests that come at the same time share a run of the model.

Whoever finds the model free runs it at once, and those who come meanwhile share the next run: a lone request is as fast
as ever. After a run that was shared, its requesters come back with their next questions all at once, so the next run
waits for about as many as there were, but never longer than some milliseconds.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

NEVER = math.inf

_WINDOW_S = 0.003
_MEMORY = 0.75  # of how many came together, from one run to the next


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item]):
    """A request: `woken` once it has a result or an error, or has to lead the next run."""

    item: Item
    until: float
    woken: threading.Event = field(default_factory=threading.Event)
    settled: bool = False
    result: Any = None
    error: BaseException | None = None


class MicroBatcher(Generic[Item, Result]):
    """Calls a function on items of several threads at a time, and gives each thread its own result.

    :param run: gives one result for each item, in their order; called by one thread at a time. Where it fails on
        several items it is called again for each alone, so that nobody suffers from another's.
    :param most: in one run, items or what `weigh` makes of them; an item that weighs more runs alone.
    :param window_s: that a run waits for others at most.
    :param weigh: how much of a run an item takes.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        most: int,
        *,
        window_s: float = _WINDOW_S,
        weigh: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._run = run
        self._most = most
        self._window_s = window_s
        self._weigh = weigh
        self._lock = threading.Lock()
        self._enough = threading.Condition(self._lock)
        self._waiting: list[_Waiting[Item]] = []
        self._leader: _Waiting[Item] | None = None
        self._expected = 1

    def __call__(self, item: Item, *, until: float = NEVER) -> Result:
        """The item's result; raises what the function raises for it.

        :param until: by the monotonic clock.
        :raises TimeoutError: if its run did not end by then. If it had begun, it goes on for those who share it.
        """
        mine = _Waiting(item, until)
        with self._lock:
            self._waiting.append(mine)
            if self._leader is None:
                self._leader = mine
            elif self._are_enough():
                self._enough.notify()
            leads = self._leader is mine
        if not leads and not mine.woken.wait(_left_s(until)) and self._leaves(mine):
            raise TimeoutError
        if not mine.settled:
            self._lead()
        if mine.error is not None:
            raise mine.error
        if time.monotonic() > until:
            raise TimeoutError
        found: Result = mine.result
        return found

    def _are_enough(self) -> bool:
        return len(self._waiting) >= self._expected or self._fitting() < len(self._waiting)

    def _fitting(self) -> int:
        """How many of those who wait go into the next run: the first ones, in their order."""
        weights = accumulate(self._weigh(one.item) for one in self._waiting)
        return max(1, sum(1 for _ in takewhile(lambda so_far: so_far <= self._most, weights)))

    def _leaves(self, mine: _Waiting[Item]) -> bool:
        """Waits no longer; false if it has been told meanwhile that it is done, or has to lead."""
        with self._lock:
            if mine.woken.is_set():
                return False
            if mine in self._waiting:
                self._waiting.remove(mine)
            return True

    def _lead(self) -> None:
        """Run what waits, the leader's own first, and hand the lead on; who is too late by now is not run."""
        with self._lock:
            self._enough.wait_for(self._are_enough, self._window_s)
            now = time.monotonic()
            late = [one for one in self._waiting if one.until <= now]
            self._waiting = [one for one in self._waiting if one.until > now]
            # one that is late itself does not stay for the others
            fitting = 0 if self._leader in late else self._fitting()
            batch, self._waiting = self._waiting[:fitting], self._waiting[fitting:]
            self._expected = max(len(batch), int(self._expected * _MEMORY), 1)
        for one in late:
            one.error = TimeoutError()
        try:
            if batch:
                self._settle(batch)
        finally:
            with self._lock:
                self._leader = self._waiting[0] if self._waiting else None
                for one in (*late, *batch):
                    one.settled = True
                    one.woken.set()
                if self._leader:
                    self._leader.woken.set()

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


def _left_s(until: float) -> float:
    return max(0.0, min(until - time.monotonic(), threading.TIMEOUT_MAX))
