"""Which settings, model and manifest does a task work with? Those that hold when it begins, also after a migration."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

from ragsaver.database import Place
from ragsaver.errors import StorageError
from ragsaver.index.manifest_place import place_in_use
from ragsaver.models.batching import BatchObserver
from ragsaver.settings import Settings
from ragsaver.settings_file import load_settings
from ragsaver.workers.broker import Broker
from ragsaver.workers.converting import Converting
from ragsaver.workers.embedding import Embedding
from ragsaver.workers.moves import MovedOn, nobody
from ragsaver.workers.stages import MOVES_S, Worker

_log = logging.getLogger(__name__)

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
        self._most: int | None = None

    @contextmanager
    def stages(self) -> Iterator[Stages]:
        """Those for the code inside, which is one task."""
        with self._key() as key:
            with self._changing:
                if key not in self._stages:
                    self._stages[key] = Stages(self._open_worker(key))
                    if self._most is not None:
                        self._stages[key].converting.keep(self._most)
                self._tasks[key] += 1
                stages = self._stages[key]
                self._close_unused()
            try:
                yield stages
            finally:
                with self._changing:
                    self._tasks[key] -= 1
                    self._close_unused()

    def keep(self, processes: int) -> None:
        """End guarded processes beyond these: fewer threads work from now on."""
        with self._changing:
            self._most = processes
            for stages in self._stages.values():
                stages.converting.keep(processes)

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


def hands_of_its_own(
    settings: Settings,
    broker: Broker,
    stopping: threading.Event,
    on_batch: BatchObserver | None = None,
    moved: MovedOn = nobody,
) -> Hands[Place]:
    """Hands without the index; after a migration, by the settings as they are then."""
    in_use, times = _InUse(settings), count()

    def open_worker(place: Place) -> Worker:
        now = settings if next(times) == 0 else load_settings()
        return Worker.of_its_own(now, place, broker, stopping, on_batch, moved)

    return Hands(lambda: nullcontext(in_use()), open_worker)


class _InUse:
    """Where the manifest in use is. A database is not asked with each task."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._place: Place | None = None
        self._asked_at = 0.0

    def __call__(self) -> Place:
        fresh = time.monotonic() < self._asked_at + MOVES_S and not isinstance(self._place, Path)
        if self._place is None or not fresh:
            self._asked_at = time.monotonic()
            try:
                self._place = place_in_use(self._settings)
            except StorageError as error:
                if self._place is None:
                    raise
                _log.warning("it is not known whether another manifest is in use by now: %s", error)
        return self._place
