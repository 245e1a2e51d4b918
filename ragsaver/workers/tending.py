"""What if a message is lost, or its worker died? Now and then somebody looks for documents that nothing happens to.

A document whose time has come gets in line, with a message. For one that had a message there is another only where
fewer messages wait than such documents, as after a Redis that lost its data. A message too many does no harm. Jobs
that ended long ago are removed on the way.
"""

import logging
import threading
import time
from collections.abc import Callable

from ragsaver.errors import BrokerUnavailable, RagSaverError
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.manifest import now
from ragsaver.settings import QueueSettings
from ragsaver.workers.app import CONVERT, EMBED
from ragsaver.workers.broker import Broker
from ragsaver.workers.moves import Moved, nobody

_STAGES = ((State.QUEUED, CONVERT), (State.CONVERTED, EMBED))

_CLEAN_EVERY_S = 600.0
_DAY_S = 86_400.0

_log = logging.getLogger(__name__)


def requeue(jobs: JobStore, broker: Broker, limits: QueueSettings, moved: Moved = nobody) -> int:
    """Put overdue documents back in line, and send the messages that are missing; how many.

    :param moved: told of the documents that are given up.
    :raises BrokerUnavailable: if the broker does not answer.
    """
    sent = 0
    for state, queue in _STAGES:
        if buried := jobs.documents.bury(state, limits.max_attempts):
            moved(State.DEAD, buried)
        jobs.documents.line_up(state, limits.max_attempts)
        late = jobs.documents.late(state)
        lost = late > 0 and broker.backlog(queue) < late
        missing = jobs.documents.to_send(state, lease_s=limits.visibility_timeout_s, lost=lost)
        try:
            broker.send(queue, missing)
        except BrokerUnavailable:
            jobs.documents.unsend(state, missing)
            raise
        sent += missing
    return sent


class Tender:
    """A thread that looks every so often, until it is told to stop.

    :param drain: brings in what is embedded, where this process owns the index.
    :param stopping: ends it.
    :param moved: told of the documents that are given up.
    """

    def __init__(
        self,
        jobs: JobStore,
        broker: Broker,
        stopping: threading.Event,
        limits: QueueSettings,
        *,
        drain: Callable[[], int] | None = None,
        moved: Moved = nobody,
    ) -> None:
        self._jobs = jobs
        self._broker = broker
        self._stopping = stopping
        self._limits = limits
        self._drain = drain
        self._moved = moved
        self._cleaned_s: float | None = None
        self._thread = threading.Thread(target=self._go, name="tender", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def join(self) -> None:
        """Wait for its end; the caller has told it to stop."""
        self._thread.join()

    def _go(self) -> None:
        troubled = False
        while not self._stopping.is_set():
            try:
                self._look()
                troubled = False
            except RagSaverError as error:
                if not troubled:  # told once, not with every look
                    _log.warning("ingestion by workers waits: %s", error)
                troubled = True
            except Exception:
                _log.exception("ingestion by workers waits")
            self._stopping.wait(self._limits.look_every_s)

    def _look(self) -> None:
        try:
            requeue(self._jobs, self._broker, self._limits, self._moved)
        finally:
            if self._drain is not None and self._jobs.documents.waiting(State.EMBEDDED):
                self._drain()
        self._clean()

    def _clean(self) -> None:
        keep_days, at_s = self._limits.keep_finished_days, time.monotonic()
        if keep_days is None or (self._cleaned_s is not None and at_s - self._cleaned_s < _CLEAN_EVERY_S):
            return
        self._cleaned_s = at_s
        self._jobs.remove_finished(now() - keep_days * _DAY_S)
