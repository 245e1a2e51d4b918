"""How much waits in each queue, and how long has the oldest document waited? The job store tells it to any process."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.manifest import now
from ragsaver.workers.app import CONVERT, EMBED

# What waits for the owner of the index waits in no queue of the broker.
APPLY = "apply"
_QUEUES = {State.QUEUED: CONVERT, State.CONVERTED: EMBED, State.EMBEDDED: APPLY}
_FRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Documents that wait and that nobody works on; `oldest_age_s` since the oldest was given, 0 if none waits."""

    documents: int = 0
    oldest_age_s: float = 0.0


class Backlog:
    """What waits, by queue. It is read again after `fresh_s`, however many ask meanwhile."""

    def __init__(self, jobs: JobStore, fresh_s: float = _FRESH_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._fresh_s = fresh_s
        self._clock = clock
        self._looking = threading.Lock()
        self._looked_s: float | None = None
        self._seen: Mapping[str, Waiting] = {}

    def look(self) -> Mapping[str, Waiting]:
        """Every queue, also where nothing waits.

        :raises StorageError: if the job store can't be read.
        """
        with self._looking:
            at_s = self._clock()
            if self._looked_s is None or at_s - self._looked_s >= self._fresh_s:
                self._seen = self._read()
                self._looked_s = at_s
            return self._seen

    def _read(self) -> Mapping[str, Waiting]:
        waiting = self._jobs.documents.backlog()
        at_s = now()
        seen = {queue: Waiting() for queue in _QUEUES.values()}
        for state, (documents, oldest) in waiting.items():
            seen[_QUEUES[state]] = Waiting(documents, max(at_s - oldest, 0.0))
        return seen
