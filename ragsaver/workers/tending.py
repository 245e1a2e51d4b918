"""What if a message is lost, or its worker died? Now and then somebody looks for documents that nothing happens to.

A document whose time has come gets a message. One that had a message may still have it, behind others: it gets
another only where fewer messages wait than such documents, as after a Redis that lost its data. A message too many
does no harm.
"""

import logging
import threading
from collections.abc import Callable

from ragsaver.errors import BrokerUnavailable, RagSaverError
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.workers.app import CONVERT, EMBED
from ragsaver.workers.broker import Broker

_STAGES = ((State.QUEUED, CONVERT), (State.CONVERTED, EMBED))

_log = logging.getLogger(__name__)


def requeue(jobs: JobStore, broker: Broker, lease_s: float) -> int:
    """Send the messages that are missing; how many.

    :param lease_s: after which a document is looked for once more.
    :raises BrokerUnavailable: if the broker does not answer.
    """
    sent = 0
    for state, queue in _STAGES:
        late = jobs.late(state)
        lost = late > 0 and broker.backlog(queue) < late
        ids = jobs.to_send(state, lease_s=lease_s, lost=lost)
        try:
            broker.send(queue, ids)
        except BrokerUnavailable:
            jobs.unsend(ids)
            raise
        sent += len(ids)
    return sent


class Tender:
    """A thread that looks every so often, until it is told to stop.

    :param drain: brings in what is embedded, where this process owns the index.
    :param stopping: ends it.
    """

    def __init__(
        self,
        jobs: JobStore,
        broker: Broker,
        stopping: threading.Event,
        *,
        lease_s: float,
        every_s: float,
        drain: Callable[[], int] | None = None,
    ) -> None:
        self._jobs = jobs
        self._broker = broker
        self._stopping = stopping
        self._lease_s = lease_s
        self._every_s = every_s
        self._drain = drain
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
            self._stopping.wait(self._every_s)

    def _look(self) -> None:
        try:
            requeue(self._jobs, self._broker, self._lease_s)
        finally:
            if self._drain is not None and self._jobs.waiting(State.EMBEDDED):
                self._drain()
