"""Wait for a job to be done, and bring its documents in meanwhile where nobody else owns the index."""

import time
from collections.abc import Callable
from contextlib import closing

from ragsaver.errors import IndexLocked
from ragsaver.index.ownership import current_owner
from ragsaver.ingestion.job_report import JobReport, State
from ragsaver.settings import Settings
from ragsaver.workers.queueing import IngestQueue
from ragsaver.workers.tending import requeue

# Between two looks: at first, and later as a share of the time waited, so that it takes little from those who work.
_LOOK_S = 0.1
_LOOK_SHARE, _LONGEST_LOOK_S = 0.02, 1.0


def wait_for(
    queue: IngestQueue, settings: Settings, job_id: str, tenant: str, step: Callable[[JobReport], None]
) -> JobReport:
    """The job when nothing of it waits any more.

    :param step: called now and then with how far it is.
    :raises UsageError: if the job is dropped meanwhile.
    :raises BrokerUnavailable: if the broker is gone; the job goes on once it is back.
    """
    began = time.monotonic()
    while not (report := queue.known(job_id, tenant)).finished:
        step(report)
        requeue(queue.jobs, queue.broker, settings.queue)
        if not _brought_in(queue, settings):
            waited_s = time.monotonic() - began
            time.sleep(max(_LOOK_S, min(_LONGEST_LOOK_S, waited_s * _LOOK_SHARE)))
    return report


def _brought_in(queue: IngestQueue, settings: Settings) -> bool:
    """Whether something was. The index is held no longer than that takes: a server or worker may want it."""
    owned = not settings.index.shared and current_owner(settings.home) is not None
    if owned or not queue.jobs.documents.waiting(State.EMBEDDED):
        return False
    # They load Haystack, which takes seconds, and mostly somebody else owns the index.
    from ragsaver.pipelines.runtime import open_runtime
    from ragsaver.workers.draining import Drainer

    try:
        with (
            open_runtime(settings, "ragsaver ingest --queue --wait") as runtime,
            closing(Drainer(runtime, queue.jobs)) as drainer,
        ):
            return drainer.drain() > 0
    except IndexLocked:  # somebody was quicker, and brings it in
        return False
