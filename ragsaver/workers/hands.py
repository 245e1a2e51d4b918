"""Which settings, model and manifest does a task work with? Those that hold when it begins, also after a migration."""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

from ragsaver.workers.converting import Converting
from ragsaver.workers.embedding import Embedding
from ragsaver.workers.stages import Worker

K = TypeVar("K", bound=Hashable)


class Stages:
    """What one worker does with documents."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.converting = Converting(worker)
        self.embedding = Embedding(worker)

    def close(self) -> None:
        """End the guarded processes, and close what the worker opened."""
        self.converting.close()
        self._worker.close()


class Hands(Generic[K]):
    """The stages of one process, opened with its first task, so that nothing is opened before a fork.

    :param key: what the stages are for, held for the time of a task: another one has stages of its own, and those
        before are closed once no task runs on them.
    :param open_worker: opens what they work with.
    """

    def __init__(self, key: Callable[[], AbstractContextManager[K]], open_worker: Callable[[K], Worker]) -> None:
        self._key = key
        self._open_worker = open_worker
        self._stages: dict[K, Stages] = {}
        self._tasks: Counter[K] = Counter()
        self._changing = threading.Lock()

    @contextmanager
    def stages(self) -> Iterator[Stages]:
        """Those for the code inside, which is one task."""
        with self._key() as key:
            with self._changing:
                if key not in self._stages:
                    self._stages[key] = Stages(self._open_worker(key))
                self._tasks[key] += 1
                stages = self._stages[key]
                self._close_unused()
            try:
                yield stages
            finally:
                with self._changing:
                    self._tasks[key] -= 1
                    self._close_unused()

    def close(self) -> None:
        """Close all; no task runs any more."""
        with self._changing:
            while self._stages:
                self._stages.popitem()[1].close()

    def _close_unused(self) -> None:
        *older, _ = self._stages
        for key in older:
            if not self._tasks[key]:
                self._stages.pop(key).close()
