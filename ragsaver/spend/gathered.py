"""What nobody waits for is done a moment later in the background, and what comes together is done in one go."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Gathered(Generic[T]):
    """Takes things from any thread; one of its own works on them, in the order in which they came.

    :param work: on some of them; it raises nothing.
    :param gather_s: for which the first one waits for others to come.
    :param name: of the thread.
    """

    def __init__(self, work: Callable[[Sequence[T]], None], gather_s: float, name: str) -> None:
        self._work = work
        self._gather_s = gather_s
        self._given: list[T] = []
        self._giving = threading.Lock()
        self._hurry = threading.Event()
        self._thread = ThreadPoolExecutor(1, name)

    def give(self, one: T, *, at_once: bool = False) -> None:
        """Work on it soon.

        :param at_once: and on those before it, without waiting for others.
        """
        with self._giving:
            if not self._given:
                self._thread.submit(self._work_on_given)
            self._given.append(one)
            if at_once:  # under the lock, since whoever takes what was given ends the hurry
                self._hurry.set()

    def flush(self, within_s: float | None = None) -> bool:
        """Wait until all that were given so far are done; false if that takes longer."""
        self._hurry.set()
        try:
            self._thread.submit(lambda: None).result(within_s)
        except TimeoutError:
            return False
        return True

    def look(self) -> None:
        """Let its thread work on nothing, after what was given: it may have left something for later."""
        with suppress(RuntimeError):  # it is closed
            self._thread.submit(self._work, ())

    def close(self) -> None:
        """Do what was given; nothing may be given any more."""
        self._hurry.set()
        self._thread.shutdown()

    def _work_on_given(self) -> None:
        self._hurry.wait(self._gather_s)
        with self._giving:
            self._hurry.clear()
            given, self._given = self._given, []
        self._work(given)
