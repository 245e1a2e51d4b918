"""Wait for a job to be done, and bring its documents in meanwhile where nobody else owns the index."""

import time
from collections.abc import Callable

from ragsaver.errors import IndexLocked
from ragsaver.index.ownership import current_owner
from ragsaver.ingestion.job_report import JobReport, State
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import Settings
from ragsaver.workers.draining import Drainer
from ragsaver.workers.queueing import IngestQueue
from ragsaver.workers.tending import requeue

_LOOK_S = 0.1


def wait_for(
    queue: IngestQueue, settings: Settings, job_id: str, tenant: str, step: Callable[[JobReport], None]
) -> JobReport:
    """The job when nothing of it waits any more.

    :param step: called now and then with how far it is.
    :raises UsageError: if the job is dropped meanwhile.
    :raises BrokerUnavailable: if the broker is gone; the job goes on once it is back.
    """
    while not (report := queue.known(job_id, tenant)).finished:
        step(report)
        requeue(queue.jobs, queue.broker, settings.queue)
        if not _brought_in(queue, settings):
            time.sleep(_LOOK_S)
    return report


def _brought_in(queue: IngestQueue, settings: Settings) -> bool:
    """Whether something was. The index is held no longer than that takes: a server or worker may want it."""
    owned = not settings.index.shared and current_owner(settings.home) is not None
    if owned or not queue.jobs.documents.waiting(State.EMBEDDED):
        return False
    try:
        with open_runtime(settings, "ragsaver ingest --queue --wait") as runtime:
            return Drainer(runtime, queue.jobs).drain() > 0
    except IndexLocked:  # somebody was quicker, and brings it in
        return False
